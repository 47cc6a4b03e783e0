// The block formats of ggml: names, sizes, and decoding to floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace octavo {

struct GgmlType {
  std::uint32_t id = 0;  // as in the file
  std::string_view name;
  std::uint32_t block_elements = 1;
  std::uint32_t block_bytes = 0;
  // Decodes `blocks` whole blocks: reads blocks * block_bytes, writes blocks * block_elements floats. Null for a type
  // that is known by name only. Bit-equal to gguf.quants.dequantize of the Python package gguf.
  void (*decode)(const std::byte* in, std::size_t blocks, float* out) = nullptr;
};

const GgmlType* find_ggml_type(std::uint32_t id);  // nullptr when unknown
std::string decodable_ggml_types();                // "F32, F16, Q4_0, ..." for messages

// No block is longer; a multiple of every block length.
inline constexpr std::size_t kMaxGgmlBlock = 256;

}  // namespace octavo
