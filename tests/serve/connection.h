// A raw HTTP client on one socket, which sends what it is told, byte by byte.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cctype>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "octavo/base/json.h"

namespace octavo::test {

struct Response {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // without chunk framing
  bool complete = false;                       // the body came to its end as announced

  Json json() const { return Json::parse(body, nullptr, /*allow_exceptions=*/false); }
  std::string error() const {
    const Json value = json();
    return value.is_object() && value.contains("error") ? value["error"]["message"].get<std::string>() : "";
  }
  // The payloads of "data: ..." lines, [DONE] too.
  std::vector<std::string> events() const {
    std::vector<std::string> out;
    for (std::size_t at = 0; at < body.size();) {
      const std::size_t end = body.find("\n\n", at);
      if (end == body.npos) break;
      EXPECT_EQ(body.substr(at, 6), "data: ");
      out.push_back(body.substr(at + 6, end - at - 6));
      at = end + 2;
    }
    return out;
  }
  // Those that are JSON; the last event must be [DONE].
  std::vector<Json> pieces() const {
    std::vector<std::string> all = events();
    EXPECT_FALSE(all.empty());
    if (all.empty()) return {};
    EXPECT_EQ(all.back(), "[DONE]");
    all.pop_back();
    std::vector<Json> out;
    for (const std::string& text : all) out.push_back(Json::parse(text));
    return out;
  }
};

class Connection {
 public:
  explicit Connection(int port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error("connect failed");
    }
  }
  ~Connection() { close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  int fd() const { return fd_; }

  bool send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t count = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }
  bool send_request(std::string_view method, std::string_view target, std::string_view body = "",
                    std::string_view headers = "") {
    std::string text = fmt::format("{} {} HTTP/1.1\r\nHost: test\r\n{}", method, target, headers);
    if (!body.empty() || method == "POST") text += fmt::format("Content-Length: {}\r\n", body.size());
    return send(text + "\r\n" + std::string(body));
  }

  // Bytes that have come; false: the end, or nothing for too long (which no test waits for on purpose).
  bool receive() {
    pollfd entry{.fd = fd_, .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, kPatience) <= 0) {
      ADD_FAILURE() << "nothing came";
      return false;
    }
    char part[16 << 10];
    const ssize_t count = ::recv(fd_, part, sizeof part, 0);
    if (count <= 0) return false;
    buffer_.append(part, static_cast<std::size_t>(count));
    return true;
  }
  // Whether the other side ends the connection (with nothing more to say).
  bool ended() {
    while (buffer_.empty()) {
      if (!receive()) return true;
    }
    return false;
  }

  Response read_head() {
    Response out;
    std::size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == buffer_.npos) {
      if (!receive()) return out;
    }
    const std::string head = buffer_.substr(0, end);
    buffer_.erase(0, end + 4);
    out.status = std::stoi(head.substr(9, 3));
    for (std::size_t at = head.find("\r\n"); at != head.npos; at = head.find("\r\n", at + 2)) {
      const std::string line = head.substr(at + 2, head.find("\r\n", at + 2) - at - 2);
      const std::size_t colon = line.find(':');
      std::string name = line.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      out.headers[name] = line.substr(colon + 2);
    }
    return out;
  }
  // One more chunk of a chunked body; false: that was the last one, or the end.
  bool read_chunk(Response& out) {
    const auto line_end = [&] { return buffer_.find("\r\n"); };
    while (line_end() == buffer_.npos) {
      if (!receive()) return false;
    }
    const std::size_t size = std::stoul(buffer_.substr(0, line_end()), nullptr, 16);
    const std::size_t start = line_end() + 2;
    while (buffer_.size() < start + size + 2) {
      if (!receive()) return false;
    }
    out.body += buffer_.substr(start, size);
    buffer_.erase(0, start + size + 2);
    out.complete = size == 0;
    return size != 0;
  }
  Response read_response(bool head_request = false) {
    Response out = read_head();
    if (out.status == 0) return out;
    if (head_request || out.status == 204) {
      out.complete = true;
    } else if (out.headers.contains("transfer-encoding")) {
      while (read_chunk(out)) {
      }
    } else if (const auto length = out.headers.find("content-length"); length != out.headers.end()) {
      const std::size_t size = std::stoul(length->second);
      while (buffer_.size() < size && receive()) {
      }
      out.complete = buffer_.size() >= size;
      out.body = buffer_.substr(0, size);
      buffer_.erase(0, size);
    } else {
      while (receive()) {
      }
      out.body = std::exchange(buffer_, "");
      out.complete = true;
    }
    return out;
  }

 private:
  static constexpr int kPatience = 20'000;  // milliseconds; a test that needs them has failed
  int fd_;
  std::string buffer_;
};

}  // namespace octavo::test
