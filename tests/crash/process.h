// A program in a process of its own that a test can kill, interrupt and fail (tests/support/faults).
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace octavo::test {

struct Ended {
  int code = -1;   // exit status; -1 when a signal ended it
  int signal = 0;  // that signal, or 0
  std::string out, err;
  std::string said() const {
    return "exit " + std::to_string(code) + ", signal " + std::to_string(signal) + "\n" + err;
  }
  // Lines of standard error that are no warnings.
  int sentences() const {
    std::istringstream lines(err);
    int count = 0;
    for (std::string line; std::getline(lines, line);) count += line.find(": warning: ") == line.npos ? 1 : 0;
    return count;
  }
};

using Environment = std::map<std::string, std::string>;

class Process {
 public:
  Process(const std::vector<std::string>& words, const Environment& environment = {});
  ~Process();  // kills it when it still runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  void send(int signal) const;
  bool running();  // has not ended yet
  Ended wait();    // to its end; kills it after a minute

 private:
  TempDir dir_;  // its output
  pid_t pid_ = -1;
  bool reaped_ = false;
  int status_ = 0;
};

Ended run(const std::vector<std::string>& words, const Environment& environment = {});

// What makes libfaults.so watch the files in `folder`, with OCTAVO_FAULT_* for what it shall do. Syncs are not carried
// out, which is what makes thousands of runs quick.
Environment watch(const std::filesystem::path& folder, const Environment& faults = {});

// Every difference of two folders, in files, names and bytes, as text; "" when there is none.
std::string folder_difference(const std::filesystem::path& expected, const std::filesystem::path& found);

// How many cases: `quick`, or as many as the environment variable OCTAVO_CRASH_CASES says.
int cases(int quick);

}  // namespace octavo::test
