// The built server as a process.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/serve/connection.h"

namespace octavo::test {

// `octavo serve ARGUMENTS` on a free port of this machine; killed at the end where it still runs.
class ServeProcess {
 public:
  explicit ServeProcess(std::vector<std::string> arguments) {
    int ends[2];
    if (::pipe(ends) != 0) throw std::runtime_error("pipe");
    arguments.insert(arguments.begin(), {OCTAVO_BINARY, "serve"});
    std::vector<char*> argv;
    for (std::string& a : arguments) argv.push_back(a.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDERR_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      ::execv(OCTAVO_BINARY, argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    err_ = ends[0];
    // The last line of the start: "octavo serve: NAME at http://127.0.0.1:PORT".
    char c = 0;
    while (text_.find("at http://") == text_.npos || !text_.ends_with('\n')) {
      if (::read(err_, &c, 1) != 1) break;
      text_ += c;
    }
    const std::size_t at = text_.find("at http://127.0.0.1:");
    if (at != text_.npos) port_ = std::stoi(text_.substr(at + 20));
  }
  ~ServeProcess() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    finish();
    ::close(err_);
  }
  int port() const { return port_; }
  const std::string& text() const { return text_; }
  void signal(int number) const { ::kill(pid_, number); }
  int finish() {
    int status = -1;
    if (pid_ > 0) ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  Response request(std::string_view method, std::string_view target, std::string_view body = "",
                   std::string_view headers = "") const {
    Connection c(port_);
    c.send_request(method, target, body, headers);
    return c.read_response();
  }

 private:
  pid_t pid_ = -1;
  int err_ = -1, port_ = 0;
  std::string text_;
};

}  // namespace octavo::test
