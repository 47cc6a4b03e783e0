// The safetensors container: parse and lay out headers. Facts: docs/formats.md, "safetensors".
#include "octavo/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "octavo/base/ceil_div.h"
#include "octavo/base/json.h"
#include "octavo/base/name_table.h"
#include "octavo/base/text.h"

namespace octavo {
namespace {

// NumPy's and PyTorch's limit; the format has none, and a header of 100 MB would hold a shape of as many dimensions.
constexpr std::size_t kMaxDimensions = 64;
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::size_t kMaxMetadata = 4 << 20;  // bytes in memory; what is seen in the wild has some hundreds

// The header as events: {"__metadata__": {string: string}, "name": {"dtype", "shape", "data_offsets"}, ...}.
class HeaderEvents final : public JsonEvents {
 public:
  std::vector<TensorEntry> tensors;
  auto name_of() const {
    return [this](std::uint32_t i) -> std::string_view { return tensors[i].name; };
  }
  std::map<std::string, std::string> metadata;

  Status null() override { return unexpected("null"); }
  Status boolean(bool) override { return unexpected("a boolean"); }
  Status integer(std::int64_t) override { return unexpected("a negative number"); }
  Status real(double) override { return unexpected("a number that is no integer"); }
  Status natural(std::uint64_t value) override {
    if (state_ != State::kList) return unexpected("a number");
    if (list_.size() == kMaxDimensions) {
      return failure("tensor \"{}\": {} holds more than {} numbers", printable(name_), key_, kMaxDimensions);
    }
    list_.push_back(value);
    return {};
  }
  Status string(std::string& value) override {
    if (state_ == State::kMetadata) {
      // A map's entry weighs more than the shortest text it can come from.
      constexpr std::size_t kEntry = 128;
      metadata_bytes_ += key_.size() + value.size() + kEntry;
      if (metadata_bytes_ > kMaxMetadata) {
        return failure("__metadata__ is over Octavo's limit of {} MiB", kMaxMetadata >> 20);
      }
      metadata.emplace(std::move(key_), std::move(value));
      return {};
    }
    if (state_ != State::kTensor || key_ != "dtype") return unexpected("a string");
    dtype_ = dtype_from_name(value);
    if (!dtype_) return failure("tensor \"{}\": unknown dtype \"{}\"", printable(name_), printable(value));
    return {};
  }
  Status begin_object() override {
    if (state_ == State::kStart) {
      state_ = State::kTop;
    } else if (state_ == State::kTop) {
      state_ = name_ == kMetadataKey ? State::kMetadata : State::kTensor;
      dtype_.reset();
      shape_.reset();
      offsets_.reset();
    } else {
      return unexpected("an object");
    }
    has_dtype_ = has_shape_ = has_offsets_ = false;
    return {};
  }
  Status key(std::string& key) override {
    if (state_ == State::kTop) {
      const bool twice =
          key == kMetadataKey ? std::exchange(has_metadata_, true) : names_.find(key, name_of()) != NameTable::kNone;
      if (twice) return failure("tensor \"{}\" appears twice", printable(key));
      name_ = std::move(key);
      return {};
    }
    if (state_ == State::kMetadata) {
      if (metadata.contains(key)) return appears_twice(key);
    } else {
      bool* has = key == "dtype" ? &has_dtype_ : key == "shape" ? &has_shape_ : nullptr;
      if (key == "data_offsets") has = &has_offsets_;
      if (has == nullptr) return failure("tensor \"{}\": unknown key \"{}\"", printable(name_), printable(key));
      if (std::exchange(*has, true)) return appears_twice(key);
    }
    key_ = std::move(key);
    return {};
  }
  Status end_object() override {
    if (state_ == State::kTensor) {
      if (!dtype_ || !shape_ || !offsets_) {
        return failure("tensor \"{}\": needs dtype, shape and data_offsets", printable(name_));
      }
      if (offsets_->size() != 2 || (*offsets_)[0] > (*offsets_)[1]) {
        return failure("tensor \"{}\": data_offsets must be [begin, end] with begin <= end", printable(name_));
      }
      tensors.push_back({std::move(name_), *dtype_, std::move(*shape_), (*offsets_)[0], (*offsets_)[1]});
      names_.add(tensors.back().name, static_cast<std::uint32_t>(tensors.size() - 1), name_of());
    }
    state_ = state_ == State::kTop ? State::kEnd : State::kTop;
    return {};
  }
  Status begin_array() override {
    if (state_ != State::kTensor || key_ == "dtype") return unexpected("a list");
    state_ = State::kList;
    list_.clear();
    return {};
  }
  Status end_array() override {
    state_ = State::kTensor;
    (key_ == "shape" ? shape_ : offsets_) = std::move(list_);
    return {};
  }

 private:
  enum class State { kStart, kTop, kMetadata, kTensor, kList, kEnd };

  Status appears_twice(std::string_view key) const {
    return failure("\"{}\" appears twice in the entry of \"{}\"", printable(key), printable(name_));
  }
  Status unexpected(std::string_view what) const {
    switch (state_) {
      case State::kStart: return failure("the header must be an object, not {}", what);
      case State::kMetadata: return failure("__metadata__: \"{}\" must be a string, not {}", printable(key_), what);
      case State::kList: return failure("tensor \"{}\": {} holds {}", printable(name_), key_, what);
      case State::kTensor: return failure("tensor \"{}\": {} cannot be {}", printable(name_), printable(key_), what);
      default: return failure("the entry of \"{}\" must be an object, not {}", printable(name_), what);
    }
  }

  State state_ = State::kStart;
  std::string name_, key_;
  NameTable names_;  // of tensors
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  std::size_t metadata_bytes_ = 0;
  std::vector<std::uint64_t> list_;
  std::optional<DType> dtype_;
  std::optional<Shape> shape_, offsets_;
};

// Without the spaces at the end, which pad headers. There is another byte.
Result<std::uint64_t> length_without_spaces(const JsonRange& json) {
  std::array<char, 4096> buffer{};
  for (std::uint64_t end = json.length; end > 0;) {
    const auto part = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), end));
    OCTAVO_TRY(json.source.read_at(json.offset + end - part.size(), std::as_writable_bytes(part)));
    const std::string_view text(part.data(), part.size());
    if (const std::size_t last = text.find_last_not_of(' '); last != text.npos) return end - part.size() + last + 1;
    end -= part.size();
  }
  return std::uint64_t{0};
}

// The tensors, in data order, must tile [0, data_size) without hole or overlap.
Status check_tiling(const std::vector<TensorEntry>& tensors, std::uint64_t data_size, std::string_view origin) {
  std::uint64_t at = 0;
  const TensorEntry* previous = nullptr;
  for (const TensorEntry& t : tensors) {
    const auto bytes = byte_count(t.dtype, t.shape);
    if (!bytes) {
      return failure("{}: tensor \"{}\": shape {} of {} overflows or does not fill whole bytes", origin,
                     printable(t.name), shape_string(t.shape), dtype_name(t.dtype));
    }
    if (t.bytes() != *bytes) {
      return failure("{}: tensor \"{}\": {} {} needs {} bytes, data_offsets give {}", origin, printable(t.name),
                     dtype_name(t.dtype), shape_string(t.shape), *bytes, t.bytes());
    }
    if (t.begin < at) {
      return failure("{}: tensors \"{}\" and \"{}\" overlap", origin, printable(previous->name), printable(t.name));
    }
    if (t.begin > at) {
      return failure("{}: {} bytes before tensor \"{}\" belong to no tensor", origin, t.begin - at, printable(t.name));
    }
    at = t.end;
    previous = &t;
  }
  if (at > data_size) {
    return failure("{}: truncated: the header describes {} bytes of data, the file has {}", origin, at, data_size);
  }
  if (at < data_size) {
    return failure("{}: {} bytes behind the last tensor belong to no tensor", origin, data_size - at);
  }
  return {};
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors_header(const JsonRange& json, std::uint64_t data_size,
                                                   std::string_view origin) {
  std::array<char, 1> first{};
  if (json.length > 0) OCTAVO_TRY(json.source.read_at(json.offset, std::as_writable_bytes(std::span(first))));
  if (first[0] != '{') return failure("{}: the header does not start with '{{'", origin);
  OCTAVO_ASSIGN(const std::uint64_t length, length_without_spaces(json));
  std::array<char, 1> last{};
  OCTAVO_TRY(json.source.read_at(json.offset + length - 1, std::as_writable_bytes(std::span(last))));
  if (last[0] != '}') return failure("{}: the header does not end with '}}' and spaces", origin);

  constexpr int kDepth = 3;  // header, entry, list
  HeaderEvents events;
  JsonRange text = json;
  text.length = length;
  OCTAVO_TRY(parse_json_events(text, fmt::format("{}: header", origin), kDepth, events));
  SafetensorsHeader header{std::move(events.tensors), std::move(events.metadata), 0};
  std::sort(header.tensors.begin(), header.tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  OCTAVO_TRY(check_tiling(header.tensors, data_size, origin));
  return header;
}

Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, std::uint64_t data_size,
                                                   std::string_view origin) {
  const MemorySource source(as_bytes(json));
  JsonRange range{source};
  range.length = json.size();
  return parse_safetensors_header(range, data_size, origin);
}

Result<SafetensorsHeader> read_safetensors_header(const ByteSource& source) {
  const std::string origin = source.describe();
  if (source.size() < 8) {
    return failure("{}: {} bytes are too few for a safetensors file", origin, source.size());
  }
  std::array<std::byte, 8> prefix{};
  OCTAVO_TRY(source.read_at(0, prefix));
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < 8; ++i) length |= static_cast<std::uint64_t>(prefix[i]) << (8 * i);  // little-endian
  if (length > kMaxSafetensorsHeader) {
    return failure("{}: a header of {} bytes is over the format's limit of {}: not a safetensors file?", origin, length,
                   kMaxSafetensorsHeader);
  }
  if (length > source.size() - 8) {
    return failure("{}: truncated: the header needs {} bytes, the file has {}", origin, length, source.size() - 8);
  }
  JsonRange json{source};
  json.offset = 8;
  json.length = length;
  OCTAVO_ASSIGN(SafetensorsHeader header, parse_safetensors_header(json, source.size() - 8 - length, origin));
  header.data_begin = 8 + length;
  return header;
}

bool precedes(DType a_dtype, std::string_view a_name, DType b_dtype, std::string_view b_name) {
  // The enumeration order of DType is the format's alignment order.
  return a_dtype != b_dtype ? a_dtype > b_dtype : a_name < b_name;
}

namespace {

// The JSON of a header without its padding.
Status write_header_json(const Metadata& metadata, std::size_t count, const EntryAt& entry, const TextSink& sink) {
  BufferedText out(sink);
  char separator = '{';
  if (!metadata.empty()) {
    out.text() += "{\"__metadata__\":";
    for (const auto& [key, value] : metadata) {
      out.text() += separator;
      append_json_string(out.text(), key);
      out.text() += ':';
      append_json_string(out.text(), value);
      OCTAVO_TRY(out.more());
      separator = ',';
    }
    out.text() += '}';
    separator = ',';
  }
  for (std::size_t i = 0; i < count; ++i) {
    const EntryView e = entry(i);
    out.text() += separator;
    append_json_string(out.text(), e.name);
    fmt::format_to(std::back_inserter(out.text()), "{}{}{}", ":{\"dtype\":\"", dtype_name(e.dtype), "\",\"shape\":[");
    for (std::size_t d = 0; d < e.shape.size(); ++d) {
      fmt::format_to(std::back_inserter(out.text()), "{}{}", d == 0 ? "" : ",", e.shape[d]);
    }
    fmt::format_to(std::back_inserter(out.text()), "],\"data_offsets\":[{},{}]}}", e.begin, e.end);
    OCTAVO_TRY(out.more());
    separator = ',';
  }
  if (separator == '{') out.text() += '{';
  out.text() += '}';
  return out.finish();
}

}  // namespace

Result<std::uint64_t> safetensors_prefix_bytes(const Metadata& metadata, std::size_t count, const EntryAt& entry) {
  std::uint64_t bytes = 0;
  OCTAVO_TRY(write_header_json(metadata, count, entry, [&](std::string_view part) -> Status {
    bytes += part.size();
    return {};
  }));
  bytes = ceil_div(bytes, std::uint64_t{8}) * 8;  // data starts 8-aligned
  if (bytes > kMaxSafetensorsHeader) {
    return failure("a safetensors header of {} bytes is over the format's limit of {}: too many tensors in one file",
                   bytes, kMaxSafetensorsHeader);
  }
  return bytes + 8;
}

Status write_safetensors_prefix(const Metadata& metadata, std::size_t count, const EntryAt& entry,
                                const TextSink& sink) {
  OCTAVO_ASSIGN(const std::uint64_t bytes, safetensors_prefix_bytes(metadata, count, entry));
  std::string length(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(((bytes - 8) >> (8 * i)) & 0xFF);
  OCTAVO_TRY(sink(length));
  std::uint64_t written = 8;
  OCTAVO_TRY(write_header_json(metadata, count, entry, [&](std::string_view part) -> Status {
    written += part.size();
    return sink(part);
  }));
  return sink(std::string(bytes - written, ' '));
}

Result<std::string> lay_out_safetensors(std::vector<TensorEntry>& tensors,
                                        const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return precedes(a.dtype, a.name, b.dtype, b.name); });
  std::uint64_t at = 0;
  for (TensorEntry& t : tensors) {
    const auto bytes = byte_count(t.dtype, t.shape);
    if (!bytes || __builtin_add_overflow(at, *bytes, &t.end)) {
      return failure("tensor \"{}\": {} {} is too large", printable(t.name), dtype_name(t.dtype),
                     shape_string(t.shape));
    }
    t.begin = std::exchange(at, t.end);
  }
  const EntryAt entry = [&](std::size_t i) {
    const TensorEntry& t = tensors[i];
    return EntryView{t.name, t.dtype, t.shape, t.begin, t.end};
  };
  return collect_text(
      [&](const TextSink& sink) { return write_safetensors_prefix(metadata, tensors.size(), entry, sink); });
}

}  // namespace octavo
