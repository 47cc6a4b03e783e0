// Parser of the GGUF head. Every count is checked against the bytes that are left before anything is allocated for it.
#include "octavo/checkpoint/gguf/container.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "octavo/base/text.h"

namespace octavo {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kMaxName = 65535;  // the format's limit for keys; tensor names are shorter
constexpr std::uint32_t kMaxDims = 4;
constexpr int kMaxArrayDepth = 4;

constexpr std::array<std::string_view, 13> kTypeNames = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                         "bool", "string", "array", "u64", "i64", "f64"};
// Bytes of one element; for strings and arrays the least one can take (its length; its type and count).
constexpr std::array<std::uint8_t, 13> kLeastBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

template <typename T>
T load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace

std::string_view gguf_type_name(GgufType type) { return kTypeNames[static_cast<std::size_t>(type)]; }

double GgufArray::number(std::size_t i) const {
  const char* at = text_.data() + i * kLeastBytes[static_cast<std::size_t>(element)];
  switch (element) {
    case GgufType::kU8:
    case GgufType::kBool: return load<std::uint8_t>(at);
    case GgufType::kI8: return load<std::int8_t>(at);
    case GgufType::kU16: return load<std::uint16_t>(at);
    case GgufType::kI16: return load<std::int16_t>(at);
    case GgufType::kU32: return load<std::uint32_t>(at);
    case GgufType::kI32: return load<std::int32_t>(at);
    case GgufType::kF32: return static_cast<double>(load<float>(at));
    case GgufType::kU64: return static_cast<double>(load<std::uint64_t>(at));
    case GgufType::kI64: return static_cast<double>(load<std::int64_t>(at));
    case GgufType::kF64: return load<double>(at);
    case GgufType::kString:
    case GgufType::kArray: break;
  }
  return 0.0;
}

// Reads the head front to back through a buffer.
class GgufParser {
 public:
  explicit GgufParser(const ByteSource& source)
      : source_(source),
        end_(std::min(source.size(), kMaxGgufHead)),
        buffer_(std::min<std::uint64_t>(end_, 1u << 16)) {}

  Result<GgufFile> parse() {
    GgufFile file;
    file.origin = source_.describe();
    origin_ = file.origin;
    std::uint64_t tensor_count = 0;
    std::uint64_t key_count = 0;
    OCTAVO_TRY(parse_preamble(file.version));
    OCTAVO_TRY(number(tensor_count, "the tensor count"));
    OCTAVO_TRY(number(key_count, "the metadata count"));
    // A tensor's place takes at least 8 + 4 + 4 + 8 bytes, a key-value at least 8 + 4 + 1.
    if (tensor_count > kMaxGgufTensors || tensor_count > left() / 24) {
      return failure("{}: claims {} tensors, more than the file can hold or than the limit of {}", origin_,
                     tensor_count, kMaxGgufTensors);
    }
    if (key_count > kMaxGgufKeys || key_count > left() / 13) {
      return failure("{}: claims {} metadata keys, more than the file can hold or than the limit of {}", origin_,
                     key_count, kMaxGgufKeys);
    }
    for (std::uint64_t i = 0; i < key_count; ++i) OCTAVO_TRY(parse_key_value(file));
    OCTAVO_ASSIGN(const std::uint64_t alignment, alignment_of(file));
    file.tensors.reserve(tensor_count);
    std::unordered_set<std::string> names;
    for (std::uint64_t i = 0; i < tensor_count; ++i) {
      OCTAVO_TRY(parse_tensor(file, alignment));
      if (!names.insert(file.tensors.back().name).second) {
        return failure("{}: tensor '{}' stands twice in the file", origin_, printable(file.tensors.back().name));
      }
    }
    OCTAVO_TRY(place_tensors(file, alignment));
    return file;
  }

 private:
  std::uint64_t left() const { return end_ - position_; }

  Status need(std::uint64_t bytes, std::string_view what) const {
    if (bytes <= left()) return {};
    if (end_ < source_.size()) {
      return failure("{}: {} at byte {} does not fit in the {} of metadata that Octavo reads", origin_, what, position_,
                     human_bytes(kMaxGgufHead));
    }
    return failure("{}: ends at byte {}, in the middle of {}; the file is cut short or damaged", origin_,
                   source_.size(), what);
  }

  Status bytes(std::span<std::byte> out, std::string_view what) {
    OCTAVO_TRY(need(out.size(), what));
    while (!out.empty()) {
      if (position_ < buffer_begin_ || position_ >= buffer_begin_ + filled_) {
        filled_ = static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), left()));
        buffer_begin_ = position_;
        OCTAVO_TRY(source_.read_at(position_, std::span(buffer_).first(filled_)));
      }
      const auto at = static_cast<std::size_t>(position_ - buffer_begin_);
      const std::size_t n = std::min(out.size(), filled_ - at);
      std::memcpy(out.data(), buffer_.data() + at, n);
      out = out.subspan(n);
      position_ += n;
    }
    return {};
  }

  template <typename T>
  Status number(T& value, std::string_view what) {
    return bytes(std::as_writable_bytes(std::span(&value, 1)), what);
  }

  // Appends a string (u64 length, bytes) to `out`.
  Status string(std::string& out, std::uint64_t longest, std::string_view what) {
    std::uint64_t length = 0;
    OCTAVO_TRY(number(length, what));
    if (length > longest) {
      return failure("{}: {} at byte {} claims {} bytes, at most {} are possible", origin_, what, position_, length,
                     longest);
    }
    OCTAVO_TRY(need(length, what));
    const std::size_t begin = out.size();
    out.resize(begin + static_cast<std::size_t>(length));
    return bytes(as_writable_bytes(out).subspan(begin), what);
  }

  Status parse_preamble(std::uint32_t& version) {
    std::uint32_t magic = 0;
    if (source_.size() < 8) return failure("{}: not a GGUF file: only {} bytes long", origin_, source_.size());
    OCTAVO_TRY(number(magic, "the magic"));
    OCTAVO_TRY(number(version, "the version"));
    if (magic != kMagic && magic != std::uint32_t{0x47475546}) {
      return failure("{}: not a GGUF file: it does not begin with the letters GGUF", origin_);
    }
    // A big-endian file has the same four letters, then the version with its bytes the other way round.
    if (magic != kMagic || (version & 0xFFFFu) == 0) {
      return failure("{}: a big-endian GGUF file; Octavo reads little-endian ones, convert it with gguf_convert_endian",
                     origin_);
    }
    if (version == 1) {
      return failure(
          "{}: GGUF version 1, which was replaced in 2023; Octavo reads versions 2 and 3, convert the model "
          "again with a current llama.cpp",
          origin_);
    }
    if (version != 2 && version != 3) {
      return failure("{}: GGUF version {}; Octavo reads versions 2 and 3", origin_, version);
    }
    return {};
  }

  Status parse_key_value(GgufFile& file) {
    std::string key;
    OCTAVO_TRY(string(key, kMaxName, "a metadata key"));
    OCTAVO_ASSIGN(GgufValue value, parse_value(key));
    if (!file.metadata.emplace(key, std::move(value)).second) {
      return failure("{}: metadata key '{}' stands twice in the file", origin_, printable(key));
    }
    return {};
  }

  Result<GgufType> type_of(const std::string& key) {
    std::uint32_t type = 0;
    OCTAVO_TRY(number(type, "a value's type"));
    if (type >= kTypeNames.size()) {
      return failure("{}: metadata key '{}' has the unknown value type {}", origin_, printable(key), type);
    }
    return static_cast<GgufType>(type);
  }

  template <typename T, typename Kept>
  Status scalar(GgufValue& value, std::string_view what) {
    T read{};
    OCTAVO_TRY(number(read, what));
    value.data = static_cast<Kept>(read);
    return {};
  }

  Result<GgufValue> parse_value(const std::string& key) {
    OCTAVO_ASSIGN(const GgufType type, type_of(key));
    GgufValue value{type, std::uint64_t{0}};
    const std::string what = fmt::format("the value of '{}'", printable(key));
    switch (type) {
      case GgufType::kU8: OCTAVO_TRY((scalar<std::uint8_t, std::uint64_t>(value, what))); break;
      case GgufType::kU16: OCTAVO_TRY((scalar<std::uint16_t, std::uint64_t>(value, what))); break;
      case GgufType::kU32: OCTAVO_TRY((scalar<std::uint32_t, std::uint64_t>(value, what))); break;
      case GgufType::kU64: OCTAVO_TRY((scalar<std::uint64_t, std::uint64_t>(value, what))); break;
      case GgufType::kI8: OCTAVO_TRY((scalar<std::int8_t, std::int64_t>(value, what))); break;
      case GgufType::kI16: OCTAVO_TRY((scalar<std::int16_t, std::int64_t>(value, what))); break;
      case GgufType::kI32: OCTAVO_TRY((scalar<std::int32_t, std::int64_t>(value, what))); break;
      case GgufType::kI64: OCTAVO_TRY((scalar<std::int64_t, std::int64_t>(value, what))); break;
      case GgufType::kF32: OCTAVO_TRY((scalar<float, double>(value, what))); break;
      case GgufType::kF64: OCTAVO_TRY((scalar<double, double>(value, what))); break;
      case GgufType::kBool: {
        std::uint8_t read = 0;
        OCTAVO_TRY(number(read, what));
        if (read > 1) return failure("{}: {} is the byte {}, which is no bool", origin_, what, read);
        value.data = read == 1;
        break;
      }
      case GgufType::kString: {
        std::string text;
        OCTAVO_TRY(string(text, kMaxGgufHead, what));
        value.data = std::move(text);
        break;
      }
      case GgufType::kArray: {
        GgufArray array;
        OCTAVO_TRY(parse_array(array, key, what, 1));
        value.data = std::move(array);
        break;
      }
    }
    return value;
  }

  Status parse_array(GgufArray& array, const std::string& key, const std::string& what, int depth) {
    if (depth > kMaxArrayDepth) {
      return failure("{}: {} nests arrays deeper than {}", origin_, what, kMaxArrayDepth);
    }
    OCTAVO_ASSIGN(array.element, type_of(key));
    std::uint64_t count = 0;
    OCTAVO_TRY(number(count, what));
    const std::uint64_t least = kLeastBytes[static_cast<std::size_t>(array.element)];
    if (count > left() / least) {
      return failure("{}: {} claims {} elements, more than the file can hold; it is cut short or damaged", origin_,
                     what, count);
    }
    if (array.element == GgufType::kArray) {
      for (std::uint64_t i = 0; i < count; ++i) {
        GgufArray inner;  // checked, then dropped
        OCTAVO_TRY(parse_array(inner, key, what, depth + 1));
      }
      return {};
    }
    array.count_ = static_cast<std::size_t>(count);
    if (array.element != GgufType::kString) {
      array.text_.resize(array.count_ * static_cast<std::size_t>(least));
      return bytes(as_writable_bytes(array.text_), what);
    }
    array.ends_.reserve(array.count_);
    for (std::uint64_t i = 0; i < count; ++i) {
      OCTAVO_TRY(string(array.text_, kMaxGgufHead, what));
      array.ends_.push_back(static_cast<std::uint32_t>(array.text_.size()));  // the head is below 4 GiB
    }
    return {};
  }

  Result<std::uint64_t> alignment_of(const GgufFile& file) {
    OCTAVO_ASSIGN(const auto stated, file.natural("general.alignment"));
    const std::uint64_t alignment = stated.value_or(kDefaultAlignment);
    if (!std::has_single_bit(alignment) || alignment > std::numeric_limits<std::uint32_t>::max()) {
      return failure("{}: general.alignment is {}, which is no power of two", origin_, alignment);
    }
    return alignment;
  }

  // Reads one tensor's place; its offset is still relative to the data section.
  Status parse_tensor(GgufFile& file, std::uint64_t alignment) {
    GgufTensor tensor;
    OCTAVO_TRY(string(tensor.name, kMaxName, "a tensor's name"));
    const std::string shown = printable(tensor.name);
    const std::string what = fmt::format("the place of tensor '{}'", shown);
    std::uint32_t dims = 0;
    OCTAVO_TRY(number(dims, what));
    if (dims == 0 || dims > kMaxDims) {
      return failure("{}: tensor '{}' has {} dimensions, 1 to {} are possible", origin_, shown, dims, kMaxDims);
    }
    tensor.shape.resize(dims);
    for (std::uint32_t i = dims; i-- > 0;) {
      OCTAVO_TRY(number(tensor.shape[i], what));  // innermost first in the file
    }
    std::uint32_t type = 0;
    OCTAVO_TRY(number(type, what));
    OCTAVO_TRY(number(tensor.offset, what));
    tensor.type = find_ggml_type(type);
    if (tensor.type == nullptr) {
      return failure("{}: tensor '{}' has the unknown ggml type {}; Octavo decodes {}", origin_, shown, type,
                     decodable_ggml_types());
    }
    const std::optional<std::uint64_t> elements = element_count(tensor.shape);
    if (!elements || *elements == 0 || *elements > std::uint64_t{1} << 60) {
      return failure("{}: tensor '{}' has the impossible shape {}", origin_, shown, shape_string(tensor.shape));
    }
    if (tensor.shape.back() % tensor.type->block_elements != 0) {
      return failure("{}: tensor '{}' has rows of {} elements, which blocks of {} ({}) do not fill", origin_, shown,
                     tensor.shape.back(), tensor.type->block_elements, tensor.type->name);
    }
    if (tensor.offset % alignment != 0) {
      return failure("{}: tensor '{}' begins at {}, which is not aligned to {}", origin_, shown, tensor.offset,
                     alignment);
    }
    tensor.elements = *elements;
    // At most 2^60 elements; one-element blocks have at most 8 bytes, so this fits 64 bits.
    tensor.bytes = tensor.elements / tensor.type->block_elements * tensor.type->block_bytes;
    file.tensors.push_back(std::move(tensor));
    return {};
  }

  // Makes offsets absolute and checks that every tensor lies inside the file, apart from the others. (Tensors that
  // share bytes would let a small file claim any amount of data.)
  Status place_tensors(GgufFile& file, std::uint64_t alignment) {
    const std::uint64_t data_begin = (position_ + alignment - 1) / alignment * alignment;
    const std::uint64_t size = source_.size();
    for (GgufTensor& tensor : file.tensors) {
      const std::uint64_t room = size > data_begin ? size - data_begin : 0;
      if (tensor.offset > room || tensor.bytes > room - tensor.offset) {
        return failure("{}: tensor '{}' ends beyond the end of the file ({} bytes); it is cut short or damaged",
                       origin_, printable(tensor.name), size);
      }
      tensor.offset += data_begin;
    }
    std::vector<const GgufTensor*> order;
    order.reserve(file.tensors.size());
    for (const GgufTensor& tensor : file.tensors) order.push_back(&tensor);
    std::sort(order.begin(), order.end(),
              [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
    for (std::size_t i = 1; i < order.size(); ++i) {
      if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset) {
        return failure("{}: tensors '{}' and '{}' overlap; the file is damaged", origin_, printable(order[i - 1]->name),
                       printable(order[i]->name));
      }
    }
    return {};
  }

  const ByteSource& source_;
  std::string origin_;
  std::uint64_t end_;           // of what may be read as head
  std::uint64_t position_ = 0;  // of the next byte
  std::vector<std::byte> buffer_;
  std::uint64_t buffer_begin_ = 0;
  std::size_t filled_ = 0;
};

Result<GgufFile> parse_gguf(const ByteSource& source) { return GgufParser(source).parse(); }

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(), [&](const GgufTensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

namespace {

Error wrong_type(const GgufFile& file, std::string_view key, GgufType type, std::string_view wanted) {
  return failure("{}: metadata key '{}' is of type {}, {} is wanted", file.origin, key, gguf_type_name(type), wanted);
}

const GgufValue* find_value(const GgufFile& file, std::string_view key) {
  const auto found = file.metadata.find(key);
  return found == file.metadata.end() ? nullptr : &found->second;
}

}  // namespace

Result<std::optional<std::uint64_t>> GgufFile::natural(std::string_view key) const {
  const GgufValue* value = find_value(*this, key);
  if (value == nullptr) return std::optional<std::uint64_t>{};
  if (const auto* n = std::get_if<std::uint64_t>(&value->data)) return std::optional(*n);
  if (const auto* n = std::get_if<std::int64_t>(&value->data)) {
    if (*n < 0) return failure("{}: metadata key '{}' is {}, which is negative", origin, key, *n);
    return std::optional(static_cast<std::uint64_t>(*n));
  }
  return wrong_type(*this, key, value->type, "an integer");
}

Result<std::optional<double>> GgufFile::real(std::string_view key) const {
  const GgufValue* value = find_value(*this, key);
  if (value == nullptr) return std::optional<double>{};
  if (const auto* x = std::get_if<double>(&value->data)) return std::optional(*x);
  if (const auto* n = std::get_if<std::uint64_t>(&value->data)) return std::optional(static_cast<double>(*n));
  if (const auto* n = std::get_if<std::int64_t>(&value->data)) return std::optional(static_cast<double>(*n));
  return wrong_type(*this, key, value->type, "a number");
}

Result<std::optional<bool>> GgufFile::boolean(std::string_view key) const {
  const GgufValue* value = find_value(*this, key);
  if (value == nullptr) return std::optional<bool>{};
  if (const auto* b = std::get_if<bool>(&value->data)) return std::optional(*b);
  return wrong_type(*this, key, value->type, "a bool");
}

Result<std::optional<std::string>> GgufFile::string(std::string_view key) const {
  const GgufValue* value = find_value(*this, key);
  if (value == nullptr) return std::optional<std::string>{};
  if (const auto* s = std::get_if<std::string>(&value->data)) {
    if (!is_valid_utf8(*s)) return failure("{}: metadata key '{}' is not valid UTF-8", origin, key);
    return std::optional(*s);
  }
  return wrong_type(*this, key, value->type, "a string");
}

Result<const GgufArray*> GgufFile::strings(std::string_view key) const {
  const GgufValue* value = find_value(*this, key);
  if (value == nullptr) return static_cast<const GgufArray*>(nullptr);
  const auto* array = std::get_if<GgufArray>(&value->data);
  if (array == nullptr || array->element != GgufType::kString) {
    return wrong_type(*this, key, value->type, "an array of strings");
  }
  return array;
}

Result<const GgufArray*> GgufFile::numbers(std::string_view key) const {
  const GgufValue* value = find_value(*this, key);
  if (value == nullptr) return static_cast<const GgufArray*>(nullptr);
  const auto* array = std::get_if<GgufArray>(&value->data);
  if (array == nullptr || array->element == GgufType::kString || array->element == GgufType::kArray) {
    return wrong_type(*this, key, value->type, "an array of numbers");
  }
  return array;
}

}  // namespace octavo
