// The hub's endpoints: model info, tree, resolve; and its storage.
#include "tests/support/fake_hub.h"

#include <openssl/evp.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/support/temp_dir.h"

namespace octavo::test {
namespace {

using nlohmann::json;

std::string hex_digest(const EVP_MD* kind, std::string_view content) {
  unsigned char raw[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(content.data(), content.size(), raw, &size, kind, nullptr) != 1) std::abort();
  std::string out;
  constexpr char kDigits[] = "0123456789abcdef";
  for (unsigned i = 0; i < size; ++i) {
    out += kDigits[raw[i] >> 4];
    out += kDigits[raw[i] & 15];
  }
  return out;
}

std::string decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

Reply error(int status, const std::string& code) {
  Reply out;
  out.status = status;
  if (!code.empty()) out.headers = {{"X-Error-Code", code}, {"X-Error-Message", "no"}};
  out.body = "{\"error\": \"no\"}";
  return out;
}

// The commit of a revision, or "".
std::string resolve(const HubRepo& repo, const std::string& revision) {
  if (revision == "main" || revision == repo.commit) return repo.commit;
  for (const auto& [name, commit] : repo.branches) {
    if (revision == name || revision == commit) return commit;
  }
  return "";
}

}  // namespace

std::string sha256_hex(std::string_view content) { return hex_digest(EVP_sha256(), content); }

std::string git_blob_hex(std::string_view content) {
  std::string whole = "blob " + std::to_string(content.size());
  whole += '\0';
  whole += content;
  return hex_digest(EVP_sha1(), whole);
}

void HubRepo::add_folder(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    const std::string kind = entry.path().extension().string();
    files[name] = {read_file(entry.path()), kind != ".json" && kind != ".txt" && kind != ".jinja"};
  }
}

FakeHub::Meddler& FakeHub::Meddler::operator=(Function function) {
  const std::lock_guard lock(mutex_);
  function_ = std::move(function);
  return *this;
}

void FakeHub::Meddler::operator()(const ServedRequest& request, int number, Reply& reply) const {
  Function function;
  {
    const std::lock_guard lock(mutex_);
    function = function_;
  }
  if (function) function(request, number, reply);
}

FakeHub::FakeHub() {
  // Whatever proxy the machine has is not for us.
  setenv("no_proxy", "127.0.0.1", 1);
  setenv("NO_PROXY", "127.0.0.1", 1);
  storage_ = std::make_unique<HttpServer>([this](const ServedRequest& r) { return answer_storage(r); });
  hub_ = std::make_unique<HttpServer>([this](const ServedRequest& r) { return answer_hub(r); });
}

Reply FakeHub::finish(const ServedRequest& request, Reply reply) {
  int number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = seen_[request.method + " " + request.target]++;
  }
  meddle(request, number, reply);
  return reply;
}

Reply FakeHub::answer_hub(const ServedRequest& request) {
  {
    const std::lock_guard lock(mutex_);
    at_hub_.push_back(request);
  }
  const std::string path = request.target.substr(0, request.target.find('?'));
  constexpr std::string_view kApi = "/api/models/";
  if (path.starts_with(kApi)) return finish(request, answer_api(path.substr(kApi.size()), request));
  const std::size_t at = path.find("/resolve/");
  if (at == path.npos || at == 0) return finish(request, error(404, ""));
  constexpr std::size_t kResolve = 9;
  return finish(request, answer_resolve(path.substr(1, at - 1), path.substr(at + kResolve), request));
}

Reply FakeHub::answer_api(const std::string& path, const ServedRequest& request) {
  // ORG/NAME/revision/REV or ORG/NAME/tree/REV
  const bool tree = path.find("/tree/") != path.npos;
  const std::string word = tree ? "/tree/" : "/revision/";
  const std::size_t at = path.find(word);
  const std::string name = path.substr(0, at);
  const auto it = repos.find(name);
  const bool authorised = it != repos.end() &&
                          (it->second.token.empty() || request.header("authorization") == "Bearer " + it->second.token);
  if (it == repos.end() || (!authorised && !it->second.gated)) {
    return request.header("authorization").empty() ? error(401, "RepoNotFound") : error(404, "RepoNotFound");
  }
  const HubRepo& repo = it->second;
  const std::string commit = resolve(repo, at == path.npos ? "main" : decode(path.substr(at + word.size())));
  if (commit.empty()) return error(404, "RevisionNotFound");
  json files = json::array();
  for (const auto& [file_name, file] : repo.files) {
    json entry;
    if (tree) {
      entry = {
          {"type", "file"}, {"path", file_name}, {"size", file.content.size()}, {"oid", git_blob_hex(file.content)}};
      if (file.large) entry["lfs"] = {{"oid", file.etag()}, {"size", file.content.size()}, {"pointerSize", 134}};
    } else {
      entry = {{"rfilename", file_name}};
      if (blobs && request.target.find("blobs=true") != request.target.npos) {
        entry["size"] = file.content.size();
        entry["blobId"] = git_blob_hex(file.content);
        if (file.large) entry["lfs"] = {{"sha256", file.etag()}, {"size", file.content.size()}, {"pointerSize", 134}};
      }
    }
    files.push_back(std::move(entry));
  }
  Reply out;
  out.headers = {{"Content-Type", "application/json"}};
  out.body = tree ? files.dump() : json{{"id", name}, {"modelId", name}, {"sha", commit}, {"siblings", files}}.dump();
  return out;
}

Reply FakeHub::answer_resolve(const std::string& name, const std::string& rest, const ServedRequest& request) {
  const auto it = repos.find(name);
  if (it == repos.end()) return error(401, "RepoNotFound");
  const HubRepo& repo = it->second;
  if (!repo.token.empty() && request.header("authorization") != "Bearer " + repo.token) {
    return request.header("authorization").empty() ? error(401, repo.gated ? "GatedRepo" : "RepoNotFound")
                                                   : error(403, "GatedRepo");
  }
  const std::size_t slash = rest.find('/');
  const std::string commit = resolve(repo, decode(rest.substr(0, slash)));
  if (commit.empty()) return error(404, "RevisionNotFound");
  const auto file = repo.files.find(decode(rest.substr(slash + 1)));
  if (file == repo.files.end()) {
    Reply out = error(404, "EntryNotFound");
    out.headers.emplace_back("X-Repo-Commit", commit);
    return out;
  }
  const std::string etag = "\"" + file->second.etag() + "\"";
  if (!file->second.large) {
    Reply out = content(file->second, request);
    out.headers.emplace_back("X-Repo-Commit", commit);
    out.headers.emplace_back("ETag", etag);
    return out;
  }
  Reply out;
  out.status = 302;
  out.headers = {{"X-Repo-Commit", commit},
                 {"X-Linked-Etag", etag},
                 {"X-Linked-Size", std::to_string(file->second.content.size())},
                 {"Location", storage_url() + "/" + file->second.etag() + "?signed=yes"}};
  out.body = "elsewhere";
  return out;
}

Reply FakeHub::answer_storage(const ServedRequest& request) {
  {
    const std::lock_guard lock(mutex_);
    at_storage_.push_back(request);
  }
  const std::string etag = request.target.substr(1, request.target.find('?') - 1);
  for (const auto& [name, repo] : repos) {
    for (const auto& [file_name, file] : repo.files) {
      if (!file.large || file.etag() != etag) continue;
      Reply out = content(file, request);
      out.headers.emplace_back("ETag", "\"storage's own\"");
      return finish(request, std::move(out));
    }
  }
  return finish(request, error(404, ""));
}

Reply FakeHub::content(const HubFile& file, const ServedRequest& request) const {
  Reply out;
  out.pause = pause;
  out.headers = {{"Content-Type", "application/octet-stream"}};
  const std::string range = request.header("range");
  const std::size_t size = file.content.size();
  if (!ranges || !range.starts_with("bytes=")) {
    out.body = file.content;
    return out;
  }
  const std::size_t dash = range.find('-');
  const std::size_t first = std::stoull(range.substr(6, dash - 6));
  std::size_t last = size - 1;
  if (dash + 1 < range.size()) last = std::min<std::size_t>(last, std::stoull(range.substr(dash + 1)));
  if (first > last) return error(416, "");
  out.status = 206;
  out.headers.emplace_back("Content-Range",
                           "bytes " + std::to_string(first) + "-" + std::to_string(last) + "/" + std::to_string(size));
  out.body = file.content.substr(first, last - first + 1);
  return out;
}

std::vector<ServedRequest> FakeHub::hub_requests() const {
  const std::lock_guard lock(mutex_);
  return at_hub_;
}

std::vector<ServedRequest> FakeHub::storage_requests() const {
  const std::lock_guard lock(mutex_);
  return at_storage_;
}

int FakeHub::count(std::string_view part) const {
  const std::lock_guard lock(mutex_);
  int out = 0;
  for (const auto* list : {&at_hub_, &at_storage_}) {
    for (const ServedRequest& request : *list) out += request.target.find(part) != request.target.npos ? 1 : 0;
  }
  return out;
}

void FakeHub::forget_requests() {
  const std::lock_guard lock(mutex_);
  at_hub_.clear();
  at_storage_.clear();
  seen_.clear();
}

}  // namespace octavo::test
