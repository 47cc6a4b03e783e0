// libcurl's easy interface, its callbacks, its error codes.
#include "octavo/checkpoint/hub/http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "octavo/base/text.h"
#include "octavo/base/version.h"
#include "octavo/checkpoint/hub/retry.h"

namespace octavo::hub {
namespace {

constexpr long kBuffer = 256 << 10;
constexpr std::size_t kLongestErrorPage = 1 << 20;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

bool may_pass(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return true;
    default: return false;
  }
}

struct UrlPart {
  char* text = nullptr;
  ~UrlPart() { curl_free(text); }
};

}  // namespace

std::string_view HttpHead::header(std::string_view lower_case_name) const {
  const auto it = headers.find(lower_case_name);
  return it == headers.end() ? std::string_view() : std::string_view(it->second);
}

std::string origin_of(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), &curl_url_cleanup);
  UrlPart scheme, host, port;
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK ||
      curl_url_get(parsed.get(), CURLUPART_SCHEME, &scheme.text, 0) != CURLUE_OK ||
      curl_url_get(parsed.get(), CURLUPART_HOST, &host.text, 0) != CURLUE_OK ||
      curl_url_get(parsed.get(), CURLUPART_PORT, &port.text, CURLU_DEFAULT_PORT) != CURLUE_OK) {
    return "";
  }
  const std::string name = lower(scheme.text);
  if (name != "http" && name != "https") return "";
  return fmt::format("{}://{}:{}", name, lower(host.text), port.text);
}

// What the callbacks see, and the curl handle itself.
struct HttpConnection::Handle {
  CURL* curl = nullptr;
  const std::function<bool()>* cancelled = nullptr;
  std::array<char, CURL_ERROR_SIZE> error_text{};

  // Of the request in progress.
  const HttpHandlers* handlers = nullptr;
  HttpHead head;
  bool announced = false;  // handlers->head was called
  bool enough = false;
  std::size_t unread = 0;  // bytes of an error page
  Status status;           // of the handlers

  // Once the headers are known: what curl has made of them.
  void complete_head() {
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &head.status);
    curl_off_t length = -1;
    curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length >= 0) head.length = static_cast<std::uint64_t>(length);
  }

  bool announce() {
    if (announced) return true;
    announced = true;
    complete_head();
    if (head.success()) status = handlers->head(head);
    return status.ok();
  }

  static std::size_t on_header(char* data, std::size_t, std::size_t bytes, void* self) {
    auto& me = *static_cast<Handle*>(self);
    const std::string_view line(data, bytes);
    if (line.starts_with("HTTP/")) {  // a new response: what came before was a 1xx
      me.head.headers.clear();
    } else if (const std::size_t colon = line.find(':'); colon != line.npos) {
      me.head.headers[lower(trimmed(line.substr(0, colon)))] = trimmed(line.substr(colon + 1));
    }
    return bytes;
  }

  static std::size_t on_body(char* data, std::size_t, std::size_t bytes, void* self) {
    auto& me = *static_cast<Handle*>(self);
    if (!me.announce()) return 0;
    if (!me.head.success()) {  // an error page, which nobody reads
      me.enough = (me.unread += bytes) > kLongestErrorPage;
      return me.enough ? 0 : bytes;
    }
    Result<bool> more = me.handlers->body(std::as_bytes(std::span<const char>(data, bytes)));
    if (!more.ok()) {
      me.status = std::move(more).error();
      return 0;
    }
    if (!*more) me.enough = true;
    return *more ? bytes : 0;
  }

  static int on_progress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return (*static_cast<Handle*>(self)->cancelled)() ? 1 : 0;
  }
};

void HttpConnection::Close::operator()(Handle* handle) const {
  curl_easy_cleanup(handle->curl);
  delete handle;
}

Result<HttpConnection> HttpConnection::open(const Options& options, const std::function<bool()>& cancelled) {
  static std::once_flag once;  // libcurl's own state, which older versions do not guard
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  std::unique_ptr<Handle, Close> handle(new Handle);
  handle->cancelled = &cancelled;
  CURL* curl = handle->curl = curl_easy_init();
  if (curl == nullptr) return failure("libcurl cannot be started");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);  // threads
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, fmt::format("octavo/{}", version()).c_str());
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, kBuffer);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, handle->error_text.data());
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Handle::on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, handle.get());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Handle::on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, handle.get());
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &Handle::on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, handle.get());
  if (!options.ca_file.empty() && curl_easy_setopt(curl, CURLOPT_CAINFO, options.ca_file.c_str()) != CURLE_OK) {
    return failure("{}: libcurl cannot use this file of certificates", options.ca_file);
  }
  return HttpConnection(std::move(handle));
}

Result<HttpAnswer> HttpConnection::send(const HttpRequest& request, const HttpHandlers& handlers) {
  if ((*handle_->cancelled)()) return interrupted_error();
  Handle& h = *handle_;
  h.handlers = &handlers;
  h.head = {};
  h.announced = h.enough = false;
  h.unread = 0;
  h.status = {};
  h.error_text[0] = 0;
  curl_slist* list = nullptr;
  for (const std::string& header : request.headers) list = curl_slist_append(list, header.c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(list, &curl_slist_free_all);
  curl_easy_setopt(h.curl, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(h.curl, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(h.curl, CURLOPT_HTTPGET, 1L);
  curl_easy_setopt(h.curl, CURLOPT_NOBODY, request.head_only ? 1L : 0L);
  const CURLcode code = curl_easy_perform(h.curl);
  curl_easy_setopt(h.curl, CURLOPT_HTTPHEADER, nullptr);

  if (code == CURLE_ABORTED_BY_CALLBACK) return interrupted_error();
  if (h.status.ok() && code == CURLE_OK) h.announce();
  if (!h.status.ok()) return std::move(h.status).error();
  h.complete_head();
  HttpAnswer out;
  char* redirect = nullptr;
  curl_easy_getinfo(h.curl, CURLINFO_REDIRECT_URL, &redirect);
  if (redirect != nullptr) h.head.redirect = redirect;
  curl_off_t retry_after = 0;
  curl_easy_getinfo(h.curl, CURLINFO_RETRY_AFTER, &retry_after);
  if (retry_after > 0) out.retry_after = std::chrono::seconds(retry_after);
  out.head = std::move(h.head);
  if (code != CURLE_OK && !h.enough) {
    out.broken = true;
    out.may_pass = may_pass(code);
    const std::string text = h.error_text[0] != 0 ? h.error_text.data() : curl_easy_strerror(code);
    out.problem = printable(text, 300);
  }
  return out;
}

}  // namespace octavo::hub
