// One HTTP request at a time over a connection that is kept: libcurl, with its errors sorted into those that may pass
// and those that will not. Redirects are handed to the caller, who knows where the token may go.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/checkpoint/hub/options.h"

namespace octavo::hub {

// Status line and headers of a final response.
struct HttpHead {
  long status = 0;
  std::map<std::string, std::string, std::less<>> headers;  // names in lower case
  std::optional<std::uint64_t> length;                      // Content-Length
  std::string redirect;                                     // absolute; "" when it is none

  std::string_view header(std::string_view lower_case_name) const;
  bool success() const { return status >= 200 && status < 300; }
};

struct HttpRequest {
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  bool head_only = false;
};

// Called in the thread of send(). An error of either ends the transfer and is what send() returns.
struct HttpHandlers {
  std::function<Status(const HttpHead&)> head = [](const HttpHead&) { return Status(); };  // of a 2xx, before its body
  // Of a 2xx; false: enough, the rest is not wanted.
  std::function<Result<bool>(std::span<const std::byte>)> body = [](std::span<const std::byte>) { return true; };
};

struct HttpAnswer {
  HttpHead head;
  bool broken = false;    // no response, or its body ended early
  bool may_pass = false;  // of what is broken: another attempt may do better
  std::string problem;    // what is broken, in words
  std::optional<std::chrono::seconds> retry_after;
};

// Scheme, host and port of an http or https URL, as "https://host:443"; "" for anything else.
std::string origin_of(const std::string& url);

// Not for two threads at once.
class HttpConnection {
 public:
  // `options` and `cancelled` must outlive it.
  static Result<HttpConnection> open(const Options& options, const std::function<bool()>& cancelled);

  // An Error only for cancellation and for what the handlers return; all else is in the answer.
  Result<HttpAnswer> send(const HttpRequest& request, const HttpHandlers& handlers);

 private:
  struct Handle;
  struct Close {
    void operator()(Handle* handle) const;
  };
  explicit HttpConnection(std::unique_ptr<Handle, Close> handle) : handle_(std::move(handle)) {}
  std::unique_ptr<Handle, Close> handle_;
};

}  // namespace octavo::hub
