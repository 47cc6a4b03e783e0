// Files as torch.save writes them, made byte by byte: every field of the ZIP archive can lie, and a pickle can hold
// anything. Shares no code with the reader under test.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace octavo::test {

// Pickle opcodes as text, to be joined with +.
namespace pickle {
std::string proto(int version = 2);
std::string global(std::string_view module, std::string_view name);
std::string text(std::string_view value);
std::string number(std::int64_t value);
std::string tuple(const std::vector<std::string>& items);
std::string call(const std::string& callable, const std::vector<std::string>& arguments);
std::string dict(const std::vector<std::pair<std::string, std::string>>& items);  // keys and values are opcodes
std::string ordered_dict();
// A storage of `count` elements, such as storage("FloatStorage", "0", 6).
std::string storage(std::string_view type, std::string_view key, std::int64_t count);
std::string tensor(const std::string& storage, std::int64_t offset, const std::vector<std::int64_t>& shape,
                   const std::vector<std::int64_t>& strides);
// A whole pickle: a dict of one tensor "w", FP32 [2, 3] of storage "0".
std::string small_state();
}  // namespace pickle

struct ZipItem {
  std::string name;
  std::string data;
  // Lies, where set.
  std::optional<std::string> local_name = std::nullopt;
  std::optional<std::uint16_t> method = std::nullopt, local_method = std::nullopt, flags = std::nullopt;
  std::optional<std::uint64_t> plain_bytes = std::nullopt, stored_bytes = std::nullopt, offset = std::nullopt;
  bool zip64 = false;         // sizes and offset in a ZIP64 extra
  bool lose_extra = false;    // saturated sizes without it
  std::uint32_t padding = 0;  // bytes of another extra in the local header, as torch aligns data with
};

struct ZipEnd {
  bool zip64 = false;
  std::optional<std::uint64_t> count = std::nullopt, bytes = std::nullopt, offset = std::nullopt;
  std::optional<std::uint16_t> disk = std::nullopt;
  std::optional<std::uint32_t> small_offset = std::nullopt;  // in the end record beside a ZIP64 one
  std::optional<std::uint64_t> locator = std::nullopt;       // where it says that the ZIP64 end record is
  std::string comment, gap;                                  // gap: bytes between the directory and its end record
};

std::string zip_archive(const std::vector<ZipItem>& items, const ZipEnd& end = {});

// archive/data.pkl, archive/byteorder, archive/version, and archive/data/0 with `data`.
std::vector<ZipItem> torch_items(std::string pickle, std::string data = std::string(24, 'x'));
inline std::string torch_archive(std::string pickle, std::string data = std::string(24, 'x')) {
  return zip_archive(torch_items(std::move(pickle), std::move(data)));
}

// The format before ZIP. `keys` and the elements' count and data of each.
struct LegacyStorage {
  std::string key;
  std::uint64_t count = 0;
  std::string data;
};
std::string legacy_file(const std::string& pickle, const std::vector<LegacyStorage>& storages,
                        const std::string& machine_little_endian = "\x88");

}  // namespace octavo::test
