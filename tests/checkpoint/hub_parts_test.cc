// The parts of the hub client that need no server: names, checksums, listings, the choice of files, partial files,
// waiting.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "octavo/checkpoint/hub/cache.h"
#include "octavo/checkpoint/hub/digest.h"
#include "octavo/checkpoint/hub/http.h"
#include "octavo/checkpoint/hub/listing.h"
#include "octavo/checkpoint/hub/model_name.h"
#include "octavo/checkpoint/hub/partial_file.h"
#include "octavo/checkpoint/hub/retry.h"
#include "tests/support/fake_hub.h"
#include "tests/support/temp_dir.h"

namespace octavo::test {
namespace {

namespace fs = std::filesystem;
using namespace octavo::hub;

TEST(HubNames, RepoIds) {
  // Of huggingface_hub's validate_repo_id.
  for (const char* good : {"gpt2", "Qwen/Qwen3-8B", "a/b", "_x/y_", "org.name/v1.0", "0/1"}) {
    EXPECT_TRUE(is_repo_id(good)) << good;
  }
  const std::string long_name(97, 'a');
  for (const std::string& bad :
       {std::string(), std::string("a/b/c"), std::string("/a"), std::string("a/"), std::string("./a"),
        std::string("../a"), std::string("a/.b"), std::string("-a/b"), std::string("a/b-"), std::string("a--b/c"),
        std::string("a..b"), std::string("a/b.git"), std::string("a b"), std::string("a/b\n"),
        std::string("a/\xC3\xA9"), long_name}) {
    EXPECT_FALSE(is_repo_id(bad)) << bad;
  }
  EXPECT_TRUE(is_repo_id(std::string(96, 'a')));
}

TEST(HubNames, Revisions) {
  const auto name = parse_model_name("Qwen/Qwen3-8B@refs/pr/1");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->repo, "Qwen/Qwen3-8B");
  EXPECT_EQ(name->revision, "refs/pr/1");
  EXPECT_EQ(parse_model_name("a/b")->revision, "main");
  EXPECT_EQ(parse_model_name("a/b")->text(), "a/b");
  EXPECT_EQ(name->text(), "Qwen/Qwen3-8B@refs/pr/1");
  for (const char* bad :
       {"a/b@", "a/b@../../x", "a/b@/x", "a/b@x/", "a/b@x y", "a/b@x\\y", "a/b@x\n", "a/b@./x", "@x"}) {
    EXPECT_FALSE(parse_model_name(bad)) << bad;
  }
}

TEST(HubNames, FilesAndUrls) {
  EXPECT_TRUE(is_plain_file_name("model-00001-of-00002.safetensors"));
  for (const std::string& bad : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                 std::string("a\\b"), std::string("a\0b", 3), std::string("\xff")}) {
    EXPECT_FALSE(is_plain_file_name(bad)) << bad;
  }
  EXPECT_EQ(url_encode("refs/pr/1", true), "refs%2Fpr%2F1");
  EXPECT_EQ(url_encode("a b#?\xC3\xA9", true), "a%20b%23%3F%C3%A9");
  EXPECT_EQ(url_encode("A-z_0.~", true), "A-z_0.~");
}

TEST(HubNames, Origins) {
  EXPECT_EQ(origin_of("https://Huggingface.co/x"), "https://huggingface.co:443");
  EXPECT_EQ(origin_of("https://huggingface.co:443"), origin_of("https://huggingface.co/a?b"));
  EXPECT_NE(origin_of("http://h:1/"), origin_of("http://h:2/"));
  EXPECT_NE(origin_of("http://h/"), origin_of("https://h/"));
  EXPECT_EQ(origin_of("https://user:secret@h.com/"), "https://h.com:443");
  for (const char* none : {"", "ftp://h/", "file:///etc/passwd", "huggingface.co", "://"}) {
    EXPECT_EQ(origin_of(none), "") << none;
  }
}

std::string etag_of(const std::string& content, std::size_t digits) {
  return content_etag(MemorySource(as_bytes(content)), content.size(), digits, [] { return false; }).value();
}

TEST(HubDigest, KnownValues) {
  // `git hash-object` of nothing and of "hello\n"; SHA-256 of "abc" from FIPS 180-2.
  EXPECT_EQ(etag_of("", 40), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  EXPECT_EQ(etag_of("hello\n", 40), "ce013625030ba8dba906f756967f9e9ca394464a");
  EXPECT_EQ(etag_of("abc", 64), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const std::string longer((3 << 20) + 17, 'x');  // several buffers
  EXPECT_EQ(etag_of(longer, 64), sha256_hex(longer));
  EXPECT_EQ(etag_of(longer, 40), git_blob_hex(longer));
  const auto stopped = content_etag(MemorySource(as_bytes(longer)), longer.size(), 64, [] { return true; });
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().kind, ErrorKind::kInterrupted);
}

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

std::string listing_of(const std::string& siblings) {
  return std::string(R"({"sha": ")") + kCommit + R"(", "siblings": [)" + siblings + "]}";
}

Listing listing_with(const std::vector<std::string>& names) {
  Listing out;
  for (const std::string& name : names) out.files.push_back({name, {}, ""});
  return out;
}

TEST(HubListing, ReadsLengthsAndChecksums) {
  const std::string sha256(64, 'a'), sha1(40, 'b');
  const auto listing = parse_listing(
      listing_of(R"({"rfilename": "m.safetensors", "size": 134, "blobId": ")" + sha1 + R"(", "lfs": {"sha256": ")" +
                 sha256 +
                 R"(", "size": 5000000000, "pointerSize": 134}}, {"rfilename": "config.json", "size": 3, "blobId": ")" +
                 sha1 + R"("}, {"rfilename": "bare"}, {"rfilename": "original/x.pth"}, {"rfilename": "../evil"},
                 {"rfilename": "odd", "size": 1, "blobId": "../../x"})"),
      "here");
  ASSERT_TRUE(listing.ok()) << listing.error().message;
  EXPECT_EQ(listing->commit, kCommit);
  ASSERT_EQ(listing->files.size(), 4u);  // nothing from folders, nothing that leaves
  EXPECT_EQ(listing->find("m.safetensors")->etag, sha256);
  EXPECT_EQ(listing->find("m.safetensors")->bytes, 5000000000u);
  EXPECT_EQ(listing->find("config.json")->etag, sha1);
  EXPECT_EQ(listing->find("bare")->etag, "");
  EXPECT_FALSE(listing->find("bare")->bytes);
  EXPECT_EQ(listing->find("odd")->etag, "");
  EXPECT_EQ(listing->find("evil"), nullptr);
}

TEST(HubListing, RefusesWhatIsNone) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"<html>", "here:1:1"},
      {"[]", "must be an object, not a list"},
      {R"({"sha": "main", "siblings": []})", "\"sha\" is no commit: main"},
      {R"({"sha": "../../../x", "siblings": []})", "is no commit"},
      {std::string(R"({"sha": ")") + kCommit + "\"}", "no list of files"},
      {listing_of("1"), "must be objects"},
  };
  for (const auto& [text, part] : cases) {
    const auto listing = parse_listing(text, "here");
    ASSERT_FALSE(listing.ok()) << text;
    EXPECT_NE(listing.error().message.find(part), std::string::npos) << listing.error().message;
  }
}

TEST(HubListing, ChoosesFiles) {
  const std::vector<std::string> all = {".gitattributes",
                                        "LICENSE",
                                        "README.md",
                                        "added_tokens.json",
                                        "chat_template.jinja",
                                        "config.json",
                                        "consolidated.safetensors",
                                        "flax_model.msgpack",
                                        "generation_config.json",
                                        "merges.txt",
                                        "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors",
                                        "model.fp16.safetensors",
                                        "model.safetensors.index.json",
                                        "modeling_x.py",
                                        "onnx.onnx",
                                        "pytorch_model.bin",
                                        "pytorch_model.bin.index.json",
                                        "qwen.tiktoken",
                                        "tokenizer.model",
                                        "x.gguf"};
  EXPECT_EQ(small_files(listing_with(all)),
            (std::vector<std::string>{"LICENSE", "added_tokens.json", "chat_template.jinja", "config.json",
                                      "generation_config.json", "merges.txt", "modeling_x.py", "qwen.tiktoken",
                                      "tokenizer.model"}));
  EXPECT_EQ(choose_weights(listing_with(all))->index, "model.safetensors.index.json");
  const auto one = [](const std::vector<std::string>& names) {
    return choose_weights(listing_with(names)).value().files;
  };
  EXPECT_EQ(one({"consolidated.safetensors", "model.safetensors", "pytorch_model.bin"}),
            std::vector<std::string>{"model.safetensors"});
  EXPECT_EQ(one({"adapter.safetensors", "pytorch_model.bin"}), std::vector<std::string>{"adapter.safetensors"});
  EXPECT_EQ(one({"pytorch_model.bin", "x.gguf"}), std::vector<std::string>{"pytorch_model.bin"});
  EXPECT_EQ(choose_weights(listing_with({"pytorch_model.bin.index.json"}))->index, "pytorch_model.bin.index.json");
  const std::vector<std::pair<std::vector<std::string>, std::string>> bad = {
      {{"a.safetensors", "b.safetensors"}, "2 safetensors files but no model.safetensors.index.json"},
      {{"m-Q4_0.gguf"}, "`octavo import FILE -o DIR`"},
      {{"tf_model.h5"}, "no weights that Octavo reads"},
      {{}, "no weights that Octavo reads"},
  };
  for (const auto& [names, part] : bad) {
    const auto choice = choose_weights(listing_with(names));
    ASSERT_FALSE(choice.ok());
    EXPECT_NE(choice.error().message.find(part), std::string::npos) << choice.error().message;
  }
}

std::string some_bytes(std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<char>(i * 31 + i / 251);
  return out;
}

TEST(PartialFile, GoesOnInEveryRange) {
  const TempDir dir;
  const std::string content = some_bytes(1000);
  const auto bytes = as_bytes(content);
  {
    auto file = PartialFile::open(dir / "p", 1000, 300);
    ASSERT_TRUE(file.ok()) << file.error().message;
    ASSERT_EQ(file->ranges(), 4u);
    EXPECT_EQ(file->end(3), 1000u);
    EXPECT_EQ(file->write(300, bytes.subspan(300, 100)).value(), 100u);
    EXPECT_EQ(file->write(350, bytes.subspan(350, 100)).value(), 50u);  // half of it is there
    EXPECT_EQ(file->write(460, bytes.subspan(460, 10)).value(), 0u);    // leaves a gap: not taken
    EXPECT_EQ(file->write(850, bytes.subspan(850)).value(), 100u);      // the end of range 2 would leave a gap
  }
  auto file = PartialFile::open(dir / "p", 1000, 77);  // the ranges stay those that it was begun with
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(file->ranges(), 4u);
  EXPECT_EQ(file->bytes(), 250u);
  EXPECT_EQ(file->next(1), 450u);
  EXPECT_TRUE(file->whole(3));
  EXPECT_FALSE(file->whole());
  EXPECT_EQ(file->write(0, bytes).value(), 750u);
  EXPECT_TRUE(file->whole());
  ASSERT_TRUE(std::move(*file).publish(dir / "done").ok());
  EXPECT_EQ(read_file(dir / "done"), content);
  EXPECT_FALSE(fs::exists(dir / "p"));
}

TEST(PartialFile, StartsAnewWhereItIsNotItsOwn) {
  const TempDir dir;
  const std::vector<std::string> foreign = {"", std::string(999, 'x'), std::string(1023, 'x'), std::string(5000, 'x')};
  for (const std::string& text : foreign) {
    write_file(dir / "p", text);
    auto file = PartialFile::open(dir / "p", 1000, 300);
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->bytes(), 0u) << text.size();
  }
  // Of exactly its size: the counts were cut off before it was renamed.
  write_file(dir / "p", std::string(1000, 'x'));
  EXPECT_EQ(PartialFile::open(dir / "p", 1000, 300)->bytes(), 1000u);
  // Begun for a file of another size.
  fs::remove(dir / "p");
  ASSERT_EQ(PartialFile::open(dir / "p", 500, 300)->write(0, as_bytes(std::string(500, 'y'))).value(), 500u);
  EXPECT_EQ(PartialFile::open(dir / "p", 1000, 300)->bytes(), 0u);
}

TEST(PartialFile, Empty) {
  const TempDir dir;
  auto file = PartialFile::open(dir / "p", 0, 300);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->whole());
  ASSERT_TRUE(std::move(*file).publish(dir / "done").ok());
  EXPECT_EQ(fs::file_size(dir / "done"), 0u);
}

TEST(HubCache, LayoutIsHuggingFaceHubs) {
  const TempDir dir;
  const CacheRepo cache(dir.path(), "org/name");
  const std::string etag(40, 'a');
  EXPECT_EQ(cache.blob(etag), dir / "models--org--name/blobs" / etag);
  EXPECT_FALSE(cache.commit_of("main"));
  ASSERT_TRUE(cache.set_ref("main", kCommit).ok());
  ASSERT_TRUE(cache.set_ref("refs/pr/1", kCommit).ok());
  ASSERT_TRUE(cache.set_ref(kCommit, kCommit).ok());                   // a commit needs none
  EXPECT_EQ(read_file(dir / "models--org--name/refs/main"), kCommit);  // no line break
  EXPECT_EQ(read_file(dir / "models--org--name/refs/refs/pr/1"), kCommit);
  EXPECT_FALSE(fs::exists(dir / "models--org--name/refs" / kCommit));
  EXPECT_EQ(cache.commit_of("main"), kCommit);
  ASSERT_TRUE(cache.open_lock(etag).ok());
  EXPECT_TRUE(fs::exists(dir / ".locks/models--org--name" / (etag + ".lock")));
  write_file(cache.blob(etag), "content");
  ASSERT_TRUE(cache.link(kCommit, "config.json", etag).ok());
  const fs::path link = dir / "models--org--name/snapshots" / kCommit / "config.json";
  EXPECT_EQ(fs::read_symlink(link), fs::path("../../blobs") / etag);
  EXPECT_EQ(read_file(link), "content");
  // A link to nowhere is replaced; one that leads somewhere is left.
  fs::remove(link);
  fs::create_symlink("../../blobs/gone", link);
  ASSERT_TRUE(cache.link(kCommit, "config.json", etag).ok());
  EXPECT_EQ(read_file(link), "content");
  write_file(dir / "models--org--name/refs/broken", "../../../etc");
  EXPECT_FALSE(cache.commit_of("broken"));
}

TEST(HubRetry, GivesUpAfterAttemptsThatBringNothing) {
  RetryPolicy policy;
  policy.attempts = 3;
  policy.first = std::chrono::milliseconds(1);
  const std::function<bool()> never = [] { return false; };
  Retrier retrier(policy, never);
  EXPECT_TRUE(retrier.wait("broken", {}).ok());
  EXPECT_TRUE(retrier.wait("broken", {}).ok());
  retrier.progressed();
  EXPECT_TRUE(retrier.wait("broken", {}).ok());
  EXPECT_TRUE(retrier.wait("broken", {}).ok());
  const Status end = retrier.wait("broken", {});
  ASSERT_FALSE(end.ok());
  EXPECT_EQ(end.error().message, "broken (tried 3 times)");
  Retrier other(policy, never);
  const Status too_long = other.wait("busy", std::chrono::seconds(3600));
  ASSERT_FALSE(too_long.ok());
  EXPECT_EQ(too_long.error().message, "busy; it asks to come again in 3600 s");
  const std::function<bool()> always = [] { return true; };
  Retrier stopped(policy, always);
  const Status interrupted = stopped.wait("busy", std::chrono::seconds(100));
  ASSERT_FALSE(interrupted.ok());
  EXPECT_EQ(interrupted.error().kind, ErrorKind::kInterrupted);
}

}  // namespace
}  // namespace octavo::test
