// Sockets, one thread a connection.
#include "tests/support/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace octavo::test {
namespace {

void check(bool good, const char* what) {
  if (good) return;
  std::perror(what);
  std::abort();
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return text;
}

ServedRequest parse(const std::string& text) {
  ServedRequest out;
  std::size_t at = text.find("\r\n");
  const std::string first = text.substr(0, at);
  const std::size_t one = first.find(' '), two = first.rfind(' ');
  if (one == first.npos || two <= one) return out;
  out.method = first.substr(0, one);
  out.target = first.substr(one + 1, two - one - 1);
  while (at != text.npos) {
    const std::size_t end = text.find("\r\n", at + 2);
    const std::string line = text.substr(at + 2, end == text.npos ? end : end - at - 2);
    if (const std::size_t colon = line.find(": "); colon != line.npos) {
      out.headers[lower(line.substr(0, colon))] = line.substr(colon + 2);
    }
    at = end;
  }
  return out;
}

}  // namespace

HttpServer::HttpServer(Handler handler) : handler_(std::move(handler)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  check(listener_ >= 0, "socket");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  check(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "bind");
  constexpr int kBacklog = 64;
  check(::listen(listener_, kBacklog) == 0, "listen");
  socklen_t size = sizeof address;
  check(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0, "getsockname");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_loop(); });
}

HttpServer::~HttpServer() {
  stopping_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  ::close(listener_);
  for (auto& [fd, thread] : connections_) ::shutdown(fd, SHUT_RDWR);
  for (auto& [fd, thread] : connections_) {
    thread.join();
    ::close(fd);
  }
}

void HttpServer::accept_loop() {
  while (!stopping_) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const std::lock_guard lock(mutex_);
    connections_.emplace_back(fd, std::thread([this, fd] { serve(fd); }));
  }
}

void HttpServer::serve(int fd) {
  std::string buffer;
  while (!stopping_) {
    const std::size_t end = buffer.find("\r\n\r\n");
    if (end == buffer.npos) {
      char chunk[4096];
      const ssize_t n = ::recv(fd, chunk, sizeof chunk, 0);
      if (n <= 0) break;
      buffer.append(chunk, static_cast<std::size_t>(n));
      continue;
    }
    const ServedRequest request = parse(buffer.substr(0, end));
    buffer.erase(0, end + 4);
    if (!answer(fd, request, handler_(request))) break;
  }
  ::shutdown(fd, SHUT_RDWR);
}

bool HttpServer::send_all(int fd, const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t n = ::send(fd, data, bytes, MSG_NOSIGNAL);
    if (n <= 0) return false;
    data += n;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

// Until the client has had enough.
bool HttpServer::stall(int fd) const {
  pollfd closed{fd, POLLIN, 0};
  constexpr int kStep = 50;  // ms
  while (!stopping_ && ::poll(&closed, 1, kStep) == 0) {
  }
  return false;
}

// False: the connection is to be closed.
bool HttpServer::answer(int fd, const ServedRequest& request, const Reply& reply) {
  const bool head_only = request.method == "HEAD";
  if (reply.drop_after == std::size_t{0}) return reply.stall ? stall(fd) : false;
  std::string head = "HTTP/1.1 " + std::to_string(reply.status) + " Because\r\n";
  for (const auto& [name, value] : reply.headers) head += name + ": " + value + "\r\n";
  if (!reply.no_length) {
    head += "Content-Length: " + std::to_string(reply.claimed_length.value_or(reply.body.size())) + "\r\n";
  }
  head += "\r\n";
  if (!send_all(fd, head.data(), head.size())) return false;
  if (head_only) return true;
  const std::size_t stop = std::min(reply.drop_after.value_or(reply.body.size()), reply.body.size());
  constexpr std::size_t kChunk = 64 << 10;
  for (std::size_t at = 0; at < stop;) {
    if (reply.pause.count() > 0) std::this_thread::sleep_for(reply.pause);
    const std::size_t part = std::min(kChunk, stop - at);
    if (stopping_ || !send_all(fd, reply.body.data() + at, part)) return false;
    sent_ += part;
    at += part;
  }
  if (reply.stall) return stall(fd);
  const bool exact = !reply.claimed_length || *reply.claimed_length == reply.body.size();
  return exact && !reply.drop_after && !reply.no_length;
}

}  // namespace octavo::test
