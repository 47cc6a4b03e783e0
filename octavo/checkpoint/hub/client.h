// Requests to a hub: redirects, the token (which goes to the hub alone), statuses as sentences.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "octavo/checkpoint/hub/http.h"
#include "octavo/checkpoint/hub/model_name.h"
#include "octavo/checkpoint/hub/options.h"
#include "octavo/checkpoint/hub/retry.h"

namespace octavo::hub {

// What the hub says of a file in its headers, before it redirects to where the file lies. Empty: nothing.
struct FileHeaders {
  std::string commit;                  // X-Repo-Commit
  std::string etag;                    // X-Linked-Etag, else ETag; without W/ and quotes
  std::optional<std::uint64_t> bytes;  // X-Linked-Size; of a HEAD without a redirect: Content-Length
};

struct ClientHandlers {
  std::function<Status(const HttpHead&, const FileHeaders&)> head = [](const HttpHead&, const FileHeaders&) {
    return Status();
  };
  std::function<Result<bool>(std::span<const std::byte>)> body = [](std::span<const std::byte>) { return true; };
};

struct ClientAnswer {
  HttpAnswer http;  // of the last hop
  FileHeaders file;
  std::string url;       // of the last hop
  bool from_hub = true;  // the last hop was the hub itself
  // Nothing came of it, but another attempt may do better: a broken connection, 408, 429, 5xx.
  bool try_again() const;
  bool good() const { return !http.broken && http.head.success(); }
};

// Why an answer that is not good is none, as one sentence without the model's name.
Error explain(const ClientAnswer& answer, const ModelName& model, const Options& options);

class Client {
 public:
  static Result<Client> open(const Options& options, const std::function<bool()>& cancelled);

  // GET, following redirects. `range` is "Range"'s value, or "".
  Result<ClientAnswer> get(const std::string& url, const std::string& range, const ClientHandlers& handlers);
  // HEAD, following redirects as long as they stay at the hub: what it says of the file stands there.
  Result<ClientAnswer> head(const std::string& url);

 private:
  Client(HttpConnection connection, const Options& options)
      : connection_(std::move(connection)), options_(&options), origin_(origin_of(options.endpoint)) {}
  Result<ClientAnswer> follow(std::string url, const std::string& range, bool head_only,
                              const ClientHandlers& handlers);
  HttpConnection connection_;
  const Options* options_;
  std::string origin_;
};

// HEAD until it is answered; the error names the file.
Result<FileHeaders> file_headers(Client& client, const std::string& url, const ModelName& model, const Options& options,
                                 const std::function<bool()>& cancelled);

}  // namespace octavo::hub
