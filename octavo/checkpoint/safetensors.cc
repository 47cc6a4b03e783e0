// The safetensors container: parse and lay out headers. Facts: docs/formats.md, "safetensors".
#include "octavo/checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>
#include <unordered_set>

#include "octavo/base/json.h"
#include "octavo/base/text.h"

namespace octavo {
namespace {

// NumPy's and PyTorch's limit; the format has none, and a header of 100 MB would hold a shape of as many dimensions.
constexpr std::size_t kMaxDimensions = 64;

// The header as events: {"__metadata__": {string: string}, "name": {"dtype", "shape", "data_offsets"}, ...}.
class HeaderEvents final : public JsonEvents {
 public:
  std::vector<TensorEntry> tensors;
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
      metadata[key_] = std::move(value);
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
      state_ = name_ == "__metadata__" ? State::kMetadata : State::kTensor;
      dtype_.reset();
      shape_.reset();
      offsets_.reset();
    } else {
      return unexpected("an object");
    }
    keys_.clear();
    return {};
  }
  Status key(std::string& key) override {
    if (state_ == State::kTop) {
      if (!names_.insert(key).second) return failure("tensor \"{}\" appears twice", printable(key));
      name_ = std::move(key);
      return {};
    }
    if (!keys_.insert(key).second) {
      return failure("\"{}\" appears twice in the entry of \"{}\"", printable(key), printable(name_));
    }
    if (state_ == State::kTensor && key != "dtype" && key != "shape" && key != "data_offsets") {
      return failure("tensor \"{}\": unknown key \"{}\"", printable(name_), printable(key));
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
      tensors.push_back({name_, *dtype_, std::move(*shape_), (*offsets_)[0], (*offsets_)[1]});
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
  std::unordered_set<std::string> names_, keys_;
  std::vector<std::uint64_t> list_;
  std::optional<DType> dtype_;
  std::optional<Shape> shape_, offsets_;
};

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

Result<SafetensorsHeader> parse_safetensors_header(std::string_view json, std::uint64_t data_size,
                                                   std::string_view origin) {
  if (json.empty() || json.front() != '{') return failure("{}: the header does not start with '{{'", origin);
  const std::size_t last = json.find_last_not_of(' ');
  if (json[last] != '}') return failure("{}: the header does not end with '}}' and spaces", origin);

  constexpr int kDepth = 3;  // header, entry, list
  HeaderEvents events;
  OCTAVO_TRY(parse_json_events(json, fmt::format("{}: header", origin), kDepth, events));
  SafetensorsHeader header{std::move(events.tensors), std::move(events.metadata), 0};
  std::sort(header.tensors.begin(), header.tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  OCTAVO_TRY(check_tiling(header.tensors, data_size, origin));
  return header;
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
  std::string json(length, '\0');
  OCTAVO_TRY(source.read_at(8, as_writable_bytes(json)));
  OCTAVO_ASSIGN(SafetensorsHeader header, parse_safetensors_header(json, source.size() - 8 - length, origin));
  header.data_begin = 8 + length;
  return header;
}

Result<std::string> lay_out_safetensors(std::vector<TensorEntry>& tensors,
                                        const std::map<std::string, std::string>& metadata) {
  // The enumeration order of DType is the format's alignment order.
  std::sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : a.name < b.name;
  });
  std::string json = "{";
  if (!metadata.empty()) json += "\"__metadata__\":" + Json(metadata).dump() + ",";
  std::uint64_t at = 0;
  for (TensorEntry& t : tensors) {
    const auto bytes = byte_count(t.dtype, t.shape);
    if (!bytes || __builtin_add_overflow(at, *bytes, &t.end)) {
      return failure("tensor \"{}\": {} {} is too large", printable(t.name), dtype_name(t.dtype),
                     shape_string(t.shape));
    }
    t.begin = std::exchange(at, t.end);
    json += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}},", Json(t.name).dump(),
                        dtype_name(t.dtype), Json(t.shape).dump(), t.begin, t.end);
  }
  if (json.back() == ',') json.pop_back();
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');  // data starts 8-aligned
  if (json.size() > kMaxSafetensorsHeader) {
    return failure("a safetensors header of {} bytes is over the format's limit of {}: too many tensors in one file",
                   json.size(), kMaxSafetensorsHeader);
  }
  std::string prefix(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) prefix[i] = static_cast<char>((json.size() >> (8 * i)) & 0xFF);
  return prefix + json;
}

}  // namespace octavo
