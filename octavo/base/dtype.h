// Element types with their safetensors names, and shapes with checked arithmetic.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace octavo {

// The dtypes of the safetensors format, in its enumeration order (which is also its alignment order).
enum class DType : std::uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3FNUZ,
  kF8E5M2FNUZ,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

std::string_view dtype_name(DType dtype);                                   // "BF16"
std::optional<DType> dtype_from_name(std::string_view name);                // exact safetensors spelling
unsigned dtype_bits(DType dtype);                                           // 16; sub-byte types have 4 or 6
inline unsigned dtype_bytes(DType dtype) { return dtype_bits(dtype) / 8; }  // 0 for sub-byte types

inline bool is_fp8(DType d) {
  return d == DType::kF8E4M3 || d == DType::kF8E5M2 || d == DType::kF8E4M3FNUZ || d == DType::kF8E5M2FNUZ;
}
// The dtypes the quantizer reads.
inline bool is_quantizable(DType d) { return d == DType::kBF16 || d == DType::kF16 || d == DType::kF32; }

using Shape = std::vector<std::uint64_t>;  // outermost first; empty = scalar

std::string shape_string(const Shape& shape);                    // "[576, 1536]"
std::optional<std::uint64_t> element_count(const Shape& shape);  // nullopt when the product overflows 64 bits
// Bytes of a dense tensor; nullopt on overflow or when a sub-byte tensor does not fill whole bytes.
std::optional<std::uint64_t> byte_count(DType dtype, const Shape& shape);

}  // namespace octavo
