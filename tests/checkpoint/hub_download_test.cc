// Models by name against a hub on this machine that drops connections, refuses, lies and is slow.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "octavo/checkpoint/hub/cache.h"
#include "octavo/checkpoint/hub/snapshot.h"
#include "tests/support/fake_hub.h"
#include "tests/support/temp_dir.h"

namespace octavo::test {
namespace {

namespace fs = std::filesystem;
using namespace octavo::hub;

constexpr const char* kRepo = "org/name";
const std::string kStorage = "?signed=yes";  // part of every target at the storage server

std::string noise(std::size_t size, unsigned seed) {
  std::string out(size, '\0');
  std::uint32_t state = seed * 2654435761u + 1;
  for (char& c : out) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>(state >> 24);
  }
  return out;
}

// A repository of two shards and small files, a fresh cache, and short waits.
class HubDownload : public testing::Test {
 protected:
  HubDownload() {
    HubRepo& repo = hub.repos[kRepo];
    repo.files["config.json"] = {"{}\n"};
    repo.files["tokenizer.json"] = {"{\"a\": 1}", true};
    repo.files["empty.txt"] = {""};
    repo.files["model.safetensors.index.json"] = {
        R"({"metadata": {"x": "not-a-file"}, "weight_map": {"a": "m1.safetensors", "b": "m2.safetensors"}})"};
    repo.files["m1.safetensors"] = {noise(300'000, 1), true};
    repo.files["m2.safetensors"] = {noise(100'000, 2), true};
    repo.files["pytorch_model.bin"] = {noise(1000, 3), true};
    repo.files["README.md"] = {"# read"};
    options.endpoint = hub.url();
    options.cache = dir / "hub";
    options.connections = 4;
    options.range_bytes = 64 << 10;
    options.retry.attempts = 3;
    options.retry.first = std::chrono::milliseconds(1);
    options.stall_timeout = std::chrono::seconds(1);
    options.token_path = "/nowhere/token";
    options.warn = [this](std::string_view text) { warnings += std::string(text) + "\n"; };
  }

  Result<Snapshot> open(Wanted wanted = Wanted::kModel, const std::string& revision = "main") {
    return open_snapshot({kRepo, revision}, wanted, options);
  }
  // Opens it and compares every file that must be there.
  void expect_whole() {
    const auto snapshot = open();
    ASSERT_TRUE(snapshot.ok()) << snapshot.error().message;
    expect_files(snapshot->folder);
  }
  void expect_whole_but(const fs::path& leftover) {
    const auto snapshot = open();
    ASSERT_TRUE(snapshot.ok()) << snapshot.error().message;
    expect_files(snapshot->folder, leftover.filename());
  }
  void expect_files(const fs::path& folder, const std::string& leftover = "") {
    for (const auto& [name, file] : hub.repos[kRepo].files) {
      if (name == "pytorch_model.bin" || name == "README.md") {
        EXPECT_FALSE(fs::exists(folder / name)) << name;
        continue;
      }
      ASSERT_TRUE(fs::is_symlink(folder / name)) << name;
      EXPECT_EQ(read_file(folder / name), file.content) << name;
      EXPECT_EQ(fs::read_symlink(folder / name), fs::path("../../blobs") / file.etag());
    }
    // Nothing else, and nothing half.
    for (const auto& entry : fs::directory_iterator(folder / "../../blobs")) {
      const std::string name = entry.path().filename();
      EXPECT_TRUE(name.size() == 40 || name.size() == 64 || name == leftover) << name;
    }
  }
  // The sentence of a download that must fail; no file of it may be there under its final name.
  std::string failure_of(const std::string& untaken = "m1.safetensors") {
    const auto snapshot = open();
    if (snapshot.ok()) {
      ADD_FAILURE() << "succeeded";
      return "";
    }
    EXPECT_EQ(snapshot.error().message.find('\n'), std::string::npos) << snapshot.error().message;
    const CacheRepo cache(options.cache, kRepo);
    EXPECT_FALSE(fs::exists(cache.blob(hub.repos[kRepo].files[untaken].etag())));
    EXPECT_FALSE(cache.has(hub.repos[kRepo].commit, untaken));
    EXPECT_FALSE(cache.commit_of("main"));
    return snapshot.error().message;
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

  TempDir dir;
  FakeHub hub;
  Options options;
  std::string warnings;
};

TEST_F(HubDownload, WholeThenNothing) {
  expect_whole();
  EXPECT_EQ(read_file(options.cache / "models--org--name/refs/main"), hub.repos[kRepo].commit);
  // Once it is there, one question: at which commit is main?
  hub.forget_requests();
  expect_whole();
  EXPECT_EQ(hub.hub_requests().size(), 1u);
  EXPECT_EQ(hub.storage_requests().size(), 0u);
  EXPECT_EQ(hub.count("/api/models/org/name/revision/main"), 1);
  // And offline, none.
  hub.forget_requests();
  options.offline = true;
  expect_whole();
  EXPECT_EQ(hub.hub_requests().size(), 0u);
  EXPECT_EQ(warnings, "");
}

TEST_F(HubDownload, RangesOfOneFileComeAtOnce) {
  hub.pause = std::chrono::milliseconds(5);
  expect_whole();
  std::set<std::string> ranges;
  for (const auto& request : hub.storage_requests()) {
    if (has(request.target, hub.repos[kRepo].files["m1.safetensors"].etag())) ranges.insert(request.header("range"));
  }
  EXPECT_EQ(ranges, (std::set<std::string>{"bytes=0-65535", "bytes=65536-131071", "bytes=131072-196607",
                                           "bytes=196608-262143", "bytes=262144-299999"}));
}

TEST_F(HubDownload, ListingWithoutChecksumsAsksEachFile) {
  hub.blobs = false;
  expect_whole();
  int heads = 0;
  for (const auto& request : hub.hub_requests()) heads += request.method == "HEAD" ? 1 : 0;
  EXPECT_EQ(heads, 6);
  for (const auto& request : hub.storage_requests()) EXPECT_NE(request.method, "HEAD");
}

TEST_F(HubDownload, TokenizerAloneLeavesWeights) {
  const auto snapshot = open(Wanted::kTokenizer);
  ASSERT_TRUE(snapshot.ok()) << snapshot.error().message;
  EXPECT_TRUE(fs::exists(snapshot->folder / "tokenizer.json"));
  EXPECT_FALSE(fs::exists(snapshot->folder / "m1.safetensors"));
  // Offline that is enough for the one, not for the other.
  options.offline = true;
  EXPECT_TRUE(open(Wanted::kTokenizer).ok());
  const auto model = open();
  ASSERT_FALSE(model.ok());
  EXPECT_TRUE(has(model.error().message, "revision main is not, or not whole, in the cache")) << model.error().message;
  EXPECT_TRUE(has(model.error().message, "HF_HUB_OFFLINE is set"));
}

TEST_F(HubDownload, RevisionsAndCommits) {
  HubRepo& repo = hub.repos[kRepo];
  const std::string other(40, 'b');
  repo.branches["refs/pr/1"] = other;
  auto snapshot = open(Wanted::kModel, "refs/pr/1");
  ASSERT_TRUE(snapshot.ok()) << snapshot.error().message;
  EXPECT_EQ(snapshot->commit, other);
  EXPECT_EQ(hub.count("/revision/refs%2Fpr%2F1"), 1);
  EXPECT_EQ(read_file(options.cache / "models--org--name/refs/refs/pr/1"), other);
  // The same content under another commit: links, and no byte.
  snapshot = open(Wanted::kModel, repo.commit);
  ASSERT_TRUE(snapshot.ok()) << snapshot.error().message;
  EXPECT_EQ(snapshot->received, 0u);
  expect_files(snapshot->folder);
  const auto none = open(Wanted::kModel, "v9");
  ASSERT_FALSE(none.ok());
  EXPECT_TRUE(has(none.error().message, "has no revision v9 of it (404)")) << none.error().message;
}

TEST_F(HubDownload, FilesWithOneContentComeOnce) {
  HubRepo& repo = hub.repos[kRepo];
  repo.files["special_tokens_map.json"] = repo.files["tokenizer_config.json"] = {"{\"same\": true}"};
  expect_whole();
  EXPECT_EQ(hub.count("/resolve/" + repo.commit + "/special_tokens_map.json") +
                hub.count("/resolve/" + repo.commit + "/tokenizer_config.json"),
            1);
}

TEST_F(HubDownload, DroppedConnectionsGoOnWhereTheyBroke) {
  // Every request of storage but each third breaks after 20,000 bytes.
  hub.meddle = [=](const ServedRequest& request, int number, Reply& reply) {
    if (has(request.target, kStorage) && number % 3 != 2) reply.drop_after = 20'000;
  };
  options.retry.attempts = 6;
  expect_whole();
  // No byte twice, but for what lay in buffers when a connection broke.
  EXPECT_LT(hub.bytes_sent(), 500'000u);
}

TEST_F(HubDownload, DroppedBeforeTheFirstByte) {
  hub.meddle = [=](const ServedRequest&, int number, Reply& reply) {
    if (number == 0) reply.drop_after = 0;
  };
  options.retry.attempts = 5;
  expect_whole();
}

TEST_F(HubDownload, GivesUpOnAServerThatAlwaysDrops) {
  hub.meddle = [=](const ServedRequest& request, int, Reply& reply) {
    if (has(request.target, kStorage)) reply.drop_after = 0;
  };
  EXPECT_TRUE(has(failure_of(), "(tried 3 times)"));
}

TEST_F(HubDownload, SilentServersAreLeft) {
  // The hub before its answer, its storage in the middle of one.
  const std::string etag = hub.repos[kRepo].files["m1.safetensors"].etag();
  hub.meddle = [=](const ServedRequest& request, int number, Reply& reply) {
    reply.stall = number == 0 && (has(request.target, "m2.safetensors") || has(request.target, etag));
    if (reply.stall) reply.drop_after = has(request.target, etag) ? 1000 : 0;
  };
  expect_whole();
  EXPECT_EQ(hub.count("/m2.safetensors"), 3);  // two ranges, of which one was asked for twice
}

TEST_F(HubDownload, ErrorsThatMayPass) {
  for (const int status : {408, 429, 500, 502, 503, 504}) {
    fs::remove_all(options.cache);
    hub.forget_requests();
    hub.meddle = [=](const ServedRequest&, int number, Reply& reply) {
      if (number == 0) reply = {.status = status, .headers = {{"Retry-After", "0"}}, .body = "<html>"};
    };
    expect_whole();
  }
}

TEST_F(HubDownload, RetryAfterIsWaitedFor) {
  hub.meddle = [=](const ServedRequest& request, int number, Reply& reply) {
    if (has(request.target, "/api/") && number == 0)
      reply = {.status = 429, .headers = {{"Retry-After", "1"}}, .body = ""};
  };
  const auto start = std::chrono::steady_clock::now();
  expect_whole();
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(950));
}

TEST_F(HubDownload, StatusesAsSentences) {
  struct Case {
    int status;
    std::string code;
    std::vector<std::string> parts;
  };
  const std::vector<Case> cases = {
      {401,
       "GatedRepo",
       {"gated (401)", "accept its terms at " + hub.url() + "/org/name", "HF_TOKEN", "/nowhere/token"}},
      {403, "GatedRepo", {"gated (403)"}},
      {401, "RepoNotFound", {"answers 401: the repository does not exist, or is private or gated", "HF_TOKEN"}},
      {404, "RepoNotFound", {"no repository of this name (404)"}},
      {404, "", {"no repository of this name (404)"}},
      {404, "RevisionNotFound", {"has no revision main of it (404)"}},
      {429, "", {"429: too many requests (tried 3 times)"}},
      {503, "", {"answers 503 (tried 3 times)"}},
      {410, "", {"answers 410"}},
  };
  for (const Case& c : cases) {
    hub.meddle = [=](const ServedRequest&, int, Reply& reply) {
      reply = {.status = c.status, .headers = {{"X-Error-Code", c.code}}, .body = "{}"};
    };
    const std::string message = failure_of();
    for (const std::string& part : c.parts) EXPECT_TRUE(has(message, part)) << message << "\n  lacks " << part;
    EXPECT_TRUE(has(message, hub.url()));
  }
  hub.meddle = [=](const ServedRequest&, int, Reply& reply) {
    reply = {.status = 429, .headers = {{"Retry-After", "4000"}}, .body = ""};
  };
  EXPECT_TRUE(has(failure_of(), "429: too many requests; it asks to come again in 4000 s"));
}

TEST_F(HubDownload, TokenGoesToTheHubAlone) {
  hub.repos[kRepo].token = "hf_secret";
  hub.repos[kRepo].gated = true;
  EXPECT_TRUE(has(failure_of(), hub.url() + " says that the repository is gated (401)"));
  options.token = "hf_wrong";
  options.token_source = "HF_TOKEN";
  const std::string message = failure_of();
  EXPECT_TRUE(has(message, "the token of HF_TOKEN was sent and is not enough")) << message;
  EXPECT_FALSE(has(message, "hf_wrong"));
  options.token = "hf_secret";
  hub.forget_requests();
  expect_whole();
  EXPECT_GE(hub.storage_requests().size(), 2u);
  for (const auto& request : hub.storage_requests()) EXPECT_EQ(request.header("authorization"), "");
  for (const auto& request : hub.hub_requests()) EXPECT_EQ(request.header("authorization"), "Bearer hf_secret");
}

TEST_F(HubDownload, RenamedRepositoriesAreFollowed) {
  hub.repos["new/name"] = hub.repos[kRepo];
  hub.meddle = [=](const ServedRequest& request, int, Reply& reply) {
    const std::size_t at = request.target.find(kRepo);
    if (at == std::string::npos) return;
    reply = {
        .status = 307, .headers = {{"Location", std::string(request.target).replace(at, 8, "new/name")}}, .body = ""};
  };
  expect_whole();
}

TEST_F(HubDownload, RedirectsThatLeadNowhere) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"/api/models/org/name/revision/main?blobs=true", "redirects more than 10 times"},
      {"ftp://127.0.0.1/x", "which is not followed"},
      {"file:///etc/passwd", "which is not followed"},
  };
  for (const auto& [location, part] : cases) {
    hub.meddle = [=, to = location](const ServedRequest&, int, Reply& reply) {
      reply = {.status = 302, .headers = {{"Location", to}}, .body = ""};
    };
    const std::string message = failure_of();
    EXPECT_TRUE(has(message, part)) << message;
  }
}

// Whatever a server says of lengths, checksums and commits that contradicts the listing.
TEST_F(HubDownload, LiesAreNotTaken) {
  struct Case {
    std::string name;
    std::function<void(const ServedRequest&, Reply&)> lie;  // of a reply for m1.safetensors
    std::string part;
  };
  const auto at_storage = [](const ServedRequest& r) { return has(r.target, kStorage); };
  const auto set = [](Reply& reply, const std::string& name, const std::string& value) {
    for (auto& [n, v] : reply.headers) {
      if (n == name) v = value;
    }
  };
  const std::vector<Case> cases = {
      {"X-Linked-Size", [=](const auto&, Reply& r) { set(r, "X-Linked-Size", "299999"); },
       "the server says 299999 bytes, the hub's listing 300000"},
      {"ETag", [=](const auto&, Reply& r) { set(r, "X-Linked-Etag", '"' + std::string(64, 'f') + '"'); },
       "answers with ETag " + std::string(64, 'f')},
      {"commit", [=](const auto&, Reply& r) { set(r, "X-Repo-Commit", std::string(40, 'f')); },
       "answers with commit fff"},
      {"Content-Range's total", [=](const auto&, Reply& r) { set(r, "Content-Range", "bytes 0-65535/65536"); },
       "the server says 65536 bytes"},
      {"Content-Range's place",
       [=](const auto& q, Reply& r) {
         if (at_storage(q)) set(r, "Content-Range", "bytes 1-65536/300000");
       },
       "with \"bytes 1-65536/300000\": not taken"},
      {"no Content-Range",
       [=](const auto& q, Reply& r) {
         if (at_storage(q)) r.headers.clear();
       },
       "with \"\": not taken"},
      {"206 of all, longer than said",
       [=](const auto& q, Reply& r) {
         if (at_storage(q)) r.claimed_length = r.body.size() + 5;
       },
       "the server says 65541 bytes"},
      {"200 that is too short",
       [=](const auto& q, Reply& r) {
         if (at_storage(q)) r = {.status = 200, .body = std::string(1000, 'x')};
       },
       "the server says 1000 bytes, the hub's listing 300000"},
      {"200 without a length that never ends",
       [=](const auto& q, Reply& r) {
         if (at_storage(q)) r = {.status = 200, .body = std::string(400'000, 'x'), .no_length = true};
       },
       "sends more than the 300000 bytes"},
      {"200 without a length that ends early",
       [=](const auto& q, Reply& r) {
         if (at_storage(q)) r = {.status = 200, .body = std::string(1000, 'x'), .no_length = true};
       },
       "the response ends at byte 1000 of"},
      {"other bytes",
       [=](const auto& q, Reply& r) {
         if (at_storage(q)) r.body.back() ^= 1;
       },
       "the hub's listing has " + sha256_hex(noise(300'000, 1)) + ": not taken"},
      {"Content-Encoding",
       [=](const auto& q, Reply& r) {
         if (at_storage(q)) r.headers.emplace_back("Content-Encoding", "gzip");
       },
       "sends it encoded (gzip)"},
      {"416",
       [=](const auto& q, Reply& r) {
         if (at_storage(q)) r = {.status = 416, .body = ""};
       },
       "answers 416"},
  };
  const std::string etag = hub.repos[kRepo].files["m1.safetensors"].etag();
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    fs::remove_all(options.cache);
    hub.meddle = [=](const ServedRequest& request, int, Reply& reply) {
      if (has(request.target, "m1.safetensors") || has(request.target, etag)) c.lie(request, reply);
    };
    const std::string message = failure_of();
    EXPECT_TRUE(has(message, "m1.safetensors: ")) << message;
    EXPECT_TRUE(has(message, c.part)) << message;
    // The truth is taken afterwards.
    hub.meddle = nullptr;
    expect_whole();
  }
}

TEST_F(HubDownload, SmallFilesAreCheckedToo) {
  hub.meddle = [=](const ServedRequest& request, int, Reply& reply) {
    if (has(request.target, "/config.json")) reply.body = "{ \n";
  };
  const std::string message = failure_of("config.json");
  EXPECT_TRUE(has(message, "config.json: what came has the checksum ")) << message;
}

TEST_F(HubDownload, ServersThatIgnoreRangeSendAllOfItOnce) {
  hub.ranges = false;
  expect_whole();
  EXPECT_EQ(hub.storage_requests().size(), 3u);  // m1, m2, tokenizer.json
}

TEST_F(HubDownload, ServersThatIgnoreRangeAfterABreak) {
  hub.ranges = false;
  hub.meddle = [=](const ServedRequest& request, int number, Reply& reply) {
    if (has(request.target, kStorage) && number == 0) reply.drop_after = 70'000;
  };
  expect_whole();
}

TEST_F(HubDownload, ServersThatServeLessThanTheRange) {
  hub.meddle = [=](const ServedRequest&, int, Reply& reply) {
    if (reply.status != 206) return;
    for (auto& [name, value] : reply.headers) {
      if (name != "Content-Range") continue;
      const std::size_t first = std::stoull(value.substr(6));
      reply.body.resize(std::min<std::size_t>(reply.body.size(), 30'000));
      value = "bytes " + std::to_string(first) + "-" + std::to_string(first + reply.body.size() - 1) + "/" +
              value.substr(value.find('/') + 1);
    }
  };
  expect_whole();
}

class Progress final : public ProgressSink {
 public:
  void advance(std::uint64_t bytes, std::string_view) override { done += bytes; }
  void skip(std::uint64_t bytes) override { skipped += bytes; }
  std::atomic<std::uint64_t> done{0}, skipped{0};
};

TEST_F(HubDownload, ProgressAddsUp) {
  Progress progress;
  std::uint64_t total = 0;
  options.progress = &progress;
  options.total = [&](std::uint64_t bytes) { total += bytes; };
  hub.meddle = [=](const ServedRequest& request, int number, Reply& reply) {
    if (has(request.target, kStorage) && number == 0) reply.drop_after = 10'000;
  };
  expect_whole();
  EXPECT_GT(total, 400'000u);
  EXPECT_EQ(progress.done + progress.skipped, total);
}

TEST_F(HubDownload, InterruptedThenGoesOn) {
  hub.pause = std::chrono::milliseconds(20);
  std::atomic<int> stop{0};
  options.stop = &stop;
  Progress progress;
  options.progress = &progress;
  std::thread stopper([&] {
    while (progress.done < 150'000) std::this_thread::yield();
    stop = 2;
  });
  const auto stopped = open();
  stopper.join();
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().kind, ErrorKind::kInterrupted);
  options.stop = nullptr;
  const std::uint64_t before = progress.done;
  const auto snapshot = open();
  ASSERT_TRUE(snapshot.ok()) << snapshot.error().message;
  expect_files(snapshot->folder);
  // Together, what there is: nothing that had come came again.
  std::uint64_t size = 0;
  for (const auto& [name, file] : hub.repos[kRepo].files) {
    if (name != "pytorch_model.bin" && name != "README.md") size += file.content.size();
  }
  EXPECT_EQ(progress.done, size);
  EXPECT_LE(snapshot->received, size - before + (options.range_bytes << 1));
}

TEST_F(HubDownload, DamagedLeftoversAreDownloadedAnew) {
  // As after a power cut: of the right length and with all counts gone, but not what was sent.
  const CacheRepo cache(options.cache, kRepo);
  const std::string etag = hub.repos[kRepo].files["m1.safetensors"].etag();
  write_file(cache.incomplete(etag), std::string(300'000, 'x'));
  expect_whole();
  EXPECT_TRUE(has(warnings, "m1.safetensors: what an earlier run left is damaged")) << warnings;
}

TEST_F(HubDownload, WhatAnotherMachineLeftIsTakenWhenItIsIdle) {
  const CacheRepo cache(options.cache, kRepo);
  const HubFile& file = hub.repos[kRepo].files["m1.safetensors"];
  const fs::path other = options.cache / "models--org--name/blobs" / (file.etag() + ".elsewhere.octavo.incomplete");
  write_file(other, file.content);
  // Written just now: left alone.
  expect_whole_but(other);
  EXPECT_GT(hub.count(file.etag()), 0);
  EXPECT_EQ(read_file(other), file.content);
  fs::rename(other, dir / "kept");
  fs::remove_all(options.cache);
  fs::create_directories(other.parent_path());
  fs::rename(dir / "kept", other);
  fs::last_write_time(other, fs::file_time_type::clock::now() - std::chrono::minutes(20));
  hub.forget_requests();
  expect_whole();
  EXPECT_EQ(hub.count(file.etag()), 0);
}

TEST_F(HubDownload, WaitsForAnotherProcess) {
  const CacheRepo cache(options.cache, kRepo);
  const HubFile& file = hub.repos[kRepo].files["m1.safetensors"];
  auto lock = cache.open_lock(file.etag());
  ASSERT_TRUE(lock.ok() && lock->try_lock());
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    write_file(cache.blob(file.etag()), file.content);
    lock->close().ok();
  });
  expect_whole();
  other.join();
  EXPECT_EQ(hub.count(file.etag()), 0);
  EXPECT_TRUE(has(warnings, "m1.safetensors: another process is downloading it; waiting")) << warnings;
}

TEST_F(HubDownload, TwoAtOnceDownloadOnce) {
  hub.pause = std::chrono::milliseconds(5);
  Options other = options;
  other.warn = [](std::string_view) {};
  Result<Snapshot> second = failure("not run");
  std::thread thread([&] { second = open_snapshot({kRepo, "main"}, Wanted::kModel, other); });
  const auto first = open();
  thread.join();
  ASSERT_TRUE(first.ok()) << first.error().message;
  ASSERT_TRUE(second.ok()) << second.error().message;
  expect_files(first->folder);
  EXPECT_EQ(hub.count("/m2.safetensors"), 2);  // its two ranges
}

TEST_F(HubDownload, WithoutANetworkTheCacheServes) {
  const auto first = open();
  ASSERT_TRUE(first.ok());
  options.endpoint = "http://127.0.0.1:1";
  const auto second = open();
  ASSERT_TRUE(second.ok()) << second.error().message;
  EXPECT_EQ(second->folder, first->folder);
  EXPECT_TRUE(has(warnings, "http://127.0.0.1:1")) << warnings;
  EXPECT_TRUE(has(warnings, "using commit " + first->commit + " of the cache")) << warnings;
  // Nothing of it in the cache: the network's error.
  const auto absent = open(Wanted::kModel, "v2");
  ASSERT_FALSE(absent.ok());
  EXPECT_TRUE(has(absent.error().message, "(tried 3 times)")) << absent.error().message;
}

TEST_F(HubDownload, AFullDiskIsSaidBeforehand) {
  hub.meddle = [=](const ServedRequest& request, int, Reply& reply) {
    if (!has(request.target, "/api/")) return;
    // A petabyte more than m1 has.
    const std::size_t at = reply.body.find("\"size\":300000");
    if (at != reply.body.npos) reply.body.insert(at + 7, "900000000");
  };
  hub.repos[kRepo].files["m1.safetensors"].content.resize(300'000);
  const std::string message = failure_of();
  EXPECT_TRUE(has(message, "are to be downloaded, and ")) << message;
  EXPECT_TRUE(has(message, " has room for ")) << message;
  EXPECT_TRUE(has(message, "HF_HUB_CACHE")) << message;
  EXPECT_EQ(hub.count(kStorage), 1);  // tokenizer.json
}

TEST_F(HubDownload, BrokenIndexes) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"weight_map": {"a": "absent.safetensors"}})",
       "the index names absent.safetensors, which the repository does not"},
      {R"({"weight_map": {"a": "../../m1.safetensors"}})", "is not the name of a file beside the index"},
      {"{", "model.safetensors.index.json:1"},
  };
  for (const auto& [text, part] : cases) {
    hub.repos[kRepo].files["model.safetensors.index.json"].content = text;
    const std::string message = failure_of();
    EXPECT_TRUE(has(message, part)) << message;
    fs::remove_all(options.cache);
  }
}

TEST_F(HubDownload, OfflineWithoutACache) {
  options.offline = true;
  const std::string message = failure_of();
  EXPECT_TRUE(has(message, "it is not in the cache (" + options.cache.string() + "), and HF_HUB_OFFLINE is set"))
      << message;
  EXPECT_FALSE(fs::exists(options.cache));
}

TEST_F(HubDownload, BadEndpoint) {
  for (const char* endpoint : {"huggingface.co", "ftp://h", ""}) {
    options.endpoint = endpoint;
    const auto snapshot = open();
    ASSERT_FALSE(snapshot.ok());
    EXPECT_EQ(snapshot.error().kind, ErrorKind::kUsage) << snapshot.error().message;
  }
}

}  // namespace
}  // namespace octavo::test
