// Central directory, ZIP64 records and local headers, as PKWARE's APPNOTE 6.3.10 lays them out (section numbers below).
#include "octavo/checkpoint/torch/zip.h"

#include <algorithm>
#include <optional>
#include <span>
#include <unordered_set>

#include "octavo/base/text.h"

namespace octavo {
namespace {

constexpr std::uint64_t kEndBytes = 22, kLocatorBytes = 20, kEnd64Bytes = 56, kEntryBytes = 46, kLocalBytes = 30;
constexpr std::uint32_t kEndMark = 0x06054b50, kLocatorMark = 0x07064b50, kEnd64Mark = 0x06064b50;
constexpr std::uint32_t kEntryMark = 0x02014b50, kLocalMark = 0x04034b50;
constexpr std::uint32_t kSaturated32 = 0xFFFFFFFF;  // the value stands in a ZIP64 record
constexpr std::uint16_t kSaturated16 = 0xFFFF;
constexpr std::uint16_t kZip64Extra = 1;
// torch writes about 70 bytes a tensor.
constexpr std::uint64_t kMaxDirectory = 64ull << 20;

std::uint64_t little(std::span<const std::byte> bytes, std::size_t at, std::size_t width) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i) value |= std::to_integer<std::uint64_t>(bytes[at + i]) << (8 * i);
  return value;
}
std::uint16_t u16(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(little(bytes, at, 2));
}
std::uint32_t u32(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint32_t>(little(bytes, at, 4));
}
std::uint64_t u64(std::span<const std::byte> bytes, std::size_t at) { return little(bytes, at, 8); }

// [begin, begin + bytes) ends at or before `end`.
bool fits(std::uint64_t begin, std::uint64_t bytes, std::uint64_t end) { return begin <= end && bytes <= end - begin; }

class ZipReader {
 public:
  explicit ZipReader(const ByteSource& source) : source_(source) {}

  Result<std::vector<ZipEntry>> read() {
    OCTAVO_TRY(find_directory());
    if (directory_bytes_ > kMaxDirectory) {
      return fail("a ZIP directory of {} bytes, at most {} are read", directory_bytes_, kMaxDirectory);
    }
    std::vector<std::byte> directory(directory_bytes_);
    OCTAVO_TRY(source_.read_at(directory_begin_, directory));
    OCTAVO_TRY(read_directory(directory));
    OCTAVO_TRY(check_places());
    return std::move(entries_);
  }

 private:
  template <typename... Args>
  Error fail(fmt::format_string<Args...> format, Args&&... args) const {
    return Error{ErrorKind::kFailure, fmt::format(format, std::forward<Args>(args)...)}.context(source_.describe());
  }

  // 4.3.16, 4.3.15, 4.3.14: the end record, and the ZIP64 records before it.
  Status find_directory() {
    OCTAVO_ASSIGN(const std::uint64_t end_at, find_end());
    std::vector<std::byte> end(kEndBytes);
    OCTAVO_TRY(source_.read_at(end_at, end));
    const std::uint16_t disk = u16(end, 4), first_disk = u16(end, 6), here = u16(end, 8), count = u16(end, 10);
    const std::uint32_t bytes = u32(end, 12), begin = u32(end, 16);
    count_ = count;
    directory_bytes_ = bytes;
    directory_begin_ = begin;
    std::uint64_t directory_end = end_at;
    bool divided = disk != 0 || first_disk != 0 || here != count;

    std::vector<std::byte> locator(kLocatorBytes);
    if (end_at >= kLocatorBytes) OCTAVO_TRY(source_.read_at(end_at - kLocatorBytes, locator));
    if (u32(locator, 0) == kLocatorMark) {
      directory_end = u64(locator, 8);
      if (!fits(directory_end, kEnd64Bytes, end_at - kLocatorBytes)) {
        return fail("the ZIP64 locator points to byte {}, outside the file", directory_end);
      }
      std::vector<std::byte> end64(kEnd64Bytes);
      OCTAVO_TRY(source_.read_at(directory_end, end64));
      if (u32(end64, 0) != kEnd64Mark) return fail("byte {}: no ZIP64 end record", directory_end);
      count_ = u64(end64, 32);
      directory_bytes_ = u64(end64, 40);
      directory_begin_ = u64(end64, 48);
      divided = u32(end64, 16) != 0 || u32(end64, 20) != 0 || u64(end64, 24) != count_ || u32(locator, 4) != 0;
      if ((count != kSaturated16 && count != count_) || (bytes != kSaturated32 && bytes != directory_bytes_) ||
          (begin != kSaturated32 && begin != directory_begin_)) {
        return fail("the ZIP64 end record and the end record describe different directories");
      }
    }
    if (divided) return fail("a part of a divided ZIP archive");
    if (!fits(directory_begin_, directory_bytes_, directory_end) ||
        directory_begin_ + directory_bytes_ != directory_end) {
      return fail("the ZIP directory's place, {} bytes at {}, does not end at its end record, {}", directory_bytes_,
                  directory_begin_, directory_end);
    }
    return {};
  }

  // The end record: the last thing but for a comment that reaches exactly to the end of the file.
  Result<std::uint64_t> find_end() {
    if (source_.size() < kEndBytes) return fail("{} bytes are too few for a ZIP archive", source_.size());
    const std::uint64_t window = std::min<std::uint64_t>(source_.size(), kEndBytes + 0xFFFF);
    std::vector<std::byte> tail(window);
    OCTAVO_TRY(source_.read_at(source_.size() - window, tail));
    for (std::uint64_t at = window - kEndBytes + 1; at-- > 0;) {
      if (u32(tail, at) == kEndMark && u16(tail, at + 20) == window - kEndBytes - at) {
        return source_.size() - window + at;
      }
    }
    return fail("truncated: the ZIP archive has no end record");
  }

  // 4.3.12
  Status read_directory(std::span<const std::byte> directory) {
    // The count is not believed before there are bytes for it.
    if (count_ > directory.size() / kEntryBytes) {
      return fail("a ZIP directory of {} bytes cannot have {} entries", directory.size(), count_);
    }
    entries_.reserve(count_);
    std::uint64_t at = 0;
    for (std::uint64_t i = 0; i < count_; ++i) {
      if (!fits(at, kEntryBytes, directory.size()) || u32(directory, at) != kEntryMark) {
        return fail("entry {} of the ZIP directory is none", i);
      }
      const auto head = directory.subspan(at, kEntryBytes);
      const std::uint64_t name_bytes = u16(head, 28), extra_bytes = u16(head, 30), comment_bytes = u16(head, 32);
      if (!fits(at, kEntryBytes + name_bytes + extra_bytes + comment_bytes, directory.size())) {
        return fail("entry {} of the ZIP directory is cut off", i);
      }
      const auto name = directory.subspan(at + kEntryBytes, name_bytes);
      const auto extra = directory.subspan(at + kEntryBytes + name_bytes, extra_bytes);
      OCTAVO_TRY(read_entry(head, std::string(reinterpret_cast<const char*>(name.data()), name.size()), extra));
      at += kEntryBytes + name_bytes + extra_bytes + comment_bytes;
    }
    if (at != directory.size())
      return fail("the ZIP directory has {} bytes after its last entry", directory.size() - at);
    return {};
  }

  Status read_entry(std::span<const std::byte> head, std::string name, std::span<const std::byte> extra) {
    constexpr std::uint16_t kEncrypted = 1 | 1 << 6 | 1 << 13, kPatch = 1 << 5;
    const auto refuse = [&](std::string_view why) { return fail("ZIP entry \"{}\" {}", printable(name), why); };
    const std::uint16_t flags = u16(head, 8), method = u16(head, 10);
    if ((flags & kEncrypted) != 0) return refuse("is encrypted");
    if ((flags & kPatch) != 0) return refuse("is a patch");
    // 4.5.3: the ZIP64 extra holds those of the three that are saturated, in this order.
    std::uint64_t plain = u32(head, 24), stored = u32(head, 20), local = u32(head, 42);
    std::optional<std::span<const std::byte>> wide = find_extra(extra);
    for (std::uint64_t* value : {&plain, &stored, &local}) {
      if (*value != kSaturated32) continue;
      if (!wide || wide->size() < 8) return refuse("lacks its ZIP64 sizes");
      *value = u64(*wide, 0);
      wide = wide->subspan(8);
    }
    if (method == 0 && plain != stored) return refuse("is stored, but its two sizes differ");
    return read_local({std::move(name), local, stored, method != 0}, method);
  }

  static std::optional<std::span<const std::byte>> find_extra(std::span<const std::byte> extra) {
    while (extra.size() >= 4) {
      const std::size_t bytes = u16(extra, 2);
      if (bytes > extra.size() - 4) break;
      if (u16(extra, 0) == kZip64Extra) return extra.subspan(4, bytes);
      extra = extra.subspan(4 + bytes);
    }
    return std::nullopt;
  }

  // 4.3.7: only the local header says where the data begins. Its sizes may be zero (a descriptor follows the data).
  // `entry.offset` is that of the local header when this begins.
  Status read_local(ZipEntry entry, std::uint16_t method) {
    const std::string& name = entry.name;
    const std::uint64_t at = entry.offset;
    const auto refuse = [&](std::string_view why) { return fail("ZIP entry \"{}\" {}", printable(name), why); };
    if (!fits(at, kLocalBytes + name.size(), directory_begin_)) return refuse("lies outside the file");
    std::vector<std::byte> head(kLocalBytes + name.size());
    OCTAVO_TRY(source_.read_at(at, head));
    if (u32(head, 0) != kLocalMark) return refuse("has no local header where the directory says");
    if (u16(head, 26) != name.size() || !std::equal(name.begin(), name.end(), head.begin() + kLocalBytes,
                                                    [](char a, std::byte b) { return std::byte(a) == b; })) {
      return refuse("has another name in its local header");
    }
    if (u16(head, 8) != method) return refuse("has another compression in its local header");
    entry.offset = at + kLocalBytes + name.size() + u16(head, 28);
    if (!fits(entry.offset, entry.bytes, directory_begin_)) {
      return refuse("reaches past the end of the archive's data");
    }
    entries_.push_back(std::move(entry));
    return {};
  }

  Status check_places() {
    std::sort(entries_.begin(), entries_.end(), [](const ZipEntry& a, const ZipEntry& b) {
      return std::tie(a.offset, a.bytes) < std::tie(b.offset, b.bytes);
    });
    std::unordered_set<std::string_view> names;
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const ZipEntry& entry = entries_[i];
      if (!names.insert(entry.name).second) return fail("two ZIP entries are called \"{}\"", printable(entry.name));
      if (i > 0 && entry.offset < entries_[i - 1].offset + entries_[i - 1].bytes) {
        return fail("ZIP entries \"{}\" and \"{}\" overlap", printable(entries_[i - 1].name), printable(entry.name));
      }
    }
    return {};
  }

  const ByteSource& source_;
  std::uint64_t count_ = 0, directory_begin_ = 0, directory_bytes_ = 0;
  std::vector<ZipEntry> entries_;
};

}  // namespace

Result<std::vector<ZipEntry>> read_zip_entries(const ByteSource& source) { return ZipReader(source).read(); }

}  // namespace octavo
