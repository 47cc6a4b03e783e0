// BF16 and FP16: every bit pattern by the format's formula, and rounding from FP32 against the C library's
// round-to-nearest-even on a grid; all FP32 inputs on demand (tests/support/exhaustive.h).
#include "octavo/fp8/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/support/exhaustive.h"
#include "tests/support/random_tensor.h"

namespace octavo::fp8 {
namespace {

struct HalfFormat {
  int mantissa_bits, bias;
  double largest;
  std::uint16_t infinity, quiet;
};
constexpr HalfFormat kBF16 = {7, 127, 0x1.FEp127, 0x7F80, 0x0040};
constexpr HalfFormat kF16 = {10, 15, 65504.0, 0x7C00, 0x0200};

double specified_value(const HalfFormat& half, std::uint16_t bits) {
  const double sign = bits >= 0x8000 ? -1.0 : 1.0;
  const int magnitude = bits % 0x8000;
  if (magnitude > half.infinity) return std::numeric_limits<double>::quiet_NaN();
  if (magnitude == half.infinity) return sign * std::numeric_limits<double>::infinity();
  const int steps = 1 << half.mantissa_bits;
  const double fraction = static_cast<double>(magnitude % steps) / steps;
  const int exponent = magnitude / steps;
  return exponent == 0 ? sign * std::ldexp(fraction, 1 - half.bias)
                       : sign * std::ldexp(1 + fraction, exponent - half.bias);
}

// The value that `value` (not NaN) must round to. The grid's step follows from its exponent, and nearbyint on a
// multiple of it rounds ties to even.
double rounded(const HalfFormat& half, float value) {
  if (value == 0 || std::isinf(value)) return value;
  const int exponent = std::max(std::ilogb(value), 1 - half.bias) - half.mantissa_bits;
  const double result = std::ldexp(std::nearbyint(std::ldexp(static_cast<double>(value), -exponent)), exponent);
  if (std::fabs(result) > half.largest) return std::copysign(std::numeric_limits<double>::infinity(), value);
  return result;
}

Status check(const char* name, const HalfFormat& half, float value, std::uint16_t got) {
  const double decoded = specified_value(half, got);
  bool good = std::signbit(decoded) == std::signbit(value) && decoded == rounded(half, value);
  if (std::isnan(value)) {
    good = (got & 0x7FFF) > half.infinity && (got & half.quiet) != 0 && (got >> 15 != 0) == std::signbit(value);
  }
  if (good) return {};
  return failure("{}: {:08x} gives {:04x}", name, std::bit_cast<std::uint32_t>(value), got);
}

Status check_both(float value) {
  if (Status status = check("BF16", kBF16, value, float_to_bf16(value)); !status.ok()) return status;
  return check("FP16", kF16, value, float_to_f16(value));
}

void expect_both(std::uint32_t bits) {
  const Status status = check_both(std::bit_cast<float>(bits));
  ASSERT_TRUE(status.ok()) << status.error().message;
}

void expect_every_value(const HalfFormat& half, float (*decode)(std::uint16_t), std::uint16_t (*encode)(float)) {
  for (unsigned i = 0; i < 65536; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const double truth = specified_value(half, bits);
    const float value = decode(bits);
    ASSERT_EQ(std::isnan(truth), std::isnan(value)) << i;
    ASSERT_EQ(bits >= 0x8000, std::signbit(value)) << i;
    if (std::isnan(truth)) {
      ASSERT_GT(encode(value) & 0x7FFF, half.infinity) << i;
    } else {
      ASSERT_EQ(truth, value) << i;
      ASSERT_EQ(bits, encode(value)) << i;
    }
  }
}

TEST(HalfTest, EveryBf16) { expect_every_value(kBF16, bf16_to_float, float_to_bf16); }
TEST(HalfTest, EveryF16) { expect_every_value(kF16, f16_to_float, float_to_f16); }

TEST(HalfTest, RoundsRandomFloats) {
  test::Random random(1);
  for (int i = 0; i < 500000; ++i) expect_both(static_cast<std::uint32_t>(random.next()));
}

TEST(HalfTest, RoundsAroundEveryTie) {
  for (std::uint32_t i = 0; i < 65536; ++i) {
    // The tie above each BF16, and above each FP16 that lies in FP32's normal range at the same exponent.
    for (const std::uint32_t tie :
         {i << 16 | 0x8000u, (i & 0x8000u) << 16 | ((i & 0x7FFFu) + (112u << 10)) << 13 | 0x1000u}) {
      for (const std::uint32_t bits : {tie - 1, tie, tie + 1}) expect_both(bits);
    }
  }
  // FP16's subnormal ties are odd multiples of 2^-25.
  for (int i = 1; i < 2048; i += 2) {
    const auto tie = std::bit_cast<std::uint32_t>(std::ldexp(static_cast<float>(i), -25));
    for (const std::uint32_t bits : {tie - 1, tie, tie + 1}) {
      expect_both(bits);
      expect_both(bits | 0x80000000u);
    }
  }
}

TEST(HalfTest, OverflowGivesInfinity) {
  EXPECT_EQ(0x7C00, float_to_f16(65520.0f)) << "the tie above the largest number";
  EXPECT_EQ(0x7BFF, float_to_f16(std::nextafter(65520.0f, 0.0f)));
  EXPECT_EQ(0xFC00, float_to_f16(-1e30f));
  EXPECT_EQ(0x7F80, float_to_bf16(std::numeric_limits<float>::max()));
  EXPECT_EQ(0xFF80, float_to_bf16(-std::numeric_limits<float>::infinity()));
}

TEST(HalfTest, DISABLED_AllFloats) {
  test::for_all_floats([](std::span<const float> values) -> Status {
    for (const float value : values) {
      if (Status status = check_both(value); !status.ok()) return status;
    }
    return {};
  });
}

}  // namespace
}  // namespace octavo::fp8
