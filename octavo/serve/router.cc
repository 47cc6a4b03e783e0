// Routes by path and method; bodies as text and JSON.
#include "octavo/serve/router.h"

#include <algorithm>

#include "octavo/base/text.h"

namespace octavo::serve {
namespace {

constexpr std::size_t kReadSize = 64 << 10;
constexpr int kMaxDepth = 64;

const std::string* find_value(const std::vector<std::pair<std::string, std::string>>& list, std::string_view name) {
  for (const auto& [key, value] : list) {
    if (key == name) return &value;
  }
  return nullptr;
}

// vLLM's words for a status.
std::string_view error_type(int status) {
  switch (status) {
    case 400: return "BadRequestError";
    case 401: return "AuthenticationError";
    case 404: return "NotFoundError";
    case 405: return "MethodNotAllowedError";
    case 408: return "RequestTimeoutError";
    case 413: return "RequestEntityTooLargeError";
    case 431: return "RequestHeaderFieldsTooLargeError";
    case 501: return "NotImplementedError";
    case 503: return "ServiceUnavailableError";
    default: return status < 500 ? "BadRequestError" : "InternalServerError";
  }
}

}  // namespace

const std::string* RequestHead::parameter(std::string_view name) const { return find_value(query, name); }
const std::string* RequestHead::header(std::string_view name) const { return find_value(headers, name); }

Reply Reply::json(const Json& value, int status) {
  return {.status = status,
          .content_type = "application/json",
          .body = value.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace)};
}

Reply Reply::text(std::string text, int status) {
  return {.status = status, .content_type = "text/plain; charset=utf-8", .body = std::move(text)};
}

Reply Reply::empty(int status) { return {.status = status, .content_type = "", .body = ""}; }

Reply Reply::error(int status, std::string_view message, std::string_view param) {
  const Json name = param.empty() ? Json() : Json(param);
  return json({{"error", {{"message", message}, {"type", error_type(status)}, {"param", name}, {"code", status}}}},
              status);
}

Result<std::string> Exchange::read_body() {
  std::string out;
  if (const auto length = body().length())
    out.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(*length, kReadSize)));
  std::size_t filled = 0;
  for (;;) {
    out.resize(filled + kReadSize);
    OCTAVO_ASSIGN(const std::size_t count,
                  body().read(std::as_writable_bytes(std::span(out).subspan(filled, kReadSize))));
    filled += count;
    if (count == 0) break;
  }
  out.resize(filled);
  return out;
}

std::optional<Json> read_json_object(Exchange& exchange, bool may_be_empty) {
  const auto refuse = [&](int status, std::string_view message) {
    static_cast<void>(exchange.reply(Reply::error(status, message)));
    return std::nullopt;
  };
  const Result<std::string> body = exchange.read_body();
  if (!body.ok()) return refuse(exchange.body_status(), body.error().message);
  if (body->empty() && may_be_empty) return Json::object();
  if (!is_valid_utf8(*body)) return refuse(400, "the body is not valid UTF-8");
  Result<Json> value = parse_json(*body, "body", {.max_depth = kMaxDepth});
  if (!value.ok()) return refuse(400, value.error().message);
  if (!value->is_object()) {
    return refuse(400, fmt::format("the body must be a JSON object, and is {}", json_type_name(*value)));
  }
  return std::move(*value);
}

void RouteTable::add(std::string_view method, std::string_view path, Handler handler, const RouteOptions& options) {
  routes_[std::string(path)].insert_or_assign(std::string(method), Route{std::move(handler), options});
}

void RouteTable::add_both(std::string_view path, const Handler& handler, const RouteOptions& options) {
  add("GET", path, handler, options);
  add("POST", path, handler, options);
}

RouteTable::Found RouteTable::find(std::string_view method, std::string_view path) const {
  Found out;
  auto at = routes_.find(path);
  // "/a/b/c" is looked for as "/a/b/*" and "/a/*", the longest first.
  for (std::size_t slash = path.rfind('/'); at == routes_.end() && slash != path.npos && slash > 0;
       slash = path.rfind('/', slash - 1)) {
    if (slash + 1 == path.size()) continue;
    at = routes_.find(std::string(path.substr(0, slash)) + "/*");
    if (at != routes_.end()) out.rest = path.substr(slash + 1);
  }
  if (at == routes_.end()) return out;
  const auto& methods = at->second;
  auto route = methods.find(std::string(method));
  if (route == methods.end() && method == "HEAD") route = methods.find("GET");
  if (route != methods.end()) {
    out.route = &route->second;
    return out;
  }
  for (const auto& [name, unused] : methods) out.allow.push_back(name);
  return out;
}

std::vector<std::string> RouteTable::paths() const {
  std::vector<std::string> out;
  for (const auto& [path, unused] : routes_) out.push_back(path);
  return out;
}

}  // namespace octavo::serve
