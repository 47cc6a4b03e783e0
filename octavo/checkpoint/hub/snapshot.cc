// From a name to a folder: the listing, the small files, the index, the shards.
#include "octavo/checkpoint/hub/snapshot.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <system_error>

#include "octavo/base/json.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/hub/cache.h"
#include "octavo/checkpoint/hub/client.h"
#include "octavo/checkpoint/hub/digest.h"
#include "octavo/checkpoint/hub/download.h"
#include "octavo/checkpoint/hub/listing.h"

namespace octavo::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLongestListing = 64ull << 20;
constexpr std::uint64_t kLongestIndex = 128ull << 20;

// Names of the shards in an index: the values of "weight_map". Whoever opens the model checks the rest.
class ShardNames final : public JsonEvents {
 public:
  std::set<std::string> names;

  Status null() override { return {}; }
  Status boolean(bool) override { return {}; }
  Status integer(std::int64_t) override { return {}; }
  Status natural(std::uint64_t) override { return {}; }
  Status real(double) override { return {}; }
  Status string(std::string& value) override {
    if (depth_ != 2 || section_ != "weight_map") return {};
    if (!is_plain_file_name(value)) {
      return failure("weight_map: \"{}\" is not the name of a file beside the index", printable(value));
    }
    names.insert(std::move(value));
    return {};
  }
  Status begin_object() override {
    ++depth_;
    return {};
  }
  Status key(std::string& name) override {
    if (depth_ == 1) section_ = std::move(name);
    return {};
  }
  Status end_object() override {
    --depth_;
    return {};
  }
  Status begin_array() override { return begin_object(); }
  Status end_array() override { return end_object(); }

 private:
  int depth_ = 0;
  std::string section_;
};

Result<std::set<std::string>> shard_names(const fs::path& index) {
  OCTAVO_ASSIGN(const File file, File::open_read(index));
  if (file.size() > kLongestIndex) return failure("{}: {} are too much", index.string(), human_bytes(file.size()));
  JsonRange json{file};
  json.length = file.size();
  constexpr int kDepth = 16;
  ShardNames events;
  OCTAVO_TRY(parse_json_events(json, index.string(), kDepth, events));
  return std::move(events.names);
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool has_weights(const fs::path& folder) {
  for (const char* name : {"model.safetensors.index.json", "pytorch_model.bin.index.json"}) {
    if (!is_there(folder / name)) continue;
    const auto shards = shard_names(folder / name);
    if (!shards.ok()) return true;  // whoever opens the model says what is wrong with it
    if (std::all_of(shards->begin(), shards->end(), [&](const std::string& s) { return is_there(folder / s); })) {
      return true;
    }
  }
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool weights =
        (name.ends_with(".safetensors") && name.find("-of-") == name.npos) || name == "pytorch_model.bin";
    if (weights && is_there(it->path())) return true;
  }
  return false;
}

bool looks_whole(const fs::path& folder, Wanted wanted) {
  if (wanted == Wanted::kModel) return has_weights(folder);
  static constexpr const char* kAny[] = {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json",
                                         "chat_template.jinja"};
  return std::any_of(std::begin(kAny), std::end(kAny), [&](const char* name) { return is_there(folder / name); });
}

class Opener {
 public:
  Opener(const ModelName& model, Wanted wanted, const Options& options)
      : model_(model), wanted_(wanted), options_(options), cache_(options.cache, model.repo) {}

  Result<Snapshot> open();

 private:
  Result<Listing> get_listing(bool patient, bool& final);
  // Fills in length and checksum where the listing lacks them.
  Status complete(RepoFile& file, const std::string& commit);
  Status take(const Listing& listing, const std::vector<std::string>& names, Snapshot& snapshot);

  const ModelName& model_;
  const Wanted wanted_;
  const Options& options_;
  const CacheRepo cache_;
  const std::function<bool()> cancelled_ = [this] { return options_.stopped(); };
};

Result<Listing> Opener::get_listing(bool patient, bool& final) {
  OCTAVO_ASSIGN(Client client, Client::open(options_, cancelled_));
  const std::string url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", options_.endpoint, model_.repo,
                                      url_encode(model_.revision, true));
  RetryPolicy policy = options_.retry;
  Retrier retrier(policy, cancelled_, options_.warn);
  for (;;) {
    std::string text;
    ClientHandlers handlers;
    handlers.body = [&](std::span<const std::byte> bytes) -> Result<bool> {
      if (text.size() + bytes.size() > kLongestListing) {
        return failure("{}: the listing has more than {}", options_.endpoint, human_bytes(kLongestListing));
      }
      text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return true;
    };
    OCTAVO_ASSIGN(const ClientAnswer answer, client.get(url, "", handlers));
    if (answer.good()) return parse_listing(text, fmt::format("{}/api/models/{}", options_.endpoint, model_.repo));
    Error problem = explain(answer, model_, options_);
    final = !answer.http.broken && answer.http.head.header("x-error-code") == "RevisionNotFound";
    if (!answer.try_again()) return problem;
    // Without a network nobody wants to wait for half a minute.
    constexpr int kUnreachable = 3;
    const int most = !patient ? 1 : answer.http.broken ? kUnreachable : options_.retry.attempts;
    policy.attempts = std::min(most, options_.retry.attempts);
    OCTAVO_TRY(retrier.wait(problem.message, answer.http.retry_after));
  }
}

Status Opener::complete(RepoFile& file, const std::string& commit) {
  if (file.bytes && is_checksum(file.etag)) return {};
  OCTAVO_ASSIGN(Client client, Client::open(options_, cancelled_));
  const std::string url =
      fmt::format("{}/{}/resolve/{}/{}", options_.endpoint, model_.repo, commit, url_encode(file.name, true));
  auto headers = file_headers(client, url, model_, options_, cancelled_);
  if (!headers.ok()) return std::move(headers).error().context(printable(file.name));
  if (!headers->commit.empty() && headers->commit != commit) {
    return failure("{}: {} answers with commit {}, not {}", printable(file.name), options_.endpoint,
                   printable(headers->commit), commit);
  }
  file.bytes = headers->bytes;
  file.etag = headers->etag;
  return {};
}

Status Opener::take(const Listing& listing, const std::vector<std::string>& names, Snapshot& snapshot) {
  std::vector<RepoFile> files;
  for (const std::string& name : names) {
    if (cache_.has(listing.commit, name)) continue;
    const RepoFile* file = listing.find(name);
    if (file == nullptr) return failure("the index names {}, which the repository does not have", printable(name));
    files.push_back(*file);
    OCTAVO_TRY(complete(files.back(), listing.commit));
  }
  OCTAVO_ASSIGN(const std::uint64_t received, download(model_, listing.commit, files, cache_, options_));
  snapshot.received += received;
  return {};
}

Result<Snapshot> Opener::open() {
  auto cached = find_snapshot(model_, wanted_, options_.cache);
  if (options_.offline) {
    if (cached) return std::move(*cached);
    const bool part = is_in_cache(model_.repo, options_.cache);
    return failure("{} in the cache ({}), and HF_HUB_OFFLINE is set: nothing is downloaded",
                   part ? fmt::format("revision {} is not, or not whole,", model_.revision) : "it is not",
                   options_.cache.string());
  }
  bool final = false;
  auto listing = get_listing(!cached, final);
  if (!listing.ok()) {
    if (!cached || final || listing.error().kind != ErrorKind::kFailure) return std::move(listing).error();
    options_.warn(fmt::format("{}; using commit {} of the cache", listing.error().message, cached->commit));
    return std::move(*cached);
  }
  if (is_commit(model_.revision) && listing->commit != model_.revision) {
    return failure("{} answers with commit {}", options_.endpoint, listing->commit);
  }
  Snapshot out{cache_.snapshot(listing->commit), listing->commit, 0};
  std::vector<std::string> names = small_files(*listing);
  WeightChoice weights;
  if (wanted_ == Wanted::kModel) {
    OCTAVO_ASSIGN(weights, choose_weights(*listing));
    if (!weights.index.empty()) names.push_back(weights.index);
  }
  OCTAVO_TRY(take(*listing, names, out));
  if (wanted_ == Wanted::kModel) {
    if (!weights.index.empty()) {
      OCTAVO_ASSIGN(const auto shards, shard_names(out.folder / weights.index));
      weights.files.assign(shards.begin(), shards.end());
    }
    OCTAVO_TRY(take(*listing, weights.files, out));
  }
  // Last, so that a revision never leads offline to less than it did. A cache that is only read is no mistake.
  if (wanted_ == Wanted::kModel || !cache_.commit_of(model_.revision)) {
    if (Status status = cache_.set_ref(model_.revision, out.commit); !status.ok() && out.received > 0)
      return std::move(status).error();
  }
  return out;
}

}  // namespace

bool is_in_cache(const std::string& repo, const fs::path& cache) {
  return is_there(CacheRepo(cache, repo).snapshot("x").parent_path());
}

std::optional<Snapshot> find_snapshot(const ModelName& model, Wanted wanted, const fs::path& cache) {
  const CacheRepo repo(cache, model.repo);
  const auto commit = repo.commit_of(model.revision);
  if (!commit) return std::nullopt;
  Snapshot out{repo.snapshot(*commit), *commit, 0};
  if (!looks_whole(out.folder, wanted)) return std::nullopt;
  return out;
}

Result<Snapshot> open_snapshot(const ModelName& model, Wanted wanted, const Options& options) {
  return Opener(model, wanted, options).open();
}

}  // namespace octavo::hub
