// fork, exec, and files for input and output: no pipe can fill up.
#include "tests/support/run_command.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/support/temp_dir.h"

namespace octavo::test {

CommandResult run_octavo(const std::vector<std::string>& args,
                         const std::vector<std::pair<std::string, std::string>>& environment, std::string_view input) {
  constexpr unsigned kTimeout = 60;  // seconds
  const TempDir dir;
  const std::string in = dir / "in", out = dir / "out", err = dir / "err";
  if (!input.empty()) write_file(in, input);
  std::vector<std::string> words = {OCTAVO_BINARY};
  words.insert(words.end(), args.begin(), args.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  const pid_t child = fork();
  if (child == 0) {
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    const int in_fd = open(input.empty() ? "/dev/null" : in.c_str(), O_RDONLY);
    const int out_fd = open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int err_fd = open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (dup2(in_fd, 0) < 0 || dup2(out_fd, 1) < 0 || dup2(err_fd, 2) < 0) _exit(127);
    alarm(kTimeout);  // survives exec
    execv(argv[0], argv.data());
    _exit(127);
  }
  CommandResult result;
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = read_file(out);
  result.err = read_file(err);
  EXPECT_NE(result.exit_code, 127) << "cannot run " << OCTAVO_BINARY;
  return result;
}

}  // namespace octavo::test
