// An output folder that appears whole or not at all.
#include "octavo/checkpoint/folder_writer.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::TempDir;
using test::write_file;
namespace fs = std::filesystem;

std::string error_of(const fs::path& out, const fs::path& source) {
  const auto writer = FolderWriter::create(out, source);
  return writer.ok() ? "no error" : writer.error().message;
}

bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(FolderWriter, AppearsOnCommit) {
  const TempDir dir;
  write_file(dir / "in/a.txt", "aaa");
  auto writer = FolderWriter::create(dir / "out", dir / "in");
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  auto file = writer->create_file("data", 6);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->write_at(2, as_bytes("xy")).ok());
  ASSERT_TRUE(file->close().ok());
  ASSERT_TRUE(writer->write_text("config.json", "{}").ok());
  ASSERT_TRUE(writer->copy_files(dir / "in", {"a.txt"}).ok());
  EXPECT_FALSE(fs::exists(dir / "out"));
  EXPECT_TRUE(fs::exists(dir / "out.partial/config.json"));
  ASSERT_TRUE(writer->commit().ok());
  EXPECT_FALSE(fs::exists(dir / "out.partial"));
  EXPECT_EQ(test::read_file(dir / "out/data"), std::string("\0\0xy\0\0", 6));
  EXPECT_EQ(test::read_file(dir / "out/a.txt"), "aaa");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir / "out"), fs::directory_iterator()), 3);  // no marker left
}

TEST(FolderWriter, WithoutCommitNothingRemains) {
  const TempDir dir;
  {
    auto writer = FolderWriter::create(dir / "out", dir / "in");
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->write_text("config.json", "{}").ok());
    const FolderWriter moved = std::move(*writer);
    EXPECT_TRUE(fs::exists(dir / "out.partial"));
  }
  EXPECT_FALSE(fs::exists(dir / "out"));
  EXPECT_FALSE(fs::exists(dir / "out.partial"));
}

TEST(FolderWriter, ParentsAreMadeAndATrailingSlashIsNothing) {
  const TempDir dir;
  auto writer = FolderWriter::create((dir / "a/b/out").string() + "/", dir / "in");
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  ASSERT_TRUE(writer->commit().ok());
  EXPECT_TRUE(fs::is_directory(dir / "a/b/out"));
}

TEST(FolderWriter, AnEmptyFolderIsFree) {
  const TempDir dir;
  fs::create_directory(dir / "out");
  auto writer = FolderWriter::create(dir / "out", dir / "in");
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  ASSERT_TRUE(writer->write_text("f", "x").ok());
  ASSERT_TRUE(writer->commit().ok());
  EXPECT_EQ(test::read_file(dir / "out/f"), "x");
}

TEST(FolderWriter, ItsOwnLeftoverIsClearedAway) {
  const TempDir dir;
  fs::create_directory(dir / "out.partial");
  write_file(dir / "out.partial/.octavo-partial", "");
  write_file(dir / "out.partial/half", "x");
  auto writer = FolderWriter::create(dir / "out", dir / "in");
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  EXPECT_FALSE(fs::exists(dir / "out.partial/half"));
  ASSERT_TRUE(writer->commit().ok());
}

TEST(FolderWriter, OneWriterAtATime) {
  const TempDir dir;
  auto first = FolderWriter::create(dir / "out", {});
  ASSERT_TRUE(first.ok()) << first.error().message;
  ASSERT_TRUE(first->write_text("a", "first").ok());
  const auto second = FolderWriter::create(dir / "out", {});
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("another octavo is writing it"), std::string::npos) << second.error().message;
  ASSERT_TRUE(first->commit().ok());
  EXPECT_EQ(test::read_file(dir / "out/a"), "first");
  EXPECT_FALSE(std::filesystem::exists(dir / "out/.octavo-partial"));
}

TEST(FolderWriter, WhatStandsInTheWayStays) {
  const TempDir dir;
  write_file(dir / "in/config.json", "{}");
  write_file(dir / "full/x", "1");
  write_file(dir / "file", "1");
  write_file(dir / "foreign.partial/x", "1");
  write_file(dir / "foreign_file.partial", "1");
  fs::create_symlink("full", dir / "link");
  fs::create_symlink("nowhere", dir / "dangling");
  EXPECT_TRUE(holds(error_of(dir / "full", dir / "in"), "full: exists already; remove it or choose another output"));
  EXPECT_TRUE(holds(error_of(dir / "file", dir / "in"), "exists and is a file"));
  EXPECT_TRUE(holds(error_of(dir / "foreign", dir / "in"), "was not made by octavo"));
  EXPECT_TRUE(holds(error_of(dir / "foreign_file", dir / "in"), "was not made by octavo"));
  EXPECT_TRUE(holds(error_of(dir / "link", dir / "in"), "is a link"));
  EXPECT_TRUE(holds(error_of(dir / "dangling", dir / "in"), "is a link"));
  EXPECT_TRUE(holds(error_of(dir / "in", dir / "in"), "the output is the input folder"));
  EXPECT_TRUE(holds(error_of(dir / "full/../in", dir / "in"), "the output is the input folder"));
  EXPECT_TRUE(holds(error_of(dir / "file/out", dir / "in"), "cannot create"));
  EXPECT_TRUE(holds(error_of("", dir / "in"), "no name"));
  for (const char* name : {"full/x", "foreign.partial/x", "foreign_file.partial", "file"}) {
    EXPECT_EQ(test::read_file(dir / name), "1") << name;
  }
}

TEST(FolderWriter, TheInputFolderIsNoPlaceForTheOutput) {
  const TempDir dir;
  write_file(dir / "in/sub/x", "1");
  fs::create_directory_symlink("in/sub", dir / "link");
  fs::create_directory_symlink("in", dir / "in_link");
  for (const char* out : {"in/out", "in/a/b/out", "in/sub/out", "link/out", "link/a/out", "none/../in/out", "in/sub"}) {
    for (const char* source : {"in", "in/", "in_link"}) {
      const auto writer = FolderWriter::create(dir / out, dir / source);
      ASSERT_FALSE(writer.ok()) << out;
      EXPECT_EQ(writer.error().kind, ErrorKind::kUsage);
      EXPECT_TRUE(holds(writer.error().message, "the output lies inside the input folder; choose another")) << out;
    }
  }
  EXPECT_EQ(std::distance(fs::recursive_directory_iterator(dir / "in"), fs::recursive_directory_iterator()), 2);
  EXPECT_EQ(error_of(dir / "in_out", dir / "in"), "no error");
  EXPECT_EQ(error_of(dir / "in/../out", dir / "in"), "no error");
}

TEST(FolderWriter, AMissingSourceFileIsNamed) {
  const TempDir dir;
  auto writer = FolderWriter::create(dir / "out", dir / "in");
  ASSERT_TRUE(writer.ok());
  const Status status = writer->copy_files(dir / "in", {"tokenizer.json"});
  ASSERT_FALSE(status.ok());
  EXPECT_TRUE(holds(status.error().message, "in/tokenizer.json: cannot open"));
}

TEST(FolderWriter, ADotIsTheFolderItStandsFor) {
  const TempDir dir;
  write_file(dir / "here/x", "1");
  const fs::path before = fs::current_path();
  fs::current_path(dir / "here");
  const std::string dot = error_of(".", dir / "in");
  const std::string slash = error_of("./", dir / "in");
  const std::string self = error_of(".", dir / "here");
  fs::current_path(before);
  EXPECT_TRUE(holds(dot, "exists already")) << dot;
  EXPECT_TRUE(holds(slash, "exists already")) << slash;
  EXPECT_TRUE(holds(self, "is the input folder")) << self;
}

}  // namespace
}  // namespace octavo
