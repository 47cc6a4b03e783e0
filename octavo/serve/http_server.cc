// Sockets and threads.
#include "octavo/serve/http_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>

#include "octavo/base/text.h"
#include "octavo/serve/http_connection.h"

namespace octavo::serve {
namespace {

constexpr int kBacklog = 1024;
// A peer that vanished without a word is noticed after about two minutes.
constexpr int kKeepIdle = 60, kKeepInterval = 15, kKeepCount = 4;

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct Client {
  Fd fd;
  std::atomic<bool> busy{false}, done{false};
  std::thread thread;
};

void set_option(int fd, int level, int name, int value) {
  static_cast<void>(::setsockopt(fd, level, name, &value, sizeof value));
}

std::string system_message(int code) { return std::system_category().message(code); }

Result<Fd> listen_on(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int error = ::getaddrinfo(host.empty() ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &list);
  if (error != 0) return failure("--host {}: {}", printable(host), ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(list, &::freeaddrinfo);
  int reason = 0;
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    Fd fd(::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd.get() < 0) {
      reason = errno;
      continue;
    }
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (::bind(fd.get(), at->ai_addr, at->ai_addrlen) == 0 && ::listen(fd.get(), kBacklog) == 0) return fd;
    reason = errno;
  }
  const char* hint = reason == EADDRINUSE ? "; another server has it: choose another --port, or 0 for any" : "";
  return failure("cannot listen on {} port {}: {}{}", printable(host), port, system_message(reason), hint);
}

std::uint16_t port_of(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

}  // namespace

struct HttpServer::State {
  State(RouteTable table, const HttpOptions& wanted, Fd bound)
      : routes(std::move(table)),
        options(wanted),
        listener(std::move(bound)),
        wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    port = port_of(listener.get());
  }

  void accept_loop();
  void accept_one();
  void refuse(int fd) const;
  void reap();  // joins the threads that are done
  void notify() const {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(wake.get(), &one, sizeof one));
  }

  const RouteTable routes;
  const HttpOptions options;
  Fd listener;  // the acceptor's
  Fd wake;
  std::uint16_t port = 0;
  std::atomic<bool> closing{false}, ending{false};
  const ConnectionContext context{routes, options, closing};

  mutable std::mutex mutex;
  std::condition_variable changed;  // a connection ended
  std::list<Client> clients;        // guarded by mutex
  std::size_t open = 0;             // guarded by mutex: clients that are not done
  std::thread acceptor;
};

void HttpServer::State::reap() {
  std::list<Client> done;
  {
    const std::lock_guard lock(mutex);
    for (auto it = clients.begin(); it != clients.end();) {
      const auto next = std::next(it);
      if (it->done) done.splice(done.end(), clients, it);
      it = next;
    }
  }
  for (Client& client : done) client.thread.join();
}

void HttpServer::State::refuse(int fd) const {
  const std::string body = Reply::error(503, "the server has as many connections as it takes").body;
  const std::string text = fmt::format(
      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: "
      "close\r\n"
      "Retry-After: 1\r\n\r\n{}",
      body.size(), body);
  static_cast<void>(!::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

void HttpServer::State::accept_one() {
  Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd.get() < 0) {
    // Without file descriptors the connection stays in the backlog; asking at once again would only burn time.
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return;
  }
  set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE, kKeepIdle);
  set_option(fd.get(), IPPROTO_TCP, TCP_KEEPINTVL, kKeepInterval);
  set_option(fd.get(), IPPROTO_TCP, TCP_KEEPCNT, kKeepCount);
  const std::lock_guard lock(mutex);
  if (closing || open >= options.max_connections) return refuse(fd.get());
  Client& client = clients.emplace_back();
  client.fd = std::move(fd);
  try {
    client.thread = std::thread([this, &client] {
      serve_connection(client.fd.get(), context, client.busy);
      ::shutdown(client.fd.get(), SHUT_RDWR);
      {
        const std::lock_guard guard(mutex);
        --open;
        client.done = true;
      }
      changed.notify_all();
      notify();
    });
    ++open;
  } catch (const std::system_error&) {  // no more threads
    refuse(client.fd.get());
    clients.pop_back();
  }
}

void HttpServer::State::accept_loop() {
  while (!ending) {
    std::array<pollfd, 2> entries = {pollfd{.fd = wake.get(), .events = POLLIN, .revents = 0},
                                     pollfd{.fd = closing ? -1 : listener.get(), .events = POLLIN, .revents = 0}};
    if (::poll(entries.data(), entries.size(), -1) < 0 && errno != EINTR) break;
    std::uint64_t count = 0;
    static_cast<void>(!::read(wake.get(), &count, sizeof count));
    reap();
    if (closing) listener = Fd();  // from here on the system refuses connections
    if (!closing && entries[1].revents != 0) accept_one();
  }
}

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpServer::~HttpServer() { abort(); }

Result<std::unique_ptr<HttpServer>> HttpServer::start(RouteTable routes, const HttpOptions& options) {
  OCTAVO_ASSIGN(Fd fd, listen_on(options.host, options.port));
  auto state = std::make_unique<State>(std::move(routes), options, std::move(fd));
  if (state->wake.get() < 0) return failure("the server: eventfd: {}", system_message(errno));
  state->acceptor = std::thread([raw = state.get()] { raw->accept_loop(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));
}

std::uint16_t HttpServer::port() const { return state_->port; }

std::string HttpServer::url() const {
  const std::string& host = state_->options.host;
  const bool v6 = host.find(':') != host.npos;
  return fmt::format("http://{}{}{}:{}", v6 ? "[" : "", host, v6 ? "]" : "", state_->port);
}

std::size_t HttpServer::connections() const {
  const std::lock_guard lock(state_->mutex);
  return state_->open;
}

void HttpServer::begin_shutdown() {
  State& s = *state_;
  s.closing = true;
  const std::lock_guard lock(s.mutex);
  for (Client& client : s.clients) {
    if (!client.busy && !client.done) ::shutdown(client.fd.get(), SHUT_RD);
  }
  s.notify();
}

bool HttpServer::wait_until_idle(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_until(lock, deadline, [&] { return state_->open == 0; });
}

void HttpServer::abort() {
  State& s = *state_;
  if (!s.acceptor.joinable()) return;
  s.closing = true;
  {
    const std::lock_guard lock(s.mutex);
    for (Client& client : s.clients) {
      if (!client.done) ::shutdown(client.fd.get(), SHUT_RDWR);
    }
  }
  {
    std::unique_lock lock(s.mutex);
    s.changed.wait(lock, [&] { return s.open == 0; });
  }
  s.ending = true;
  s.notify();
  s.acceptor.join();
  s.reap();
}

}  // namespace octavo::serve
