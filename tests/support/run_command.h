// Runs the built command as a user would and captures what it prints.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace octavo::test {

struct CommandResult {
  int exit_code = -1;  // 128 + signal when a signal ended it
  std::string out;     // standard output
  std::string err;     // standard error
};

// Runs `octavo ARGS...` with `environment` ("NAME", "value") added to this process's and `input` (none: empty) as
// standard input. A run of more than a minute is killed.
CommandResult run_octavo(const std::vector<std::string>& args,
                         const std::vector<std::pair<std::string, std::string>>& environment = {},
                         std::string_view input = {});

}  // namespace octavo::test
