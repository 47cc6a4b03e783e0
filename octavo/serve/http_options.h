// Limits of the HTTP server: what a client may send, and how long it may take. Plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace octavo::serve {

struct HttpOptions {
  std::string host = "127.0.0.1";  // address or name; "0.0.0.0" and "::" are every interface
  std::uint16_t port = 8000;       // 0: any that is free
  std::string api_key;  // "": none needed. Else "Authorization: Bearer KEY", but for RouteOptions::without_key

  std::uint32_t header_bytes = 64 << 10;      // of the request line and the headers together
  std::uint64_t body_bytes = 64ull << 20;     // where a route says nothing else
  std::size_t max_connections = 4096;         // more are answered with 503 and closed
  std::chrono::milliseconds idle{120'000};    // between two requests of a connection
  std::chrono::milliseconds header{20'000};   // from a request's first byte to the end of its headers
  std::chrono::milliseconds body{300'000};    // for a whole body of limited length
  std::chrono::milliseconds stalled{30'000};  // without a byte in or out, in the middle of a body or an answer
};

}  // namespace octavo::serve
