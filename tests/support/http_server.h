// A small HTTP/1.1 server on 127.0.0.1 for tests, which misbehaves as it is told: wrong lengths, broken connections,
// pauses. Shares no code with the client under test.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace octavo::test {

struct ServedRequest {
  std::string method, target;                  // target: path and query, as sent
  std::map<std::string, std::string> headers;  // names in lower case
  std::string header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? "" : it->second;
  }
};

struct Reply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers = {};  // beside Content-Length
  std::string body = {};                                          // of a HEAD: what a GET would have, not sent
  std::optional<std::uint64_t> claimed_length = {};               // Content-Length instead of the body's
  bool no_length = false;                      // no Content-Length: the body ends with the connection
  std::optional<std::size_t> drop_after = {};  // close after so many bytes of the body (0: no header either)
  bool stall = false;                          // instead of closing there: send nothing more
  std::chrono::milliseconds pause{0};          // before every 64 KiB
};

class HttpServer {
 public:
  // Called from several threads at once.
  using Handler = std::function<Reply(const ServedRequest&)>;
  explicit HttpServer(Handler handler);
  ~HttpServer();  // ends every connection
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::uint64_t body_bytes_sent() const { return sent_; }

 private:
  void accept_loop();
  void serve(int fd);
  bool answer(int fd, const ServedRequest& request, const Reply& reply);
  bool stall(int fd) const;
  bool send_all(int fd, const char* data, std::size_t bytes);

  Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> sent_{0};
  std::mutex mutex_;
  std::list<std::pair<int, std::thread>> connections_;
  std::thread acceptor_;
};

}  // namespace octavo::test
