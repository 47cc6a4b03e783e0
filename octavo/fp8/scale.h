// Scales: from the largest magnitude of a group to the multiplier that is stored, and E8M0 exponents.
// Convention everywhere: value = float(code) * scale.
#pragma once

#include <bit>
#include <cstdint>

#include "octavo/fp8/codec.h"
#include "octavo/fp8/half.h"

namespace octavo::fp8 {

// E8M0: a power of two in a byte, value 2^(code - 127); 0xFF is NaN. There is no zero and no sign.
constexpr float e8m0_decode(std::uint8_t code) {
  if (code == 0xFF) return std::numeric_limits<float>::quiet_NaN();
  // 2^-127 is an FP32 subnormal.
  return code == 0 ? std::bit_cast<float>(0x00400000u) : std::bit_cast<float>(std::uint32_t{code} << 23);
}

// The smallest power of two that is >= value, clamped to E8M0's range [2^-127, 2^127]; NaN, zero and negative values
// give 0xFF.
constexpr std::uint8_t e8m0_encode_up(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (!(value > 0.0f) || bits > 0x7F800000u) return 0xFF;
  if (bits <= 0x00400000u) return 0;
  const std::uint32_t exponent = bits >> 23;
  const std::uint32_t up = exponent + ((bits & 0x7FFFFFu) != 0 ? 1 : 0);
  return static_cast<std::uint8_t>(up > 254 ? 254 : up);
}

// As scales are stored. kE8M0 holds powers of two alone, as MXFP8 has them: a byte, U8 in files.
enum class ScaleDType : std::uint8_t { kF32, kBF16, kE8M0 };

constexpr float round_scale(float scale, ScaleDType dtype) {
  if (dtype == ScaleDType::kE8M0) return e8m0_decode(e8m0_encode_up(scale));
  return dtype == ScaleDType::kBF16 ? bf16_to_float(float_to_bf16(scale)) : scale;
}

// The stored scale of a group whose largest magnitude is `amax` (finite, >= 0):
//   amax / max(format) in FP32, rounded up to a power of two if asked or stored as one, rounded to its stored dtype.
//   The caller quantizes with the returned value, so what is stored is what was used.
// An all-zero group gives 1. Where the result would round to zero it is the dtype's smallest positive number instead,
// so a stored scale is always finite and positive.
constexpr float scale_from_amax(float amax, Format format, ScaleDType dtype, bool pow2) {
  if (amax == 0.0f) return 1.0f;
  const float exact = amax / max_value(format);
  if (pow2 || dtype == ScaleDType::kE8M0) {  // exact in every scale dtype
    return e8m0_decode(exact == 0.0f ? std::uint8_t{0} : e8m0_encode_up(exact));
  }
  const float stored = round_scale(exact, dtype);
  if (stored != 0.0f) return stored;
  return std::bit_cast<float>(dtype == ScaleDType::kBF16 ? 0x00010000u : 0x00000001u);
}

}  // namespace octavo::fp8
