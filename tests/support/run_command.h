// Runs the built command as a user would and captures what it prints.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace octavo::test {

struct CommandResult {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string out;     // standard output
  std::string err;     // standard error
};

// Runs `octavo ARGS...` with an empty standard input and `environment` ("NAME", "value") added to this process's.
// A run of more than a minute is killed.
CommandResult run_octavo(const std::vector<std::string>& args,
                         const std::vector<std::pair<std::string, std::string>>& environment = {});

}  // namespace octavo::test
