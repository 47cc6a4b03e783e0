// Redirects followed by hand, so that the Authorization header is ours to keep.
#include "octavo/checkpoint/hub/client.h"

#include <fmt/format.h>

#include <charconv>

#include "octavo/base/text.h"

namespace octavo::hub {
namespace {

constexpr int kMostRedirects = 10;

// ETag: "abc" or W/"abc"
std::string bare_etag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return std::string(etag);
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void take_file_headers(const HttpHead& head, bool head_only, FileHeaders& file) {
  if (const auto commit = head.header("x-repo-commit"); !commit.empty()) file.commit = commit;
  const auto linked = head.header("x-linked-etag");
  if (!linked.empty()) {
    file.etag = bare_etag(linked);
  } else if (file.etag.empty() && head.success()) {
    file.etag = bare_etag(head.header("etag"));
  }
  if (const auto size = number(head.header("x-linked-size"))) {
    file.bytes = size;
  } else if (head_only && head.success() && !file.bytes) {
    file.bytes = head.length;
  }
}

std::string token_advice(const ModelName& model, const Options& o) {
  if (!o.token.empty()) {
    return fmt::format(
        "the token of {} was sent and is not enough; accept the terms at {}/{} with its account, or give "
        "another one",
        o.token_source, o.endpoint, model.repo);
  }
  return fmt::format(
      "accept its terms at {}/{} and give your token in HF_TOKEN or in the file that HF_TOKEN_PATH names ({})",
      o.endpoint, model.repo, o.token_path.string());
}

}  // namespace

bool ClientAnswer::try_again() const {
  if (http.broken) return http.may_pass;
  const long status = http.head.status;
  constexpr long kRequestTimeout = 408, kTooManyRequests = 429;
  return status == kRequestTimeout || status == kTooManyRequests || status / 100 == 5;
}

Error explain(const ClientAnswer& answer, const ModelName& model, const Options& o) {
  const HttpHead& head = answer.http.head;
  const std::string host = answer.from_hub ? o.endpoint : origin_of(answer.url);
  if (answer.http.broken) return failure("{}: {}", host, answer.http.problem);
  const std::string code = printable(head.header("x-error-code"));
  if (!answer.from_hub) {
    return failure("{}, where {} sends for the file, answers {}", host, o.endpoint, head.status);
  }
  switch (head.status) {
    case 401:
    case 403:
      if (code == "GatedRepo") {
        return failure("{} says that the repository is gated ({}): {}", host, head.status, token_advice(model, o));
      }
      return failure("{} answers {}: the repository does not exist, or is private or gated: {}", host, head.status,
                     token_advice(model, o));
    case 404:
      if (code == "RevisionNotFound") return failure("{} has no revision {} of it (404)", host, model.revision);
      if (code == "EntryNotFound") return failure("{} does not have the file (404)", host);
      if (code == "RepoNotFound" || model.revision == "main") {
        return failure("{} has no repository of this name (404)", host);
      }
      return failure("{} has no such repository, or no revision {} of it (404)", host, model.revision);
    case 429: return failure("{} answers 429: too many requests", host);
    default: return failure("{} answers {}", host, head.status);
  }
}

Result<Client> Client::open(const Options& options, const std::function<bool()>& cancelled) {
  if (origin_of(options.endpoint).empty()) {
    return usage_error("HF_ENDPOINT {}: must be a URL such as https://huggingface.co", printable(options.endpoint));
  }
  OCTAVO_ASSIGN(HttpConnection connection, HttpConnection::open(options, cancelled));
  return Client(std::move(connection), options);
}

Result<ClientAnswer> Client::follow(std::string url, const std::string& range, bool head_only,
                                    const ClientHandlers& handlers) {
  ClientAnswer out;
  for (int hop = 0; hop <= kMostRedirects; ++hop) {
    const std::string origin = origin_of(url);
    out.from_hub = origin == origin_;
    HttpRequest request{url, {"Accept-Encoding: identity"}, head_only};
    if (!range.empty()) request.headers.push_back("Range: " + range);
    if (out.from_hub && !options_->token.empty()) {
      request.headers.push_back("Authorization: Bearer " + options_->token);
    }
    HttpHandlers down;
    down.head = [&](const HttpHead& head) -> Status {
      if (out.from_hub) take_file_headers(head, head_only, out.file);
      const auto encoding = head.header("content-encoding");
      if (!encoding.empty() && encoding != "identity") {
        return failure("{} sends it encoded ({}), which was not asked for", origin, printable(encoding));
      }
      return handlers.head(head, out.file);
    };
    down.body = handlers.body;
    OCTAVO_ASSIGN(out.http, connection_.send(request, down));
    out.url = url;
    if (out.http.broken || out.http.head.redirect.empty()) return out;
    if (out.from_hub) take_file_headers(out.http.head, head_only, out.file);
    const std::string& next = out.http.head.redirect;
    const std::string next_origin = origin_of(next);
    if (next_origin.empty() || (origin.starts_with("https:") && !next_origin.starts_with("https:"))) {
      return failure("{} redirects to {}, which is not followed", origin, printable(next));
    }
    if (head_only && next_origin != origin_) return out;
    url = next;
  }
  return failure("{} redirects more than {} times", origin_of(url), kMostRedirects);
}

Result<ClientAnswer> Client::get(const std::string& url, const std::string& range, const ClientHandlers& handlers) {
  return follow(url, range, false, handlers);
}

Result<ClientAnswer> Client::head(const std::string& url) { return follow(url, "", true, {}); }

Result<FileHeaders> file_headers(Client& client, const std::string& url, const ModelName& model, const Options& options,
                                 const std::function<bool()>& cancelled) {
  Retrier retrier(options.retry, cancelled);
  for (;;) {
    OCTAVO_ASSIGN(const ClientAnswer answer, client.head(url));
    const bool elsewhere = !answer.http.broken && !answer.http.head.redirect.empty();
    if (answer.good() || elsewhere) return answer.file;
    Error problem = explain(answer, model, options);
    if (!answer.try_again()) return problem;
    OCTAVO_TRY(retrier.wait(problem.message, answer.http.retry_after));
  }
}

}  // namespace octavo::hub
