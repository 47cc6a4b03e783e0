// A Hugging Face hub for tests: the endpoints that Octavo and huggingface_hub use, with a second server for large
// files, to which the first redirects, as the real one does to its storage.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/http_server.h"

namespace octavo::test {

std::string sha256_hex(std::string_view content);
std::string git_blob_hex(std::string_view content);  // git hash-object

struct HubFile {
  std::string content;
  bool large = false;  // kept in storage, named by SHA-256; otherwise in git, named by its blob's SHA-1
  std::string etag() const { return large ? sha256_hex(content) : git_blob_hex(content); }
};

struct HubRepo {
  std::string commit = std::string(39, '0') + "1";
  std::map<std::string, std::string> branches;  // beside main: name -> commit, of the same files
  std::map<std::string, HubFile> files;
  std::string token;  // without it: 401
  bool gated = false;

  // The files of a folder; those that are no JSON or text are large.
  void add_folder(const std::filesystem::path& folder);
};

class FakeHub {
 public:
  FakeHub();

  std::map<std::string, HubRepo> repos;  // not to be changed while a client is at work, as all that follows
  bool blobs = true;                     // the listing tells lengths and checksums
  bool ranges = true;                    // Range is obeyed
  std::chrono::milliseconds pause{0};    // before every 64 KiB
  // Last word on every reply of both servers, with the number of this request among those of its method and path. May
  // be changed at any time; a request of a client that has gone may still be at it, so it must own what it captures.
  class Meddler {
   public:
    using Function = std::function<void(const ServedRequest&, int number, Reply&)>;
    Meddler& operator=(Function function);
    void operator()(const ServedRequest& request, int number, Reply& reply) const;

   private:
    mutable std::mutex mutex_;
    Function function_;
  } meddle;

  std::string url() const { return hub_->url(); }
  std::string storage_url() const { return storage_->url(); }
  std::uint64_t bytes_sent() const { return hub_->body_bytes_sent() + storage_->body_bytes_sent(); }
  // What was asked of a server so far.
  std::vector<ServedRequest> hub_requests() const;
  std::vector<ServedRequest> storage_requests() const;
  // How many of them had `part` in their target.
  int count(std::string_view part) const;
  void forget_requests();

 private:
  Reply answer_hub(const ServedRequest& request);
  Reply answer_storage(const ServedRequest& request);
  Reply answer_api(const std::string& path, const ServedRequest& request);
  Reply answer_resolve(const std::string& repo, const std::string& rest, const ServedRequest& request);
  Reply content(const HubFile& file, const ServedRequest& request) const;
  Reply finish(const ServedRequest& request, Reply reply);

  mutable std::mutex mutex_;
  std::vector<ServedRequest> at_hub_, at_storage_;
  std::map<std::string, int> seen_;
  std::unique_ptr<HttpServer> storage_, hub_;
};

}  // namespace octavo::test
