// What a route is: a method and a path, and a function that answers one request (an Exchange). HTTP itself is in
// http_connection.cc; nothing here knows sockets, so a route can be called with an Exchange of a test's own.
//
//   table.add("POST", "/flush_cache", [&](Exchange& x) { x.reply(Reply::text("flushed\n")); });
//
// A handler runs on a thread of its own connection and may block: on the engine, on the body, on the disk. Several run
// at once. A handler that returns without an answer is answered with 500; exceptions are not for handlers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/base/status.h"

namespace octavo::serve {

// Everything before the body.
struct RequestHead {
  std::string method;                                        // "GET"
  std::string path;                                          // "/v1/models", percent-decoded, without the query
  std::vector<std::pair<std::string, std::string>> query;    // percent-decoded, in order; names may repeat
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case, in order
  std::string id;    // the client's X-Request-Id, or one that was made; every answer has it
  std::string rest;  // of a route "/v1/models/*": what stands for the star

  // The first value; nullptr: there is none.
  const std::string* parameter(std::string_view name) const;
  const std::string* header(std::string_view lower_case_name) const;
};

// A body as it arrives, with Content-Length or chunked; never held as a whole. One thread.
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  // The next bytes, at least one and at most into.size(); 0: the body is complete. Blocks. An Error: the connection
  // broke, the client was silent for too long, the framing is wrong, the body is longer than the route takes. After an
  // Error every call gives one.
  virtual Result<std::size_t> read(std::span<std::byte> into) = 0;
  virtual std::optional<std::uint64_t> length() const = 0;  // Content-Length, where the client says it
};

// An answer that is complete.
struct Reply {
  int status = 200;
  std::string content_type;  // "" with an empty body
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers = {};  // further ones

  static Reply json(const Json& value, int status = 200);  // what is not UTF-8 becomes U+FFFD
  static Reply text(std::string text, int status = 200);
  static Reply empty(int status = 200);
  // vLLM's and OpenAI's: {"error": {"message", "type", "param", "code"}}; the type follows from the status.
  static Reply error(int status, std::string_view message, std::string_view param = "");
  // As the Error says: 400, or 500 for what is not the client's.
  static Reply error(int status, const Error& error) { return Reply::error(status, error.message); }
};

// One request and its answer. One thread, but for what says otherwise.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const RequestHead& head() const = 0;
  virtual BodyReader& body() = 0;
  // The answer, at once. A failure (the client has gone) needs no handling: the connection ends with it.
  virtual Status reply(const Reply& reply) = 0;
  // An answer whose body comes in pieces; each is sent before write() returns (that is the back pressure), and the body
  // ends when the handler returns. A failure: the client has gone, or has not read for too long; stop working for it.
  virtual Status begin_stream(int status, std::string_view content_type) = 0;
  virtual Status write(std::string_view piece) = 0;
  virtual bool answered() const = 0;  // reply() or begin_stream() was called
  // Blocks until the file descriptor (an eventfd) is readable: true. False: the client has gone, or the server ends
  // now, so that nobody waits for the answer any more.
  virtual bool wait_readable(int fd) = 0;

  // The whole body, at most the route's limit; an Error's HTTP status is body_status().
  Result<std::string> read_body();
  int body_status() const { return body_status_; }  // 400, 408, 413; of the last failure of read_body

 protected:
  int body_status_ = 400;
};

// A handler's body as a JSON object: whole, valid UTF-8, of limited depth. An empty body is {} where `may_be_empty`.
// Nothing where it is not: the error has been sent (in OpenAI's form).
std::optional<Json> read_json_object(Exchange& exchange, bool may_be_empty = false);

using Handler = std::function<void(Exchange&)>;

inline constexpr std::uint64_t kUnlimitedBody = std::numeric_limits<std::uint64_t>::max();

struct RouteOptions {
  // Bytes of the body; more is 413, before it is read where Content-Length says so. nullopt: the server's own limit.
  // kUnlimitedBody for routes that take tensors and read() them in pieces.
  std::optional<std::uint64_t> body_limit = std::nullopt;
  bool without_key = false;  // may be asked without --api-key: /health, /metrics
};

struct Route {
  Handler handler;
  RouteOptions options;
};

class RouteTable {
 public:
  // `path` is exact, or ends with "/*", which stands for one or more further characters. A path and method that is
  // there already is replaced.
  void add(std::string_view method, std::string_view path, Handler handler, const RouteOptions& options = {});
  // The same for GET and POST, as SGLang has many.
  void add_both(std::string_view path, const Handler& handler, const RouteOptions& options = {});

  struct Found {
    const Route* route = nullptr;    // null: see the others
    std::vector<std::string> allow;  // the path is known: its methods (405); empty: it is not (404)
    std::string rest;                // what "/*" stands for
  };
  Found find(std::string_view method, std::string_view path) const;
  std::vector<std::string> paths() const;  // sorted, for suggestions

 private:
  std::map<std::string, std::map<std::string, Route>, std::less<>> routes_;  // path -> method -> route
};

}  // namespace octavo::serve
