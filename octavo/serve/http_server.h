// HTTP/1.1 over TCP: accepts, and gives every connection a thread of its own, which parses with Boost.Beast
// (http_connection.cc) and calls the routes. Threads, because handlers wait: for the engine, for gigabytes of weights.
//
// Keep-alive, chunked bodies in both directions, Expect: 100-continue, HEAD; no TLS (a proxy's work), no HTTP/2. A
// malformed request gets its status and the end of its connection, never more than that.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "octavo/serve/http_options.h"
#include "octavo/serve/router.h"

namespace octavo::serve {

class HttpServer {
 public:
  // Binds and listens; requests are served from here on. Failures: an address that cannot be bound. `routes` is not
  // changed any more.
  static Result<std::unique_ptr<HttpServer>> start(RouteTable routes, const HttpOptions& options);
  ~HttpServer();  // abort()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::uint16_t port() const;
  std::string url() const;          // "http://127.0.0.1:8000"
  std::size_t connections() const;  // open ones

  // Accepts no more connections and closes those that wait for a request. Requests in work are answered, their
  // connections closed after that. Returns at once; any thread.
  void begin_shutdown();
  // After begin_shutdown(): waits for the requests in work; false: `deadline` came first.
  bool wait_until_idle(std::chrono::steady_clock::time_point deadline);
  // Ends every connection, whatever it is doing, and waits for the threads. A handler that waits in wait_readable,
  // read or write is told; one that computes is waited for.
  void abort();

 private:
  struct State;
  explicit HttpServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace octavo::serve
