// The ZIP container: ZIP64, padding, comments, files of more than 4 GB, and directories that lie.
#include <gtest/gtest.h>

#include <functional>

#include "octavo/checkpoint/torch/torch_file.h"
#include "octavo/checkpoint/torch/zip.h"
#include "tests/support/temp_dir.h"
#include "tests/support/torch_builder.h"

namespace octavo {
namespace {

using test::torch_items;
using test::zip_archive;
using test::ZipEnd;
using test::ZipItem;
using test::pickle::small_state;

Result<TorchFile> read(const std::string& bytes) { return read_torch_file(MemorySource(as_bytes(bytes), "m.bin")); }

void expect_sound(const std::vector<ZipItem>& items, const ZipEnd& end = {}) {
  const std::string bytes = zip_archive(items, end);
  const auto entries = read_zip_entries(MemorySource(as_bytes(bytes)));
  ASSERT_TRUE(entries.ok()) << entries.error().message;
  ASSERT_EQ(entries->size(), items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(entries->at(i).name, items[i].name);
    EXPECT_EQ(bytes.substr(entries->at(i).offset, entries->at(i).bytes), items[i].data);
  }
}

TEST(TorchZip, EntriesLieWhereTheyAre) {
  std::vector<ZipItem> items = torch_items(small_state());
  expect_sound(items);
  ZipEnd wide;
  wide.zip64 = true;
  expect_sound(items, wide);
  items[2].zip64 = true;
  expect_sound(items);
  expect_sound(items, wide);
  ZipEnd comment;
  comment.comment = std::string(65535, 'c');
  expect_sound(items, comment);
  comment.comment = "PK\x05\x06 is no end record";
  expect_sound(items, comment);
  expect_sound({});
}

TEST(TorchZip, MoreThanFourGigabytes) {
  // A file with a hole: it takes no space.
  const test::TempDir dir;
  constexpr std::uint64_t kHole = 5ull << 30;
  std::vector<ZipItem> items = torch_items(small_state());
  for (ZipItem& item : items) item.zip64 = true;
  const std::uint64_t head = 30 + items[0].name.size() + items[0].padding + items[0].data.size();
  ZipEnd end;
  end.zip64 = true;
  // The first entry, a hole, then the others as far behind as the hole is long.
  std::uint64_t at = head;
  for (std::size_t i = 1; i < items.size(); ++i) {
    items[i].offset = at + kHole;
    at += 30 + items[i].name.size() + items[i].padding + items[i].data.size();
  }
  end.offset = at + kHole;
  std::string probe = zip_archive(items, end);
  end.locator = probe.size() - 22 - 20 - 56 + kHole;
  const std::string bytes = zip_archive(items, end);
  auto file = File::create(dir / "large.bin");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->resize(bytes.size() + kHole).ok());
  ASSERT_TRUE(file->write_at(0, as_bytes(bytes).first(head)).ok());
  ASSERT_TRUE(file->write_at(head + kHole, as_bytes(bytes).subspan(head)).ok());
  const auto torch = read_torch_file(*file);
  ASSERT_TRUE(torch.ok()) << torch.error().message;
  ASSERT_EQ(torch->tensors.size(), 1u);
  EXPECT_GT(torch->tensors[0].begin, kHole);
  std::string data(24, '\0');
  ASSERT_TRUE(file->read_at(torch->tensors[0].begin, as_writable_bytes(data)).ok());
  EXPECT_EQ(data, std::string(24, 'x'));
}

struct Lie {
  const char* error;
  std::function<void(std::vector<ZipItem>&, ZipEnd&)> tell;
};

TEST(TorchZip, LiesAreNamed) {
  using Items = std::vector<ZipItem>;
  const Lie cases[] = {
      // Entries.
      {"two ZIP entries are called \"archive/data/0\"", [](Items& i, ZipEnd&) { i.push_back(i[2]); }},
      {"\"archive/data/0\" and \"archive/data/1\" overlap",
       [](Items& i, ZipEnd&) {
         i.push_back({"archive/data/1", ""});
         i[2].name = "archive/data/0";
         i[4].local_name = "archive/data/0";
         i[4].name = "archive/data/1";
         i[2].data += zip_archive({{"archive/data/1", "?"}}).substr(0, 45);
         i[4].offset = 30 + i[0].name.size() + i[0].padding + i[0].data.size() + 30 + i[1].name.size() +
                       i[1].data.size() + 30 + i[2].name.size() + i[2].padding + 24;
         i[4].plain_bytes = i[4].stored_bytes = 1;
       }},
      {"\"archive/data/0\" reaches past the end of the archive's data",
       [](Items& i, ZipEnd&) { i[2].plain_bytes = i[2].stored_bytes = 100'000; }},
      {"\"archive/data/0\" reaches past the end",
       [](Items& i, ZipEnd&) {
         i[2].zip64 = true;
         i[2].plain_bytes = i[2].stored_bytes = ~std::uint64_t{0};
       }},
      {"\"archive/data/0\" lies outside the file",
       [](Items& i, ZipEnd&) {
         i[2].zip64 = true;
         i[2].offset = ~std::uint64_t{0} - 10;
       }},
      {"\"archive/data/0\" has no local header where the directory says", [](Items& i, ZipEnd&) { i[2].offset = 3; }},
      {"\"archive/data/0\" has another name in its local header",
       [](Items& i, ZipEnd&) { i[2].local_name = "archive/data/1"; }},
      {"has another name", [](Items& i, ZipEnd&) { i[2].local_name = "archive/data"; }},
      {"\"archive/data/0\" lacks its ZIP64 sizes", [](Items& i, ZipEnd&) { i[2].lose_extra = true; }},
      {"\"archive/data/0\" is stored, but its two sizes differ", [](Items& i, ZipEnd&) { i[2].plain_bytes = 30; }},
      {"\"archive/data/0\" is compressed, which torch.save never does", [](Items& i, ZipEnd&) { i[2].method = 8; }},
      {"has another compression in its local header", [](Items& i, ZipEnd&) { i[2].local_method = 8; }},
      {"\"archive/data/0\" is encrypted", [](Items& i, ZipEnd&) { i[2].flags = 1; }},
      {"\"archive/data/0\" is a patch", [](Items& i, ZipEnd&) { i[2].flags = 32; }},
      // The directory.
      {"cannot have 60000 entries", [](Items&, ZipEnd& e) { e.count = 60'000; }},
      {"cannot have 18446744073709551615 entries",
       [](Items&, ZipEnd& e) {
         e.zip64 = true;
         e.count = ~std::uint64_t{0};
       }},
      {"entry 4 of the ZIP directory is none",
       [](Items& i, ZipEnd& e) {
         e.count = 5;
         e.gap = std::string(60, ' ');
         e.bytes = 4 * 46 + 60;
         for (const ZipItem& item : i) *e.bytes += item.name.size();
       }},
      {"the ZIP directory has ", [](Items&, ZipEnd& e) { e.count = 3; }},
      {"does not end at its end record", [](Items&, ZipEnd& e) { e.offset = 0; }},
      {"does not end at its end record", [](Items&, ZipEnd& e) { e.bytes = 1; }},
      {"does not end at its end record", [](Items&, ZipEnd& e) { e.gap = "?"; }},
      {"does not end at its end record",
       [](Items&, ZipEnd& e) {
         e.zip64 = true;
         e.offset = ~std::uint64_t{0};
       }},
      {"the ZIP64 end record and the end record describe different directories",
       [](Items&, ZipEnd& e) {
         e.zip64 = true;
         e.small_offset = 7;
       }},
      {"the ZIP64 locator points to byte 18446744073709551615",
       [](Items&, ZipEnd& e) {
         e.zip64 = true;
         e.locator = ~std::uint64_t{0};
       }},
      {"byte 0: no ZIP64 end record",
       [](Items&, ZipEnd& e) {
         e.zip64 = true;
         e.locator = 0;
       }},
      {"a part of a divided ZIP archive", [](Items&, ZipEnd& e) { e.disk = 1; }},
      // What torch puts into it.
      {"a ZIP archive without a data.pkl", [](Items& i, ZipEnd&) { i[0].name = "archive/other.pkl"; }},
      {"a ZIP archive without a data.pkl", [](Items& i, ZipEnd&) { i[0].name = "data.pkl"; }},
      {"has two data.pkl",
       [](Items& i, ZipEnd&) {
         i.push_back({"b/data.pkl", "N."});
       }},
      {"is a TorchScript program",
       [](Items& i, ZipEnd&) {
         i.push_back({"archive/constants.pkl", ").", {}, 8});
       }},
      {"byteorder is \"big\", only \"little\" is read", [](Items& i, ZipEnd&) { i[1].data = "big"; }},
      {"file format version \"11\" is not known", [](Items& i, ZipEnd&) { i[3].data = "11\n"; }},
      {"file format version \"\" is not known", [](Items& i, ZipEnd&) { i[3].data = ""; }},
      {"file format version \"-1\" is not known", [](Items& i, ZipEnd&) { i[3].data = "-1"; }},
      {"has no version", [](Items& i, ZipEnd&) { i.pop_back(); }},
      {"its storage \"0\" is not in the file", [](Items& i, ZipEnd&) { i[2].name = "b/data/0"; }},
  };
  for (const Lie& lie : cases) {
    std::vector<ZipItem> items = torch_items(small_state());
    ZipEnd end;
    lie.tell(items, end);
    const auto torch = read(zip_archive(items, end));
    const std::string message = torch.ok() ? "no error" : torch.error().message;
    EXPECT_NE(message.find(lie.error), std::string::npos) << lie.error << "\n-> " << message;
    EXPECT_TRUE(message.starts_with("m.bin: ")) << message;
  }
}

TEST(TorchZip, AFewBytesBehindTheArchive) {
  const std::string bytes = zip_archive(torch_items(small_state())) + "?";
  EXPECT_NE(read(bytes).error().message.find("has no end record"), std::string::npos);
}

}  // namespace
}  // namespace octavo
