// Element types and shapes: names, widths, overflow-checked sizes.
#include "octavo/base/dtype.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>

namespace octavo {
namespace {

struct DTypeInfo {
  std::string_view name;
  unsigned bits;
};

constexpr std::array<DTypeInfo, 22> kInfo{{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};
static_assert(kInfo.size() == static_cast<std::size_t>(DType::kU64) + 1);

}  // namespace

std::string_view dtype_name(DType dtype) { return kInfo[static_cast<std::size_t>(dtype)].name; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kInfo.size(); ++i) {
    if (kInfo[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

unsigned dtype_bits(DType dtype) { return kInfo[static_cast<std::size_t>(dtype)].bits; }

std::string shape_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::optional<std::uint64_t> element_count(const Shape& shape) {
  // A zero dimension makes the tensor empty, but the others must still be a shape that fits 64 bits.
  std::uint64_t count = 1;
  bool empty = false;
  for (const std::uint64_t dim : shape) {
    if (dim == 0) {
      empty = true;
      continue;
    }
    if (__builtin_mul_overflow(count, dim, &count)) return std::nullopt;
  }
  return empty ? 0 : count;
}

std::optional<std::uint64_t> byte_count(DType dtype, const Shape& shape) {
  const auto count = element_count(shape);
  if (!count) return std::nullopt;
  std::uint64_t bits = 0;
  if (__builtin_mul_overflow(*count, std::uint64_t{dtype_bits(dtype)}, &bits)) return std::nullopt;
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

}  // namespace octavo
