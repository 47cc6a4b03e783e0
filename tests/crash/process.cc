// fork, exec, wait; output into files.
#include "tests/crash/process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <set>

namespace octavo::test {
namespace fs = std::filesystem;

Process::Process(const std::vector<std::string>& words, const Environment& environment) {
  constexpr unsigned kTimeout = 60;  // seconds
  std::vector<std::string> copies = words;
  std::vector<char*> argv;
  for (std::string& word : copies) argv.push_back(word.data());
  argv.push_back(nullptr);
  // Here, not in the child: it may be killed before it comes to anything.
  const int in_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int out_fd = open((dir_ / "out").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const int err_fd = open((dir_ / "err").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  pid_ = fork();
  if (pid_ == 0) {
    for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
    if (dup2(in_fd, 0) < 0 || dup2(out_fd, 1) < 0 || dup2(err_fd, 2) < 0) _exit(127);
    alarm(kTimeout);  // survives exec
    execv(argv[0], argv.data());
    _exit(127);
  }
  for (const int fd : {in_fd, out_fd, err_fd}) close(fd);
}

Process::~Process() {
  if (reaped_) return;
  send(SIGKILL);
  waitpid(pid_, &status_, 0);
}

void Process::send(int signal) const {
  if (!reaped_) kill(pid_, signal);
}

bool Process::running() {
  if (!reaped_ && waitpid(pid_, &status_, WNOHANG) == pid_) reaped_ = true;
  return !reaped_;
}

Ended Process::wait() {
  if (!reaped_) {
    EXPECT_EQ(waitpid(pid_, &status_, 0), pid_);
  }
  reaped_ = true;
  Ended ended;
  if (WIFEXITED(status_)) {
    ended.code = WEXITSTATUS(status_);
  } else {
    ended.signal = WTERMSIG(status_);
  }
  ended.out = read_file(dir_ / "out");
  ended.err = read_file(dir_ / "err");
  EXPECT_NE(ended.code, 127) << "cannot run";
  EXPECT_NE(ended.code, 125) << ended.err;  // libfaults was told nonsense
  EXPECT_NE(ended.signal, SIGALRM) << "hangs";
  return ended;
}

Ended run(const std::vector<std::string>& words, const Environment& environment) {
  return Process(words, environment).wait();
}

Environment watch(const fs::path& folder, const Environment& faults) {
  Environment all = faults;
  all["LD_PRELOAD"] = OCTAVO_FAULTS_LIBRARY;
  all["OCTAVO_FAULT_NOSYNC"] = "1";
  all["OCTAVO_FAULT_PREFIX"] = folder.string();
  // The sanitizer's runtime minds being loaded second; that does not matter to what is watched here.
  const char* asan = std::getenv("ASAN_OPTIONS");
  all["ASAN_OPTIONS"] = std::string(asan == nullptr ? "" : asan) + ":verify_asan_link_order=0";
  return all;
}

std::string folder_difference(const fs::path& expected, const fs::path& found) {
  std::error_code error;
  if (!fs::is_directory(found, error)) return found.string() + " is not there\n";
  std::set<std::string> names;
  for (const fs::path& folder : {expected, found}) {
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      names.insert(entry.path().lexically_relative(folder).string());
    }
  }
  std::string text;
  for (const std::string& name : names) {
    const bool here = fs::exists(expected / name), there = fs::exists(found / name);
    if (!here || !there) {
      text += name + (here ? " is missing\n" : " is too much\n");
    } else if (fs::is_directory(expected / name) || fs::is_directory(found / name)) {
      if (fs::is_directory(expected / name) != fs::is_directory(found / name)) text += name + ": a folder or a file\n";
    } else {
      const std::string a = read_file(expected / name), b = read_file(found / name);
      if (a == b) continue;
      const auto at = static_cast<std::size_t>(
          std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(std::min(a.size(), b.size())), b.begin())
              .first -
          a.begin());
      text += name + ": " + std::to_string(a.size()) + " and " + std::to_string(b.size()) + " bytes, differs at " +
              std::to_string(at) + "\n";
    }
  }
  return text;
}

int cases(int quick) {
  const char* wanted = std::getenv("OCTAVO_CRASH_CASES");
  return wanted == nullptr ? quick : std::atoi(wanted);
}

}  // namespace octavo::test
