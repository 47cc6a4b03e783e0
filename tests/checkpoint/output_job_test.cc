// Output folders: they appear whole, survive being ended anywhere, are divided and put together, and are never mixed.
#include "octavo/checkpoint/output_job.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "octavo/checkpoint/merge.h"
#include "octavo/checkpoint/safetensors.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using test::TempDir;
using test::write_file;

constexpr std::size_t kFiles = 5, kUnitsPerFile = 4;
constexpr std::uint64_t kUnit = 300'000;

bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// A job of some shards; unit u of a file is filled with the byte `file * 16 + u`.
class Example {
 public:
  explicit Example(const TempDir& dir) : dir_(dir) {
    write_file(dir / "in/source", "12345");
    write_file(dir / "in/tokenizer.json", std::string(3'000'000, 't'));
    for (std::size_t i = 0; i < kFiles; ++i) {
      std::vector<TensorEntry> tensors{{"t" + std::to_string(i), DType::kU8, {kUnitsPerFile * kUnit}, 0, 0}};
      heads_.push_back(lay_out_safetensors(tensors, {}).value());
    }
  }

  JobDescription description() const {
    JobDescription job;
    job.record.command = "test";
    job.record.options = {{"colour", colour}};
    job.record.source = "of this test";
    job.inputs = {{"source", dir_ / "in/source"}};
    for (std::size_t i = 0; i < kFiles; ++i) {
      job.files.push_back({"m" + std::to_string(i) + ".safetensors", heads_[i].size() + kUnitsPerFile * kUnit});
      for (std::size_t u = 0; u < kUnitsPerFile; ++u) job.units.push_back({static_cast<std::uint32_t>(i), kUnit});
    }
    job.units.push_back({});  // one that only finds something out
    job.head = [this](std::size_t file) { return heads_[file]; };
    job.copies = {{"tokenizer.json", dir_ / "in/tokenizer.json"}};
    job.texts = {{"config.json", "{}"}};
    return job;
  }

  Result<OutputJob> open(std::string_view out, FolderOptions folder = {}) const {
    return OutputJob::open(dir_ / out, {dir_ / "in"}, description(), {folder, nullptr, false});
  }

  // Completes at most `count` of what is left of this part's units; returns how many.
  std::size_t work(OutputJob& job, std::size_t count = 1000) const {
    std::set<std::uint32_t> done;
    for (const JournalRecord& record : job.done()) done.insert(record.unit);
    std::size_t worked = 0;
    for (std::uint32_t i = 0; i < kFiles * kUnitsPerFile && worked < count; ++i) {
      const auto file = static_cast<std::uint32_t>(i / kUnitsPerFile);
      if (done.contains(i) || !job.mine(file)) continue;
      const std::vector<std::byte> bytes(kUnit, static_cast<std::byte>(file * 16 + i % kUnitsPerFile));
      EXPECT_TRUE(job.write(file, heads_[file].size() + i % kUnitsPerFile * kUnit, bytes).ok());
      JournalRecord record;
      record.unit = i;
      EXPECT_TRUE(job.complete(record).ok());
      ++worked;
    }
    return worked;
  }

  std::string error(std::string_view out, FolderOptions folder = {}) const {
    const auto job = open(out, folder);
    return job.ok() ? "no error" : job.error().message;
  }

  std::string colour = "red";

 private:
  const TempDir& dir_;
  std::vector<std::string> heads_;
};

std::map<std::string, std::string> folder_bytes(const fs::path& folder) {
  std::map<std::string, std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    out[fs::relative(entry.path(), folder).string()] = entry.is_regular_file() ? test::read_file(entry.path()) : "";
  }
  return out;
}

TEST(OutputJob, AppearsWhenAllIsDone) {
  const TempDir dir;
  const Example example(dir);
  auto job = example.open("a/b/out/");
  ASSERT_TRUE(job.ok()) << job.error().message;
  EXPECT_FALSE(job->finished());
  EXPECT_EQ(example.work(*job, 3), 3u);
  const auto early = job->finish();
  ASSERT_FALSE(early.ok());            // not all units are complete
  EXPECT_EQ(example.work(*job), 20u);  // `done` is what an earlier run did: none
  EXPECT_FALSE(fs::exists(dir / "a/b/out"));
  const auto missing = job->finish();
  ASSERT_TRUE(missing.ok()) << missing.error().message;
  EXPECT_TRUE(missing->empty());
  EXPECT_FALSE(fs::exists(dir / "a/b/out.partial"));
  const auto files = folder_bytes(dir / "a/b/out");
  EXPECT_EQ(files.size(), kFiles + 3);  // tokenizer.json, config.json, octavo.json; no state
  EXPECT_EQ(files.at("tokenizer.json"), std::string(3'000'000, 't'));
  const std::string& shard = files.at("m3.safetensors");
  EXPECT_EQ(shard.substr(shard.size() - kUnit), std::string(kUnit, static_cast<char>(3 * 16 + 3)));
}

TEST(OutputJob, EndedAnywhereItGoesOnAndEndsTheSame) {
  const TempDir dir;
  const Example example(dir);
  auto whole = example.open("whole");
  ASSERT_TRUE(whole.ok());
  example.work(*whole);
  ASSERT_TRUE(whole->finish().ok());
  std::size_t total = 0, runs = 0;
  for (bool finished = false; !finished; ++runs) {
    auto job = example.open("out");
    ASSERT_TRUE(job.ok()) << job.error().message;
    EXPECT_EQ(job->done_bytes(), runs == 0 ? 0 : total * kUnit + 3'000'000);
    total += example.work(*job, 3);
    if (total == kFiles * kUnitsPerFile) {
      ASSERT_TRUE(job->finish().ok());
      finished = true;
    }
    EXPECT_FALSE(!finished && fs::exists(dir / "out"));
  }
  EXPECT_EQ(runs, 7u);
  EXPECT_EQ(folder_bytes(dir / "out"), folder_bytes(dir / "whole"));
  // And once more: nothing is left to do.
  const auto again = example.open("out");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_TRUE(again->finished());
}

TEST(OutputJob, OneAtATime) {
  const TempDir dir;
  const Example example(dir);
  auto first = example.open("out");
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(holds(example.error("out"), "another octavo is writing it"));
  EXPECT_TRUE(holds(example.error("out", {1, 1, true}), "another octavo is writing it"));
  EXPECT_EQ(example.error("other"), "no error");
  example.work(*first);
  EXPECT_TRUE(first->finish().ok());
}

TEST(OutputJob, WhatDiffersIsRefusedUntilRestart) {
  const TempDir dir;
  Example example(dir);
  {
    auto job = example.open("out");
    ASSERT_TRUE(job.ok());
    example.work(*job, 7);
  }
  example.colour = "blue";
  EXPECT_TRUE(holds(example.error("out"), "was begun with colour \"red\", not \"blue\"; finish it with the same"));
  example.colour = "red";
  EXPECT_TRUE(holds(example.error("out", {1, 2}), "was begun with 1 part(s), not 2"));
  fs::last_write_time(dir / "in/source", fs::last_write_time(dir / "in/source") + std::chrono::seconds(1));
  EXPECT_TRUE(holds(example.error("out"), "another source: source was modified since"));
  auto job = example.open("out", {1, 1, true});
  ASSERT_TRUE(job.ok()) << job.error().message;
  EXPECT_TRUE(job->done().empty());
  EXPECT_EQ(example.work(*job), kFiles * kUnitsPerFile);
  ASSERT_TRUE(job->finish().ok());
  // Finished, and then asked for in another colour, or after the source changed.
  example.colour = "blue";
  EXPECT_TRUE(holds(example.error("out"), "was made with colour \"red\", not \"blue\"; remove it or choose"));
  example.colour = "red";
  fs::last_write_time(dir / "in/source", fs::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_TRUE(holds(example.error("out"), "was made before source was last modified"));
}

TEST(OutputJob, ASourceThatChangesMeanwhileIsAnError) {
  const TempDir dir;
  const Example example(dir);
  auto job = example.open("out");
  ASSERT_TRUE(job.ok());
  example.work(*job);
  fs::last_write_time(dir / "in/source", fs::last_write_time(dir / "in/source") + std::chrono::seconds(1));
  const auto finished = job->finish();
  ASSERT_FALSE(finished.ok());
  EXPECT_TRUE(holds(finished.error().message, "changed while it was read")) << finished.error().message;
  EXPECT_FALSE(fs::exists(dir / "out"));
}

TEST(OutputJob, DamagedLeftoversAreSeen) {
  const TempDir dir;
  const Example example(dir);
  const auto begin = [&] {
    auto job = example.open("out", {1, 1, true});
    ASSERT_TRUE(job.ok()) << job.error().message;
    example.work(*job, 5);
  };
  begin();
  fs::resize_file(dir / "out.partial/m1.safetensors", 5);
  EXPECT_TRUE(holds(example.error("out"), "m1.safetensors: has 5 bytes")) << example.error("out");
  begin();
  fs::remove(dir / "out.partial/m2.safetensors");
  EXPECT_TRUE(holds(example.error("out"), "--restart")) << example.error("out");
  begin();
  write_file(dir / "out.partial/.octavo/manifest.json", "{");
  EXPECT_TRUE(holds(example.error("out"), "--restart")) << example.error("out");
  begin();  // a crash before the manifest was whole
  fs::remove(dir / "out.partial/.octavo/manifest.json");
  EXPECT_EQ(example.error("out"), "no error");
  begin();
  fs::remove(dir / "out.partial/.octavo/journal-1-of-1");
  auto job = example.open("out");
  ASSERT_TRUE(job.ok());
  EXPECT_TRUE(job->done().empty());
}

TEST(OutputJob, WhatStandsInTheWayStays) {
  const TempDir dir;
  const Example example(dir);
  write_file(dir / "full/x", "1");
  write_file(dir / "file", "1");
  write_file(dir / "foreign.partial/x", "1");
  write_file(dir / "foreign_file.partial", "1");
  fs::create_directory(dir / "empty");
  fs::create_symlink("full", dir / "link");
  fs::create_symlink("nowhere", dir / "dangling");
  EXPECT_TRUE(holds(example.error("full"), "full: exists already and was not made by this command"));
  EXPECT_TRUE(holds(example.error("file"), "exists and is a file"));
  EXPECT_TRUE(holds(example.error("foreign"), "was not made by octavo"));
  EXPECT_TRUE(holds(example.error("foreign_file"), "is not a folder"));
  EXPECT_TRUE(holds(example.error("link"), "is a link"));
  EXPECT_TRUE(holds(example.error("dangling"), "is a link"));
  EXPECT_TRUE(holds(example.error("in"), "the output is the input folder"));
  EXPECT_TRUE(holds(example.error("full/../in"), "the output is the input folder"));
  EXPECT_TRUE(holds(example.error("in/out"), "the output lies inside the input folder"));
  EXPECT_TRUE(holds(example.error("file/out"), "cannot create"));
  for (const char* name : {"full/x", "foreign.partial/x", "foreign_file.partial", "file"}) {
    EXPECT_EQ(test::read_file(dir / name), "1") << name;
  }
  auto job = example.open("empty");
  ASSERT_TRUE(job.ok()) << job.error().message;
  example.work(*job);
  EXPECT_TRUE(job->finish().ok());
}

TEST(OutputJob, TheInputFolderIsNoPlaceForTheOutput) {
  const TempDir dir;
  write_file(dir / "in/sub/x", "1");
  fs::create_directory_symlink("in/sub", dir / "link");
  fs::create_directory_symlink("in", dir / "in_link");
  for (const char* out : {"in/out", "in/a/b/out", "in/sub/out", "link/out", "link/a/out", "none/../in/out", "in/sub"}) {
    for (const char* source : {"in", "in/", "in_link"}) {
      const auto path = output_path(dir / out, {dir / source});
      ASSERT_FALSE(path.ok()) << out;
      EXPECT_EQ(path.error().kind, ErrorKind::kUsage);
      EXPECT_TRUE(holds(path.error().message, "the output lies inside the input folder; choose another")) << out;
    }
  }
  EXPECT_TRUE(output_path(dir / "in_out", {dir / "in"}).ok());
  EXPECT_TRUE(output_path(dir / "in/../out", {dir / "in"}).ok());
  EXPECT_FALSE(output_path("", {}).ok());
}

TEST(OutputJob, PartsInOneFolderTheLastPutsItTogether) {
  const TempDir dir;
  const Example example(dir);
  auto whole = example.open("whole");
  ASSERT_TRUE(whole.ok());
  example.work(*whole);
  ASSERT_TRUE(whole->finish().ok());
  std::size_t worked = 0;
  for (const std::uint32_t part : {2u, 3u, 1u}) {
    auto job = example.open("out", {part, 3});
    ASSERT_TRUE(job.ok()) << job.error().message;
    worked += example.work(*job);
    const auto missing = job->finish();
    ASSERT_TRUE(missing.ok()) << missing.error().message;
    EXPECT_EQ(*missing, part == 2   ? (std::vector<std::uint32_t>{1, 3})
                        : part == 3 ? (std::vector<std::uint32_t>{1})
                                    : std::vector<std::uint32_t>{});
  }
  EXPECT_EQ(worked, kFiles * kUnitsPerFile);
  EXPECT_EQ(folder_bytes(dir / "out"), folder_bytes(dir / "whole"));
}

TEST(OutputJob, WhatAPartSaidIsCheckedBeforeItIsPublished) {
  const TempDir dir;
  const Example example(dir);
  const auto make = [&](std::uint32_t part, bool restart) {
    auto job = example.open("out", {part, 2, restart});
    EXPECT_TRUE(job.ok()) << job.error().message;
    example.work(*job);
    return job->finish();
  };
  ASSERT_EQ(make(1, false).value(), std::vector<std::uint32_t>{2});
  std::string shard;
  for (const auto& entry : fs::directory_iterator(dir / "out.partial")) {
    if (entry.path().extension() == ".safetensors") shard = entry.path();
  }
  fs::remove(shard);
  const auto second = make(2, false);
  ASSERT_FALSE(second.ok());
  EXPECT_TRUE(holds(second.error().message, "that part 1 says; run that part again")) << second.error().message;
  EXPECT_FALSE(fs::exists(dir / "out"));
  // A part that begins again is not done, whatever its mark said before.
  ASSERT_TRUE(make(1, true).ok());
  {
    auto job = example.open("out", {1, 2});
    ASSERT_TRUE(job.ok());
    EXPECT_FALSE(fs::exists(dir / "out.partial/.octavo/part-1-of-2.done"));
    EXPECT_EQ(make(2, false).value(), std::vector<std::uint32_t>{1});
    ASSERT_TRUE(job->finish().value().empty());
  }
  EXPECT_TRUE(fs::exists(dir / "out/octavo.json"));
}

TEST(OutputJob, PartsInFoldersOfTheirOwnAreMerged) {
  const TempDir dir;
  Example example(dir);
  auto whole = example.open("whole");
  ASSERT_TRUE(whole.ok());
  example.work(*whole);
  ASSERT_TRUE(whole->finish().ok());
  const auto make = [&](std::string_view out, std::uint32_t part, std::uint32_t parts) {
    auto job = example.open(out, {part, parts});
    ASSERT_TRUE(job.ok()) << job.error().message;
    example.work(*job);
    ASSERT_TRUE(job->finish().ok());
  };
  make("p1", 1, 2);
  const auto merge = [&](std::vector<std::string> inputs, std::string_view out) {
    std::vector<fs::path> paths;
    for (const std::string& input : inputs) paths.push_back(dir / input);
    const auto merged = merge_parts(paths, dir / out, {});
    return merged.ok() ? std::string(merged->already_finished ? "already" : "ok") : merged.error().message;
  };
  EXPECT_TRUE(holds(merge({"p1"}, "out"), "part 2/2 is missing or not done"));
  {
    auto job = example.open("p2", {2, 2});
    ASSERT_TRUE(job.ok());
    example.work(*job, 1);
  }
  EXPECT_TRUE(holds(merge({"p1", "p2"}, "out"), "part 2/2 is missing or not done"));
  make("p2", 2, 2);
  make("p2of3", 2, 3);
  example.colour = "blue";
  make("blue", 2, 2);
  example.colour = "red";
  EXPECT_TRUE(holds(merge({"p1", "p2of3"}, "out"), "do not fit: one of 3 parts, one of 2"));
  EXPECT_TRUE(holds(merge({"p1", "blue"}, "out"), "colour \"blue\", not \"red\""));
  EXPECT_TRUE(holds(merge({"p1", "p2"}, "p2"), "holds one of the parts itself"));
  EXPECT_TRUE(holds(merge({"p1", "whole"}, "out"), "whole: holds no part of an unfinished output"));
  EXPECT_EQ(merge({"p1", "p2.partial"}, "out"), "ok");
  EXPECT_EQ(folder_bytes(dir / "out"), folder_bytes(dir / "whole"));
  EXPECT_EQ(merge({"p2", "p1"}, "out"), "already");
  fs::resize_file(dir / "p2.partial/m1.safetensors", 100);
  EXPECT_TRUE(holds(merge({"p1", "p2"}, "out2"), "has 100 bytes, its part says"));
}

TEST(OutputJob, PartsAreEvenAndCoverAll) {
  std::vector<OutputFile> files;
  for (std::size_t i = 0; i < 40; ++i) files.push_back({"f" + std::to_string(i), i % 7 == 0 ? 5000 : 4000 + i});
  for (const std::uint32_t parts : {1u, 2u, 3u, 7u, 40u, 60u}) {
    const auto part = assign_parts(files, parts);
    std::vector<std::uint64_t> load(parts);
    for (std::size_t i = 0; i < files.size(); ++i) {
      ASSERT_GE(part[i], 1u);
      ASSERT_LE(part[i], parts);
      load[part[i] - 1] += files[i].bytes;
    }
    EXPECT_LE(*std::max_element(load.begin(), load.end()) - *std::min_element(load.begin(), load.end()), 5000u);
    EXPECT_EQ(part, assign_parts(files, parts));
  }
}

}  // namespace
}  // namespace octavo
