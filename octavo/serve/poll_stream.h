// A socket as Beast and Asio read and write it, with time limits: every operation waits in poll(2) up to a deadline.
// Included by http_connection.cc only, as it needs Asio's headers.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/beast/core/error.hpp>
#include <cerrno>
#include <chrono>

namespace octavo::serve {

// Beast's SyncReadStream and SyncWriteStream. One thread; does not own the socket, which is non-blocking.
class PollStream {
 public:
  using Clock = std::chrono::steady_clock;
  using error_code = boost::beast::error_code;

  explicit PollStream(int fd) : fd_(fd) {}

  // Each read or write may wait for at most `stalled`, and none longer than the deadline.
  void set_limits(std::chrono::milliseconds stalled, Clock::time_point deadline = Clock::time_point::max()) {
    stalled_ = stalled;
    deadline_ = deadline;
  }
  int fd() const { return fd_; }

  // Whether there is something to read (or the end) before the limits.
  bool wait(short events, error_code& ec) {
    const auto until = std::min(deadline_, Clock::now() + stalled_);
    for (;;) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
      pollfd entry{.fd = fd_, .events = events, .revents = 0};
      const int ready = left <= 0 ? 0 : ::poll(&entry, 1, static_cast<int>(std::min<long>(left, 1'000'000)));
      if (ready > 0) return true;
      if (ready < 0 && errno == EINTR) continue;
      if (ready == 0 && Clock::now() < until) continue;
      ec = ready == 0 ? error_code(boost::asio::error::timed_out) : last_error();
      return false;
    }
  }

  template <typename Buffers>
  std::size_t read_some(const Buffers& buffers, error_code& ec) {
    return transfer(buffers, POLLIN, ec, [&](const msghdr& message) {
      const ssize_t count = ::recvmsg(fd_, const_cast<msghdr*>(&message), 0);
      if (count == 0) ec = boost::asio::error::eof;
      return count;
    });
  }
  template <typename Buffers>
  std::size_t write_some(const Buffers& buffers, error_code& ec) {
    return transfer(buffers, POLLOUT, ec,
                    [&](const msghdr& message) { return ::sendmsg(fd_, &message, MSG_NOSIGNAL); });
  }
  // Beast's concepts ask for these; nothing here calls them.
  template <typename Buffers>
  std::size_t read_some(const Buffers& buffers) {
    error_code ec;
    const std::size_t count = read_some(buffers, ec);
    if (ec) throw boost::system::system_error(ec);
    return count;
  }
  template <typename Buffers>
  std::size_t write_some(const Buffers& buffers) {
    error_code ec;
    const std::size_t count = write_some(buffers, ec);
    if (ec) throw boost::system::system_error(ec);
    return count;
  }

 private:
  static error_code last_error() { return {errno, boost::system::system_category()}; }

  template <typename Buffers, typename Call>
  std::size_t transfer(const Buffers& buffers, short events, error_code& ec, const Call& call) {
    ec = {};
    std::array<iovec, 16> parts{};
    std::size_t count = 0, bytes = 0;
    for (auto it = boost::asio::buffer_sequence_begin(buffers);
         it != boost::asio::buffer_sequence_end(buffers) && count < parts.size(); ++it) {
      const boost::asio::const_buffer part(*it);
      if (part.size() == 0) continue;
      parts[count++] = {.iov_base = const_cast<void*>(part.data()), .iov_len = part.size()};
      bytes += part.size();
    }
    if (bytes == 0) return 0;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    for (;;) {
      const ssize_t done = call(message);
      if (done >= 0) return static_cast<std::size_t>(done);
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) return ec = last_error(), 0;
      if (!wait(events, ec)) return 0;
    }
  }

  int fd_;
  std::chrono::milliseconds stalled_{30'000};
  Clock::time_point deadline_ = Clock::time_point::max();
};

}  // namespace octavo::serve
