// Who fetches what: workers claim files, and ranges of files whose server has shown that it serves ranges.
#include "octavo/checkpoint/hub/download.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <system_error>

#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/checkpoint/hub/digest.h"
#include "octavo/checkpoint/hub/file_transfer.h"

namespace octavo::hub {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kLockInterval{100};

// One blob, and the names that link to it. Guarded by Downloader::mutex_ but for what a claim owns.
struct Item {
  Item(const ModelName& model, const std::string& commit, const RepoFile& first, const Options& options,
       const std::function<bool()>& cancelled)
      : file(first), names{first.name}, transfer(model, commit, file, options, cancelled) {}

  RepoFile file;
  std::vector<std::string> names;
  FileTransfer transfer;
  enum class State { kWaiting, kStarting, kOpen, kDone } state = State::kWaiting;
  Clock::time_point not_before{};  // of kWaiting: another process has the lock
  std::optional<File> lock;
  std::optional<PartialFile> partial;
  bool shared = false;        // its ranges may be claimed by several
  bool resumed = false;       // an earlier run's bytes are in it
  std::vector<bool> claimed;  // by range; one that is done stays claimed
  int active = 0;             // claims at work
};

class Downloader {
 public:
  Downloader(const ModelName& model, const std::string& commit, const CacheRepo& cache, const Options& options)
      : model_(model), commit_(commit), cache_(cache), options_(options) {}

  Status add(const std::vector<RepoFile>& files);
  Status check_room() const;
  Result<std::uint64_t> run();

 private:
  struct Claim {
    Item* item = nullptr;  // nullptr: all is done
    std::size_t range = 0;
    bool start = false;  // to be opened first
  };

  Claim claim();
  std::optional<Claim> find_claim(bool& all_done);
  Status work(Client& client);
  Status carry_out(Client& client, const Claim& claim);
  Result<bool> start(Item& item);  // false: there is nothing to fetch, now or at all
  Status fetch(Client& client, Item& item, std::size_t range);
  Status finish(Item& item);
  Status link(const Item& item) const;
  bool may_start(const Item& item) const {
    return item.state == Item::State::kWaiting && Clock::now() >= item.not_before;
  }

  const ModelName& model_;
  const std::string& commit_;
  const CacheRepo& cache_;
  const Options& options_;
  const std::function<bool()> cancelled_ = [this] { return failed_ || options_.stopped(); };

  std::list<Item> items_;
  std::atomic<bool> failed_{false};
  Error failure_;  // once failed_
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t received_ = 0;
  bool told_waiting_ = false;
};

Status Downloader::add(const std::vector<RepoFile>& files) {
  std::map<std::string, Item*> by_etag;
  std::uint64_t total = 0;
  for (const RepoFile& file : files) {
    if (cache_.has(commit_, file.name)) continue;
    if (!file.bytes) return failure("{}: the hub does not say how long it is", printable(file.name));
    if (!is_checksum(file.etag)) {
      return failure("{}: the hub gives no checksum for it (an ETag of 40 or 64 hexadecimal digits)",
                     printable(file.name));
    }
    if (const auto it = by_etag.find(file.etag); it != by_etag.end()) {
      it->second->names.push_back(file.name);
      continue;
    }
    by_etag[file.etag] = &items_.emplace_back(model_, commit_, file, options_, cancelled_);
    total += *file.bytes;
  }
  options_.total(total);
  return {};
}

// Of what is missing, what is not on the disk in part already must fit on it.
Status Downloader::check_room() const {
  std::uint64_t needed = 0;
  for (const Item& item : items_) {
    std::error_code absent;
    if (fs::exists(cache_.blob(item.file.etag), absent)) continue;
    needed += *item.file.bytes - std::min(*item.file.bytes, cache_.incomplete_bytes(item.file.etag));
  }
  fs::path at = cache_.blob("x").parent_path();
  std::error_code absent;
  while (!fs::exists(at, absent) && at.has_relative_path()) at = at.parent_path();
  const std::uint64_t room = free_space(at.empty() ? fs::path(".") : at);
  if (needed <= room) return {};
  return failure("{} are to be downloaded, and {} has room for {}; HF_HUB_CACHE names another place for the cache",
                 human_bytes(needed), at.string(), human_bytes(room));
}

Result<std::uint64_t> Downloader::run() {
  if (items_.empty()) return std::uint64_t{0};
  OCTAVO_TRY(run_workers(std::max(1, options_.connections), [&](int) -> Status {
    auto client = Client::open(options_, cancelled_);
    Status mine = client.ok() ? work(*client) : Status(std::move(client).error());
    if (mine.ok()) return mine;
    const std::lock_guard lock(mutex_);
    // The first failure is the reason; it ends the others as interrupted.
    if (!failed_.exchange(true)) failure_ = std::move(mine).error();
    changed_.notify_all();
    return {};
  }));
  if (options_.stopped()) return interrupted_error();
  if (failed_) return std::move(failure_);
  return received_;
}

std::optional<Downloader::Claim> Downloader::find_claim(bool& all_done) {
  all_done = true;
  for (Item& item : items_) {
    if (item.state == Item::State::kDone) continue;
    all_done = false;
    if (may_start(item)) {
      item.state = Item::State::kStarting;
      return Claim{&item, 0, true};
    }
    if (item.state != Item::State::kOpen || !(item.shared || item.active == 0)) continue;
    for (std::size_t i = 0; i < item.claimed.size(); ++i) {
      if (item.claimed[i]) continue;
      item.claimed[i] = true;
      ++item.active;
      return Claim{&item, i, false};
    }
  }
  return std::nullopt;
}

Downloader::Claim Downloader::claim() {
  std::unique_lock lock(mutex_);
  for (;;) {
    bool all_done = false;
    if (const auto found = find_claim(all_done)) return *found;
    if (all_done || cancelled_()) return {};
    changed_.wait_for(lock, kLockInterval);
  }
}

Status Downloader::work(Client& client) {
  for (;;) {
    const Claim claimed = claim();
    if (cancelled_()) return interrupted_error();
    if (claimed.item == nullptr) return {};
    Status status = carry_out(client, claimed);
    if (status.ok()) continue;
    if (status.error().kind == ErrorKind::kInterrupted) return status;
    return std::move(status).context(printable(claimed.item->file.name));
  }
}

Status Downloader::carry_out(Client& client, const Claim& claim) {
  Item& item = *claim.item;
  if (!claim.start) return fetch(client, item, claim.range);
  OCTAVO_ASSIGN(const bool open, start(item));
  if (open && item.partial->whole()) return finish(item);
  if (open) {
    const std::lock_guard lock(mutex_);
    item.state = Item::State::kOpen;
  }
  changed_.notify_all();
  return {};
}

Result<bool> Downloader::start(Item& item) {
  if (!item.lock) {
    OCTAVO_ASSIGN(item.lock, cache_.open_lock(item.file.etag));
  }
  if (!item.lock->try_lock()) {
    const std::lock_guard lock(mutex_);
    if (!told_waiting_) options_.warn(fmt::format("{}: another process is downloading it; waiting", item.file.name));
    told_waiting_ = true;
    item.not_before = Clock::now() + kLockInterval;
    item.state = Item::State::kWaiting;
    return false;
  }
  std::error_code absent;
  if (fs::exists(cache_.blob(item.file.etag), absent)) {
    OCTAVO_TRY(link(item));
    if (options_.progress != nullptr) options_.progress->skip(*item.file.bytes);
    const std::lock_guard lock(mutex_);
    item.lock.reset();
    item.state = Item::State::kDone;
    return false;
  }
  const bool locked = cache_.lock_holds(item.file.etag);
  if (locked) cache_.adopt(item.file.etag);
  OCTAVO_ASSIGN(item.partial,
                PartialFile::open(cache_.incomplete(item.file.etag, locked), *item.file.bytes, options_.range_bytes));
  const std::uint64_t there = item.partial->bytes();
  item.resumed = there > 0;
  if (options_.progress != nullptr && there > 0) options_.progress->skip(there);
  item.claimed.assign(item.partial->ranges(), false);
  for (std::size_t i = 0; i < item.claimed.size(); ++i) item.claimed[i] = item.partial->whole(i);
  return true;
}

Status Downloader::fetch(Client& client, Item& item, std::size_t range) {
  bool alone = false;
  {
    const std::lock_guard lock(mutex_);
    alone = !item.shared;
  }
  const auto on_ranges = [&](Ranges ranges) {
    if (ranges != Ranges::kServed) return;
    const std::lock_guard lock(mutex_);
    item.shared = true;
    changed_.notify_all();
  };
  std::uint64_t received = 0;
  const Status status = item.transfer.fetch(client, *item.partial, range, alone, on_ranges, received);
  bool last = false;
  {
    const std::lock_guard lock(mutex_);
    received_ += received;
    --item.active;
    if (!status.ok()) return status;
    if (item.active == 0) {  // nobody writes to it now
      for (std::size_t i = 0; i < item.claimed.size(); ++i) item.claimed[i] = item.partial->whole(i);
      last = item.partial->whole();
      if (last) item.state = Item::State::kStarting;  // nobody may claim it
    }
  }
  changed_.notify_all();
  return last ? finish(item) : status;
}

Status Downloader::finish(Item& item) {
  std::string found;
  OCTAVO_ASSIGN(const bool good, item.transfer.check(*item.partial, found));
  if (!good) {
    const fs::path damaged = item.partial->file().path();
    item.partial.reset();
    std::error_code ignored;
    fs::remove(damaged, ignored);
    // What an earlier run left may have been damaged since (a power cut): once more, from nothing.
    if (!item.resumed) {
      return failure("what came has the checksum {}, the hub's listing has {}: not taken; try again", found,
                     item.file.etag);
    }
    options_.warn(fmt::format("{}: what an earlier run left is damaged; downloading it anew", item.file.name));
    const std::lock_guard lock(mutex_);
    item.shared = false;
    item.state = Item::State::kWaiting;
  } else {
    PartialFile partial = std::move(*item.partial);
    item.partial.reset();
    OCTAVO_TRY(std::move(partial).publish(cache_.blob(item.file.etag)));
    OCTAVO_TRY(link(item));
    const std::lock_guard lock(mutex_);
    item.lock.reset();
    item.state = Item::State::kDone;
  }
  changed_.notify_all();
  return {};
}

Status Downloader::link(const Item& item) const {
  for (const std::string& name : item.names) OCTAVO_TRY(cache_.link(commit_, name, item.file.etag));
  return {};
}

}  // namespace

Result<std::uint64_t> download(const ModelName& model, const std::string& commit, const std::vector<RepoFile>& files,
                               const CacheRepo& cache, const Options& options) {
  Downloader downloader(model, commit, cache, options);
  OCTAVO_TRY(downloader.add(files));
  OCTAVO_TRY(downloader.check_room());
  return downloader.run();
}

}  // namespace octavo::hub
