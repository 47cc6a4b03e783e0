// Pickles, ZIP archives and legacy files, byte by byte.
#include "tests/support/torch_builder.h"

namespace octavo::test {
namespace {

std::string little(std::uint64_t value, std::size_t width) {
  std::string out;
  for (std::size_t i = 0; i < width; ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
  return out;
}

}  // namespace

namespace pickle {

std::string proto(int version) { return "\x80" + little(static_cast<std::uint64_t>(version), 1); }
std::string global(std::string_view module, std::string_view name) {
  return "c" + std::string(module) + "\n" + std::string(name) + "\n";
}
std::string text(std::string_view value) { return "X" + little(value.size(), 4) + std::string(value); }
std::string number(std::int64_t value) { return "\x8a\x08" + little(static_cast<std::uint64_t>(value), 8); }
std::string tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const std::string& item : items) out += item;
  return out + "t";
}
std::string call(const std::string& callable, const std::vector<std::string>& arguments) {
  return callable + tuple(arguments) + "R";
}
std::string dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string out = "}(";
  for (const auto& [key, value] : items) out += key + value;
  return out + "u";
}
std::string ordered_dict() { return call(global("collections", "OrderedDict"), {}); }
std::string storage(std::string_view type, std::string_view key, std::int64_t count) {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), number(count)}) + "Q";
}
std::string tensor(const std::string& storage, std::int64_t offset, const std::vector<std::int64_t>& shape,
                   const std::vector<std::int64_t>& strides) {
  const auto numbers = [](const std::vector<std::int64_t>& values) {
    std::vector<std::string> out;
    for (const std::int64_t value : values) out.push_back(number(value));
    return tuple(out);
  };
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              {storage, number(offset), numbers(shape), numbers(strides), "\x89", ordered_dict()});
}
std::string small_state() {
  return proto() + dict({{text("w"), tensor(storage("FloatStorage", "0", 6), 0, {2, 3}, {3, 1})}}) + ".";
}

}  // namespace pickle

std::string zip_archive(const std::vector<ZipItem>& items, const ZipEnd& end) {
  std::string out, directory;
  for (const ZipItem& item : items) {
    const std::uint64_t at = out.size();
    const std::uint16_t method = item.method.value_or(0), flags = item.flags.value_or(0x0808);
    const std::string local_name = item.local_name.value_or(item.name);
    out += little(0x04034b50, 4) + little(20, 2) + little(flags, 2) + little(item.local_method.value_or(method), 2) +
           little(0, 16) + little(local_name.size(), 2) + little(item.padding, 2) + local_name;
    out += std::string(item.padding, 'Z') + item.data;
    const std::uint64_t plain = item.plain_bytes.value_or(item.data.size());
    const std::uint64_t stored = item.stored_bytes.value_or(item.data.size());
    const std::uint64_t offset = item.offset.value_or(at);
    const bool wide = item.zip64 || item.lose_extra;
    const std::string extra = item.zip64 ? little(0x4242, 2) + little(1, 2) + "?" + little(1, 2) + little(24, 2) +
                                               little(plain, 8) + little(stored, 8) + little(offset, 8)
                                         : "";
    directory += little(0x02014b50, 4) + little(20, 2) + little(20, 2) + little(flags, 2) + little(method, 2) +
                 little(0, 8) + little(wide ? 0xFFFFFFFF : stored, 4) + little(wide ? 0xFFFFFFFF : plain, 4) +
                 little(item.name.size(), 2) + little(extra.size(), 2) + little(0, 10) +
                 little(wide ? 0xFFFFFFFF : offset, 4) + item.name + extra;
  }
  const std::uint64_t begin = end.offset.value_or(out.size()), bytes = end.bytes.value_or(directory.size());
  const std::uint64_t count = end.count.value_or(items.size());
  out += directory + end.gap;
  if (end.zip64) {
    const std::uint64_t at = out.size();
    out += little(0x06064b50, 4) + little(44, 8) + little(45, 2) + little(45, 2) + little(0, 8) + little(count, 8) +
           little(count, 8) + little(bytes, 8) + little(begin, 8);
    out += little(0x07064b50, 4) + little(0, 4) + little(end.locator.value_or(at), 8) + little(1, 4);
  }
  const auto small = [&](std::uint64_t value, std::uint64_t saturated) { return end.zip64 ? saturated : value; };
  out += little(0x06054b50, 4) + little(end.disk.value_or(0), 2) + little(0, 2) + little(small(count, 0xFFFF), 2) +
         little(small(count, 0xFFFF), 2) + little(small(bytes, 0xFFFFFFFF), 4) +
         little(end.small_offset.value_or(static_cast<std::uint32_t>(small(begin, 0xFFFFFFFF))), 4) +
         little(end.comment.size(), 2) + end.comment;
  return out;
}

std::vector<ZipItem> torch_items(std::string pickle, std::string data) {
  std::vector<ZipItem> items(4);
  items[0].name = "archive/data.pkl";
  items[0].data = std::move(pickle);
  items[0].padding = 17;
  items[1].name = "archive/byteorder";
  items[1].data = "little";
  items[2].name = "archive/data/0";
  items[2].data = std::move(data);
  items[2].padding = 5;
  items[3].name = "archive/version";
  items[3].data = "3\n";
  return items;
}

std::string legacy_file(const std::string& pickle, const std::vector<LegacyStorage>& storages,
                        const std::string& machine_little_endian) {
  using namespace octavo::test::pickle;
  std::string out = proto() + "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
  out += proto() + "M\xe9\x03.";
  out += proto() + dict({{text("little_endian"), machine_little_endian}}) + ".";
  out += pickle;
  out += proto() + "](";
  for (const LegacyStorage& storage : storages) out += text(storage.key);
  out += "e.";
  for (const LegacyStorage& storage : storages) out += little(storage.count, 8) + storage.data;
  return out;
}

}  // namespace octavo::test
