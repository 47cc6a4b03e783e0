// The two containers of torch.save: a ZIP archive of a pickle and its storages, and before it pickles in a row with the
// storages behind them (torch/serialization.py: _save, _legacy_save).
#include "octavo/checkpoint/torch/torch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>

#include "octavo/base/text.h"
#include "octavo/checkpoint/torch/state_dict.h"
#include "octavo/checkpoint/torch/unpickler.h"
#include "octavo/checkpoint/torch/zip.h"

namespace octavo {
namespace {

using Kind = PickleValue::Kind;

struct Place {
  std::uint64_t begin = 0, bytes = 0;
};
using Places = std::unordered_map<std::string_view, Place>;  // of storages, by key

// Puts the tensors of a state dict where their storages lie.
Result<TorchFile> place_tensors(const PickleHeap& heap, StateDict state, const Places& places) {
  TorchFile out;
  out.tensors.reserve(state.tensors.size());
  for (StateTensor& tensor : state.tensors) {
    const PickleStorage& storage = heap.storage(tensor.storage);
    const std::string_view key = heap.text(storage.key);
    const auto place = places.find(key);
    if (place == places.end()) {
      return failure("tensor \"{}\": its storage \"{}\" is not in the file", printable(tensor.name), printable(key));
    }
    // Both sizes were computed before: read_state_dict refuses what overflows.
    if (const std::uint64_t claimed = storage_bytes(storage).value_or(0); claimed != place->second.bytes) {
      return failure("tensor \"{}\": its storage \"{}\" should have {} bytes, the file has {}", printable(tensor.name),
                     printable(key), claimed, place->second.bytes);
    }
    const std::uint64_t begin = place->second.begin + tensor.begin;
    out.tensors.push_back({std::move(tensor.name), tensor.dtype, std::move(tensor.shape), begin, begin + tensor.bytes});
  }
  std::stable_sort(out.tensors.begin(), out.tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  if (!state.wrapper.empty()) {
    std::string note = fmt::format("the state dict is the file's \"{}\"", state.wrapper);
    if (!state.left_out.empty()) {
      const std::size_t count = state.left_out.size();
      note += fmt::format("; {} beside it {} left out, \"{}\" first",
                          count == 1 ? "1 entry" : fmt::format("{} entries", count), count == 1 ? "is" : "are",
                          state.left_out.front());
    }
    out.notes.push_back(std::move(note));
  }
  return out;
}

class ZipFormat {
 public:
  explicit ZipFormat(const ByteSource& source) : source_(source) {}

  Result<TorchFile> read() {
    OCTAVO_ASSIGN(entries_, read_zip_entries(source_));
    const std::string origin = source_.describe();
    OCTAVO_TRY(find_root().context(origin));
    OCTAVO_TRY(check_small_entries().context(origin));
    const ZipEntry& pickle = *find("data.pkl");
    if (pickle.bytes > kMaxPickleBytes) {
      return failure("{}: data.pkl has {} bytes, at most {} are read", origin, pickle.bytes, kMaxPickleBytes);
    }
    PickleHeap heap;
    PickleInput input(source_, pickle.offset, pickle.offset + pickle.bytes, pickle.offset);
    auto top = Unpickler(heap).load(input);
    if (!top.ok()) return std::move(top).error().context("data.pkl").context(origin);
    OCTAVO_ASSIGN(StateDict state, read_state_dict(heap, *top).context(origin));
    Places places;
    const std::string data = root_ + "data/";
    for (const ZipEntry& entry : entries_) {
      if (!entry.name.starts_with(data)) continue;
      places.emplace(std::string_view(entry.name).substr(data.size()), Place{entry.offset, entry.bytes});
    }
    return place_tensors(heap, std::move(state), places).context(origin);
  }

 private:
  // All entries lie in one folder, named after the file that was saved.
  Status find_root() {
    const auto is_pickle = [](const ZipEntry& entry) {
      const std::size_t slash = entry.name.find('/');
      return slash != entry.name.npos && std::string_view(entry.name).substr(slash) == "/data.pkl";
    };
    const auto first = std::find_if(entries_.begin(), entries_.end(), is_pickle);
    if (first == entries_.end()) return failure("a ZIP archive without a data.pkl: not written by torch.save");
    if (std::count_if(entries_.begin(), entries_.end(), is_pickle) > 1) return failure("has two data.pkl");
    root_ = first->name.substr(0, first->name.find('/') + 1);
    if (find("constants.pkl") != nullptr) return failure("is a TorchScript program, not a state dict");
    const auto packed = std::find_if(entries_.begin(), entries_.end(), [](const ZipEntry& e) { return e.compressed; });
    if (packed == entries_.end()) return {};
    return failure("ZIP entry \"{}\" is compressed, which torch.save never does: it cannot be read in place",
                   printable(packed->name));
  }

  Status check_small_entries() {
    if (find("byteorder") != nullptr) {  // absent before PyTorch 2.1
      OCTAVO_ASSIGN(const std::string order, small_text("byteorder"));
      if (order != "little") return failure("byteorder is \"{}\", only \"little\" is read", printable(order));
    }
    constexpr int kNewest = 10;  // caffe2/serialize/versions.h, kMaxSupportedFileFormatVersion
    const char* name = find("version") != nullptr ? "version" : ".data/version";
    if (find(name) == nullptr) return failure("has no version: not written by torch.save");
    OCTAVO_ASSIGN(std::string version, small_text(name));
    if (version.ends_with('\n')) version.pop_back();
    const bool digits =
        !version.empty() && version.size() <= 2 && version.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || std::stoi(version) < 1 || std::stoi(version) > kNewest) {
      return failure("file format version \"{}\" is not known (1 to {} are)", printable(version), kNewest);
    }
    return {};
  }

  const ZipEntry* find(std::string_view name) const {
    const auto it = std::find_if(entries_.begin(), entries_.end(), [&](const ZipEntry& entry) {
      return entry.name.size() == root_.size() + name.size() && entry.name.starts_with(root_) &&
             entry.name.ends_with(name);
    });
    return it == entries_.end() ? nullptr : &*it;
  }

  Result<std::string> small_text(std::string_view name) const {
    const ZipEntry& entry = *find(name);
    std::string text(std::min<std::uint64_t>(entry.bytes, 64), '\0');
    OCTAVO_TRY(source_.read_at(entry.offset, as_writable_bytes(text)));
    return text;
  }

  const ByteSource& source_;
  std::vector<ZipEntry> entries_;
  std::string root_;  // "archive/"
};

// Five pickles: a magic number, the protocol, the writer's machine, the object, the keys of its storages. Then for each
// key 8 bytes with the number of its elements, and its data.
class LegacyFormat {
 public:
  explicit LegacyFormat(const ByteSource& source) : source_(source), unpickler_(heap_) {}

  Result<TorchFile> read() { return read_parts().context(source_.describe()); }

 private:
  Result<TorchFile> read_parts() {
    OCTAVO_ASSIGN(const PickleValue magic, next());
    // 0x1950a86a20f9469cfc6c
    constexpr std::string_view kMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
    if (magic.kind != Kind::kLong || heap_.text(magic) != kMagic) {
      return failure("a pickle without the mark of torch.save: not a PyTorch file");
    }
    constexpr std::int64_t kProtocol = 1001;
    OCTAVO_ASSIGN(const PickleValue protocol, next());
    if (protocol.kind != Kind::kInt || protocol.number != kProtocol) {
      return failure("a version of the format before ZIP that is not known ({} is)", kProtocol);
    }
    OCTAVO_ASSIGN(const PickleValue machine, next());
    OCTAVO_TRY(check_machine(machine));
    OCTAVO_ASSIGN(const PickleValue top, next());
    OCTAVO_ASSIGN(const PickleValue keys, next());
    OCTAVO_ASSIGN(StateDict state, read_state_dict(heap_, top));
    OCTAVO_ASSIGN(const Places places, find_storages(keys));
    return place_tensors(heap_, std::move(state), places);
  }

  Result<PickleValue> next() {
    const std::uint64_t end = at_ + std::min(source_.size() - at_, kMaxPickleBytes);
    PickleInput input(source_, at_, end, 0);
    OCTAVO_ASSIGN(const PickleValue value, unpickler_.load(input));
    at_ = input.position();
    return value;
  }

  Status check_machine(PickleValue machine) const {
    if (machine.kind != Kind::kDict) return failure("says nothing about the machine that wrote it");
    for (const auto& [key, value] : heap_.dict(machine)) {
      if (key.kind != Kind::kString || heap_.text(key) != "little_endian") continue;
      if (value.kind == Kind::kBool && value.number == 1) return {};
      return failure("was written big-endian, only little-endian is read");
    }
    return failure("says nothing about its byte order");
  }

  Result<Places> find_storages(PickleValue keys) {
    if (keys.kind != Kind::kList) return failure("has no list of storages");
    // A key may be asked for by several tensors; they agree about its size or are refused by place_tensors.
    std::unordered_map<std::string_view, std::uint64_t> widths;
    for (std::uint32_t i = 0; i < heap_.storage_count(); ++i) {
      const PickleStorage& storage = heap_.storage(i);
      widths.emplace(heap_.text(storage.key), storage.dtype ? dtype_bytes(*storage.dtype) : 1);
    }
    Places places;
    for (const PickleValue& value : heap_.list(keys)) {
      const std::string_view key = value.kind == Kind::kString ? heap_.text(value) : "";
      const auto width = widths.find(key);
      if (width == widths.end()) return failure("lists a storage \"{}\" that no tensor uses", printable(key));
      std::array<std::byte, 8> raw{};
      OCTAVO_TRY(source_.read_at(at_, raw));
      std::uint64_t count = 0;
      for (std::size_t i = 0; i < raw.size(); ++i) count |= std::to_integer<std::uint64_t>(raw[i]) << (8 * i);
      at_ += raw.size();
      std::uint64_t bytes = 0;
      if (__builtin_mul_overflow(count, width->second, &bytes) || bytes > source_.size() - at_) {
        return failure("truncated: storage \"{}\" has {} elements at byte {}, the file has {} bytes", printable(key),
                       count, at_, source_.size());
      }
      if (!places.emplace(key, Place{at_, bytes}).second) return failure("lists storage \"{}\" twice", printable(key));
      at_ += bytes;
    }
    return places;
  }

  const ByteSource& source_;
  PickleHeap heap_;
  Unpickler unpickler_;
  std::uint64_t at_ = 0;
};

}  // namespace

Result<TorchFile> read_torch_file(const ByteSource& source) {
  std::array<char, 24> head{};
  const auto begin = std::span(head).first(std::min<std::uint64_t>(head.size(), source.size()));
  OCTAVO_TRY(source.read_at(0, std::as_writable_bytes(begin)));
  const std::string_view text(begin.data(), begin.size());
  if (text.starts_with("PK\x03\x04")) return ZipFormat(source).read();
  if (text.starts_with('\x80')) return LegacyFormat(source).read();
  if (text.starts_with("version https://git-lfs")) {
    return failure("{}: a pointer of Git LFS, the weights themselves were not downloaded", source.describe());
  }
  return failure("{}: neither a ZIP archive nor a pickle: not written by torch.save", source.describe());
}

}  // namespace octavo
