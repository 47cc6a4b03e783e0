// Boost.Beast's parser and serializer around the routes. The one file that includes Beast.
#include "octavo/serve/http_connection.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <charconv>
#include <exception>
#include <random>

#include "octavo/base/text.h"
#include "octavo/base/version.h"
#include "octavo/serve/poll_stream.h"

namespace octavo::serve {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using Clock = PollStream::Clock;
using Parser = http::request_parser<http::buffer_body>;

constexpr std::size_t kBuffer = 64 << 10;            // read at once
constexpr std::uint64_t kMostDrained = 256 << 10;    // of a body that nobody read, for the connection's sake
constexpr std::chrono::milliseconds kLinger{1'000};  // for the client to see an answer to a request it is still sending
constexpr std::size_t kLongestId = 200;

std::string new_request_id() {
  thread_local std::mt19937_64 random{std::random_device{}()};
  const std::uint64_t high = random(), low = random();
  return fmt::format("{:016x}{:016x}", high, low);
}

// "%41" -> "A"; `plus`: "+" -> " ", as in a query. What is no escape stays as it is.
std::string percent_decode(std::string_view text, bool plus) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      unsigned value = 0;
      const auto [end, error] = std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16);
      if (error == std::errc() && end == text.data() + i + 3) {
        out += static_cast<char>(value);
        i += 2;
        continue;
      }
    }
    out += plus && text[i] == '+' ? ' ' : text[i];
  }
  return out;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

std::string_view view(beast::string_view text) { return {text.data(), text.size()}; }

// An id that comes back in a header and in JSON: short and printable, or not taken.
bool usable_id(std::string_view id) {
  return !id.empty() && id.size() <= kLongestId &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

RequestHead read_head(const Parser& parser) {
  const auto& message = parser.get();
  RequestHead out;
  out.method = view(message.method_string());
  std::string_view target = view(message.target());
  const std::size_t question = target.find('?');
  out.path = percent_decode(target.substr(0, question), /*plus=*/false);
  if (question != target.npos) {
    for (const std::string_view pair : split(target.substr(question + 1), '&')) {
      if (pair.empty()) continue;
      const std::size_t equals = pair.find('=');
      out.query.emplace_back(percent_decode(pair.substr(0, equals), true),
                             equals == pair.npos ? "" : percent_decode(pair.substr(equals + 1), true));
    }
  }
  for (const auto& field : message) out.headers.emplace_back(lower(view(field.name_string())), view(field.value()));
  const std::string* id = out.header("x-request-id");
  out.id = id != nullptr && usable_id(*id) ? *id : new_request_id();
  return out;
}

// As long as it takes for any other key of this length.
bool same_key(std::string_view given, std::string_view wanted) {
  unsigned differs = given.size() == wanted.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    differs |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(wanted[i % wanted.size()]);
  }
  return differs == 0;
}

// The status for a request that could not be read, and the sentence. Status 0: nobody is there to be told.
struct Refusal {
  int status = 400;
  std::string message;
};
Refusal refusal_of(const beast::error_code& ec, const HttpOptions& options) {
  if (ec == boost::asio::error::timed_out) return {408, "the client sent nothing for too long"};
  if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
    return {431, fmt::format("the headers are longer than {} bytes", options.header_bytes)};
  }
  if (ec == http::error::partial_message || ec == boost::asio::error::eof) {
    return {400, "the request ended before it was complete"};
  }
  if (ec.category() == boost::system::system_category()) return {0, ec.message()};
  return {400, fmt::format("the request is not HTTP/1.1 as it should be: {}", ec.message())};
}

class Connection final : public Exchange, private BodyReader {
 public:
  Connection(PollStream& stream, beast::flat_buffer& buffer, Parser& parser, const ConnectionContext& context,
             RequestHead head)
      : stream_(stream), buffer_(buffer), parser_(parser), context_(context), head_(std::move(head)) {
    if (!parser_.is_header_done()) return;  // of a head that could not be read: Beast asserts that nobody asks it
    if (const auto length = parser_.content_length()) length_ = *length;
    keep_alive_ = parser_.get().keep_alive();
    is_head_ = parser_.get().method() == http::verb::head;
    http11_ = parser_.get().version() >= 11;
    expects_ = lower(view(parser_.get()[http::field::expect])) == "100-continue";
  }

  const RequestHead& head() const override { return head_; }
  RequestHead& head() { return head_; }
  BodyReader& body() override { return *this; }
  bool answered() const override { return answered_; }

  // Bytes that the body may have, and until when. False: Content-Length is more.
  bool limit_body(std::uint64_t bytes) {
    limit_ = bytes;
    const bool limited = bytes != kUnlimitedBody;
    stream_.set_limits(context_.options.stalled,
                       limited ? Clock::now() + context_.options.body : Clock::time_point::max());
    return !length_ || *length_ <= limit_;
  }
  std::string too_long() const { return fmt::format("the body is longer than {} bytes", limit_); }

  Status reply(const Reply& reply) override {
    if (answered_) return failure("the request has been answered");
    answered_ = true;
    stream_.set_limits(context_.options.stalled);
    decide_about_body();
    http::response<http::string_body> message;
    set_head(message, reply.status, reply.content_type);
    for (const auto& [name, value] : reply.headers) message.set(name, value);
    const bool bodiless = reply.status == 204 || reply.status == 304;
    if (!bodiless) message.content_length(reply.body.size());
    if (!is_head_ && !bodiless) message.body() = reply.body;
    http::response_serializer<http::string_body> serializer(message);
    beast::error_code ec;
    http::write(stream_, serializer, ec);
    return sent(ec);
  }

  Status begin_stream(int status, std::string_view content_type) override {
    if (answered_) return failure("the request has been answered");
    answered_ = true;
    streaming_ = true;
    stream_.set_limits(context_.options.stalled);
    decide_about_body();
    if (!http11_) keep_alive_ = false;  // the end of the connection is the end of the body
    http::response<http::empty_body> message;
    set_head(message, status, content_type);
    message.set(http::field::cache_control, "no-cache");
    if (http11_) message.chunked(true);
    http::response_serializer<http::empty_body> serializer(message);
    beast::error_code ec;
    http::write_header(stream_, serializer, ec);
    return sent(ec);
  }

  Status write(std::string_view piece) override {
    if (!streaming_ || broken_) return failure("the client has gone");
    if (piece.empty() || is_head_) return {};
    const boost::asio::const_buffer bytes(piece.data(), piece.size());
    beast::error_code ec;
    if (http11_) {
      boost::asio::write(stream_, http::make_chunk(bytes), ec);
    } else {
      boost::asio::write(stream_, bytes, ec);
    }
    return sent(ec);
  }

  bool wait_readable(int fd) override {
    for (;;) {
      std::array<pollfd, 2> entries = {pollfd{.fd = fd, .events = POLLIN, .revents = 0},
                                       pollfd{.fd = stream_.fd(), .events = POLLRDHUP, .revents = 0}};
      if (::poll(entries.data(), entries.size(), -1) < 0) {
        if (errno == EINTR) continue;
        return false;
      }
      if (entries[1].revents != 0) {
        broken_ = true;
        return false;
      }
      if (entries[0].revents != 0) return true;
    }
  }

  // After the handler: ends a stream. Whether the connection can take another request.
  bool finish() {
    if (!answered_) static_cast<void>(reply(Reply::error(500, "the route gave no answer")));
    if (streaming_ && http11_ && !is_head_ && !broken_) {
      beast::error_code ec;
      boost::asio::write(stream_, http::make_chunk_last(), ec);
      static_cast<void>(sent(ec));
    }
    if (keep_alive_ && !broken_ && !parser_.is_done()) drain_body();
    return keep_alive_ && !broken_ && parser_.is_done();
  }
  void close_after() { keep_alive_ = false; }
  // A stream that cannot be brought to its end must not look complete.
  void break_off() { broken_ = true; }
  bool broken() const { return broken_; }

 private:
  // ---- BodyReader
  Result<std::size_t> read(std::span<std::byte> into) override {
    if (body_error_) return *body_error_;
    if (into.empty() || parser_.is_done()) return std::size_t{0};
    if (expects_) {
      expects_ = false;
      constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      beast::error_code ec;
      boost::asio::write(stream_, boost::asio::const_buffer(kContinue.data(), kContinue.size()), ec);
    }
    while (!parser_.is_done()) {
      auto& body = parser_.get().body();
      body.data = into.data();
      body.size = into.size();
      body.more = true;
      beast::error_code ec;
      http::read_some(stream_, buffer_, parser_, ec);
      if (ec == http::error::need_buffer) ec = {};
      const std::size_t count = into.size() - body.size;
      if (ec) {
        const Refusal refusal = refusal_of(ec, context_.options);
        if (refusal.status == 0) broken_ = true;
        return fail(refusal.status == 0 ? 400 : refusal.status, refusal.message);
      }
      received_ += count;
      if (received_ > limit_) return fail(413, too_long());
      if (count > 0) return count;
    }
    return std::size_t{0};
  }
  std::optional<std::uint64_t> length() const override { return length_; }

  Error fail(int status, const std::string& message) {
    body_status_ = status;
    keep_alive_ = false;
    body_error_ = failure("{}", message);
    return *body_error_;
  }

  // A body that the handler did not read is taken away after the answer, where it is short, so that the next request
  // can be found; else the connection ends.
  void decide_about_body() {
    if (parser_.is_done()) return;
    const std::uint64_t left = length_ ? *length_ - std::min(*length_, received_) : kMostDrained + 1;
    if (body_error_ || expects_ || left > kMostDrained || left > limit_) keep_alive_ = false;
  }
  void drain_body() {
    stream_.set_limits(kLinger, Clock::now() + kLinger);
    std::array<std::byte, 4096> unused;
    for (;;) {
      const Result<std::size_t> count = read(unused);
      if (!count.ok() || *count == 0) break;
    }
  }

  template <typename Message>
  void set_head(Message& message, int status, std::string_view content_type) {
    if (context_.closing) keep_alive_ = false;
    message.result(static_cast<unsigned>(status));
    message.version(http11_ ? 11 : 10);
    message.set(http::field::server, fmt::format("octavo/{}", version()));
    message.set("X-Request-Id", head_.id);
    if (!content_type.empty()) {
      message.set(http::field::content_type, beast::string_view(content_type.data(), content_type.size()));
    }
    message.keep_alive(keep_alive_);
  }

  Status sent(const beast::error_code& ec) {
    if (!ec) return {};
    broken_ = true;
    return failure("the client has gone: {}", ec.message());
  }

  PollStream& stream_;
  beast::flat_buffer& buffer_;
  Parser& parser_;
  const ConnectionContext& context_;
  RequestHead head_;
  std::optional<std::uint64_t> length_;
  std::uint64_t limit_ = 0, received_ = 0;
  std::optional<Error> body_error_;
  bool keep_alive_ = true, is_head_ = false, http11_ = true, expects_ = false;
  bool answered_ = false, streaming_ = false, broken_ = false;
};

void dispatch(Connection& connection, const ConnectionContext& context) {
  RequestHead& head = connection.head();
  RouteTable::Found found = context.routes.find(head.method, head.path);
  head.rest = std::move(found.rest);
  const auto refuse = [&](Reply reply) { static_cast<void>(connection.reply(reply)); };
  connection.limit_body(context.options.body_bytes);
  const std::string& key = context.options.api_key;
  if (!key.empty() && (found.route == nullptr || !found.route->options.without_key)) {
    const std::string* given = head.header("authorization");
    constexpr std::string_view kBearer = "Bearer ";
    if (given == nullptr || !given->starts_with(kBearer) || !same_key(given->substr(kBearer.size()), key)) {
      Reply reply = Reply::error(401, "the request needs the server's key: Authorization: Bearer KEY");
      reply.headers.emplace_back("WWW-Authenticate", "Bearer");
      return refuse(std::move(reply));
    }
  }
  if (found.route == nullptr && found.allow.empty()) {
    const std::string hint = did_you_mean(head.path, context.routes.paths());
    return refuse(Reply::error(404, fmt::format("there is no route {}{}", printable(head.path), hint)));
  }
  if (found.route == nullptr) {
    const std::string allow = fmt::format("{}", fmt::join(found.allow, ", "));
    Reply reply = Reply::error(405, fmt::format("{} takes {}, not {}", head.path, allow, printable(head.method)));
    reply.headers.emplace_back("Allow", allow);
    return refuse(std::move(reply));
  }
  if (!connection.limit_body(found.route->options.body_limit.value_or(context.options.body_bytes))) {
    return refuse(Reply::error(413, connection.too_long()));
  }
  found.route->handler(connection);
}

// One request. Whether there may be another.
bool serve_request(PollStream& stream, beast::flat_buffer& buffer, const ConnectionContext& context,
                   std::atomic<bool>& busy) {
  const HttpOptions& options = context.options;
  beast::error_code ec;
  if (buffer.size() == 0) {
    stream.set_limits(options.idle);
    if (!stream.wait(POLLIN, ec)) return false;
  }
  busy = true;
  if (context.closing && buffer.size() == 0) return false;
  stream.set_limits(options.header, Clock::now() + options.header);
  Parser parser;
  parser.header_limit(options.header_bytes);
  parser.body_limit(boost::none);  // counted by Connection
  http::read_header(stream, buffer, parser, ec);
  if (ec) {
    if (ec == http::error::end_of_stream) return false;
    const Refusal refusal = refusal_of(ec, options);
    if (refusal.status == 0) return false;
    // What was read of the head decides nothing: a head of its own answers.
    Parser none;
    Connection answer(stream, buffer, none, context,
                      {.method = "", .path = "", .query = {}, .headers = {}, .id = new_request_id(), .rest = ""});
    answer.close_after();
    static_cast<void>(answer.reply(Reply::error(refusal.status, refusal.message)));
    return false;
  }
  Connection connection(stream, buffer, parser, context, read_head(parser));
  try {
    dispatch(connection, context);
  } catch (const std::exception& error) {
    // Memory has run out, or a library threw: this request only.
    if (connection.answered())
      connection.break_off();
    else
      static_cast<void>(connection.reply(Reply::error(500, fmt::format("the request failed: {}", error.what()))));
  }
  return connection.finish();
}

// A client that is still sending would lose the answer to a reset: what it sends is read for a moment.
void linger(int fd) {
  ::shutdown(fd, SHUT_WR);
  PollStream stream(fd);
  stream.set_limits(kLinger, Clock::now() + kLinger);
  std::array<char, 16 << 10> unused;
  beast::error_code ec;
  while (!ec) stream.read_some(boost::asio::buffer(unused), ec);
}

}  // namespace

void serve_connection(int fd, const ConnectionContext& context, std::atomic<bool>& busy) {
  PollStream stream(fd);
  beast::flat_buffer buffer(context.options.header_bytes + kBuffer);
  while (serve_request(stream, buffer, context, busy)) {
    busy = false;
    if (context.closing) break;
  }
  linger(fd);
}

}  // namespace octavo::serve
