// The GGUF container (versions 2 and 3, little-endian): metadata and tensor places. Reads only the head of the file;
// tensor data is read by offset. Layout: docs/formats.md, "GGUF".
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "octavo/base/dtype.h"
#include "octavo/base/file.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/gguf/blocks.h"

namespace octavo {

// Limits that no real file comes near; a hostile one is refused before it costs memory.
inline constexpr std::uint64_t kMaxGgufHead = 256u << 20;  // bytes of metadata and tensor places
inline constexpr std::uint64_t kMaxGgufKeys = 1u << 16;
inline constexpr std::uint64_t kMaxGgufTensors = 1u << 20;

enum class GgufType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};
std::string_view gguf_type_name(GgufType type);  // "u32", "string"

// An array of strings or of numbers, packed as in the file: never larger in memory than on disk. An array of arrays is
// checked and dropped (no key this project reads is one): its size() is 0.
class GgufArray {
 public:
  GgufType element = GgufType::kU8;
  std::size_t size() const { return count_; }
  std::string_view string(std::size_t i) const {  // element == kString
    const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(text_).substr(begin, ends_[i] - begin);
  }
  double number(std::size_t i) const;  // element is any number or kBool; exact up to 53 bits

 private:
  friend class GgufParser;
  std::size_t count_ = 0;
  std::string text_;                 // the strings, or the packed numbers
  std::vector<std::uint32_t> ends_;  // where each string ends in text_
};

struct GgufValue {
  GgufType type = GgufType::kU8;
  // Unsigned, signed (of any width), floating, bool, string, array.
  std::variant<std::uint64_t, std::int64_t, double, bool, std::string, GgufArray> data;
};

struct GgufTensor {
  std::string name;
  const GgmlType* type = nullptr;  // never null after parsing
  Shape shape;                     // outermost first: the file's order reversed
  std::uint64_t offset = 0;        // from the start of the file
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;
};

struct GgufFile {
  std::string origin;  // the path, for messages
  std::uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;  // in file order; places checked against the file's size, none overlap

  const GgufTensor* find_tensor(std::string_view name) const;  // nullptr when absent; linear

  // Metadata by key. nullopt / nullptr when absent; an error when the value has another type.
  Result<std::optional<std::uint64_t>> natural(std::string_view key) const;  // any integer type, not negative
  Result<std::optional<double>> real(std::string_view key) const;            // f32, f64 or an integer
  Result<std::optional<bool>> boolean(std::string_view key) const;
  Result<std::optional<std::string>> string(std::string_view key) const;
  Result<const GgufArray*> strings(std::string_view key) const;  // array of strings
  Result<const GgufArray*> numbers(std::string_view key) const;  // array of numbers or bools
};

// Parses the head of a GGUF file. Every error is one sentence that starts with the source's name.
Result<GgufFile> parse_gguf(const ByteSource& source);

}  // namespace octavo
