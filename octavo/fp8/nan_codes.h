// NaN among FP8 codes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "octavo/fp8/codec.h"

namespace octavo::fp8 {

// E4M3 has one NaN a sign, E5M2 three, FNUZ only 0x80.
constexpr bool is_nan(Format format, std::uint8_t code) {
  switch (format) {
    case Format::kE4M3: return (code & 0x7F) == 0x7F;
    case Format::kE5M2: return (code & 0x7F) > 0x7C;
    default: return code == 0x80;
  }
}

// The first; nullopt when there is none.
inline std::optional<std::size_t> find_nan(Format format, std::span<const std::uint8_t> codes) {
  bool any = false;  // without a branch, so that the usual case is quick
  for (const std::uint8_t code : codes) any |= is_nan(format, code);
  for (std::size_t i = 0; any && i < codes.size(); ++i) {
    if (is_nan(format, codes[i])) return i;
  }
  return std::nullopt;
}

}  // namespace octavo::fp8
