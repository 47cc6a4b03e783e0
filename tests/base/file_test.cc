// Files: positional transfers, limits, and errors that name the path.
#include "octavo/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>

#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::TempDir;

template <typename T>
std::string error_of(const Result<T>& result) {
  return result.ok() ? "no error" : result.error().message;
}

bool holds(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST(File, WritesAndReadsAtPositions) {
  const TempDir dir;
  {
    auto file = File::create(dir / "f");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->resize(10).ok());
    ASSERT_TRUE(file->write_at(6, as_bytes("tail")).ok());
    ASSERT_TRUE(file->write_at(0, as_bytes("head")).ok());
    ASSERT_TRUE(file->sync().ok());
    ASSERT_TRUE(file->close().ok());
    ASSERT_TRUE(file->close().ok());  // twice is harmless
  }
  EXPECT_EQ(test::read_file(dir / "f"), std::string("head\0\0tail", 10));
  const auto file = File::open_read(dir / "f");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->size(), 10u);
  std::string text(4, ' ');
  ASSERT_TRUE(file->read_at(6, as_writable_bytes(text)).ok());
  EXPECT_EQ(text, "tail");
  std::string none;
  EXPECT_TRUE(file->read_at(1000, as_writable_bytes(none)).ok());
}

TEST(File, MovesItsDescriptor) {
  const TempDir dir;
  test::write_file(dir / "a", "aaaa");
  test::write_file(dir / "b", "bbbb");
  auto a = File::open_read(dir / "a");
  auto b = File::open_read(dir / "b");
  ASSERT_TRUE(a.ok() && b.ok());
  *a = std::move(*b);
  std::string text(4, ' ');
  ASSERT_TRUE(a->read_at(0, as_writable_bytes(text)).ok());
  EXPECT_EQ(text, "bbbb");
  EXPECT_EQ(a->describe(), (dir / "b").string());
}

TEST(File, ErrorsNameThePath) {
  const TempDir dir;
  EXPECT_EQ(error_of(File::open_read(dir / "none")),
            (dir / "none").string() + ": cannot open: No such file or directory");
  EXPECT_TRUE(holds(error_of(File::open_read(dir.path())), "is a folder, not a file"));
  EXPECT_TRUE(holds(error_of(File::create(dir / "no")), "no error"));
  EXPECT_TRUE(holds(error_of(File::create(dir.path() / "missing" / "f")), "cannot create: No such file"));
  test::write_file(dir / "short", "1234");
  const auto file = File::open_read(dir / "short");
  std::string text(8, ' ');
  EXPECT_TRUE(holds(error_of(file->read_at(0, as_writable_bytes(text))), "ends at byte 4, 4 more bytes expected"));
}

TEST(File, APipeIsRefusedAndNotWaitedFor) {
  const TempDir dir;
  ASSERT_EQ(mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_TRUE(holds(error_of(File::open_read(dir / "pipe")), "not a regular file"));
}

TEST(File, AFullDiskIsAnError) {
  // /dev/full fails every write with ENOSPC.
  auto file = File::create("/dev/full");
  if (!file.ok()) GTEST_SKIP() << "no /dev/full here";
  EXPECT_TRUE(holds(error_of(file->write_at(0, as_bytes("x"))), "write failed at byte 0: No space left on device"));
}

TEST(MemorySource, ChecksItsBounds) {
  const std::string text = "0123456789";
  const MemorySource source(as_bytes(text), "memory");
  std::array<std::byte, 4> out{};
  EXPECT_TRUE(source.read_at(6, out).ok());
  EXPECT_EQ(out[3], std::byte{'9'});
  EXPECT_FALSE(source.read_at(7, out).ok());
  EXPECT_FALSE(source.read_at(UINT64_MAX, out).ok());
  EXPECT_TRUE(source.read_at(10, std::span<std::byte>()).ok());
  EXPECT_FALSE(source.read_at(11, std::span<std::byte>()).ok());
}

TEST(TextFile, RefusesWhatIsOverTheLimit) {
  const TempDir dir;
  ASSERT_TRUE(write_text_file(dir / "t", "12345").ok());
  EXPECT_EQ(*read_text_file(dir / "t", 5), "12345");
  EXPECT_TRUE(holds(error_of(read_text_file(dir / "t", 4)), "5 bytes, at most 4 are read"));
  ASSERT_TRUE(write_text_file(dir / "t", "").ok());  // truncates
  EXPECT_EQ(*read_text_file(dir / "t", 0), "");
}

TEST(CopyFile, AnySize) {
  const TempDir dir;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{1} << 20, (std::size_t{5} << 19) + 3}) {
    std::string text(size, ' ');
    for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 >> 3);
    test::write_file(dir / "from", text);
    ASSERT_TRUE(octavo::copy_file(dir / "from", dir / "to").ok());
    EXPECT_EQ(test::read_file(dir / "to"), text);
  }
  EXPECT_TRUE(holds(error_of(octavo::copy_file(dir / "absent", dir / "to")), "absent"));
}

TEST(CopyFile, FollowsLinks) {
  const TempDir dir;
  test::write_file(dir / "real", "content");
  std::filesystem::create_symlink("real", dir / "link");
  ASSERT_TRUE(octavo::copy_file(dir / "link", dir / "copy").ok());
  EXPECT_FALSE(std::filesystem::is_symlink(dir / "copy"));
  EXPECT_EQ(test::read_file(dir / "copy"), "content");
}

TEST(SyncDirectory, NamesWhatIsMissing) {
  const TempDir dir;
  EXPECT_TRUE(sync_directory(dir.path()).ok());
  EXPECT_TRUE(holds(error_of(sync_directory(dir / "none")), "none: cannot open"));
}

}  // namespace
}  // namespace octavo
