// What a client may send over one connection: heads, bodies with a length and chunked, pipelined requests, garbage.
#include <sys/socket.h>
#include <unistd.h>

#include "octavo/serve/http_connection.h"
#include "property.h"

using namespace octavo;

namespace {

serve::RouteTable routes() {
  serve::RouteTable out;
  out.add("POST", "/echo", [](serve::Exchange& x) {
    const Result<std::string> body = x.read_body();
    if (!body.ok()) fuzz::require_readable(body.error().message);
    static_cast<void>(
        x.reply(body.ok() ? serve::Reply::text(*body) : serve::Reply::error(x.body_status(), body.error())));
  });
  out.add("POST", "/json", [](serve::Exchange& x) {
    if (const auto body = serve::read_json_object(x)) static_cast<void>(x.reply(serve::Reply::json(*body)));
  });
  out.add("POST", "/unread", [](serve::Exchange& x) { static_cast<void>(x.reply(serve::Reply::empty())); });
  out.add("GET", "/head/*", [](serve::Exchange& x) {
    fuzz::require(!x.head().id.empty(), "every request has an id");
    if (!x.begin_stream(200, "text/plain").ok()) return;
    for (const auto& [name, value] : x.head().query) static_cast<void>(x.write(name + value));
  });
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const serve::RouteTable table = routes();
  static const serve::HttpOptions options = [] {
    serve::HttpOptions out;
    out.header_bytes = 2048;
    out.body_bytes = 1 << 20;
    out.header = out.body = out.stalled = out.idle = std::chrono::milliseconds(1000);
    return out;
  }();
  static const std::atomic<bool> closing{false};
  constexpr std::size_t kMost = 64 << 10;  // fits a socket's buffer, so that one thread is enough for both ends
  int ends[2];
  if (size > kMost || ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 0;
  fuzz::require(::send(ends[0], data, size, 0) == static_cast<ssize_t>(size) || size == 0, "the input was sent");
  ::shutdown(ends[0], SHUT_WR);
  std::atomic<bool> busy{false};
  serve::serve_connection(ends[1], {table, options, closing}, busy);
  ::close(ends[1]);
  std::string answer;
  char part[4096];
  for (ssize_t count = 0; (count = ::recv(ends[0], part, sizeof part, 0)) > 0;) {
    answer.append(part, static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  fuzz::require(answer.empty() || answer.starts_with("HTTP/1."), "what comes back is HTTP", answer);
  return 0;
}
