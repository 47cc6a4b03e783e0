// E8M0 and scale_from_amax: every code, and the edges where a scale could become zero, infinite or NaN.
#include "octavo/fp8/scale.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/support/random_tensor.h"

namespace octavo::fp8 {
namespace {

constexpr float kMin = std::numeric_limits<float>::denorm_min();
constexpr float kMaxFloat = std::numeric_limits<float>::max();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A finite FP32 > 0 of any exponent.
float random_positive(test::Random& random) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(1 + random.below(0x7F7FFFFF)));
}

TEST(E8M0Test, DecodesEveryCode) {
  for (int code = 0; code < 255; ++code) {
    EXPECT_EQ(std::ldexp(1.0f, code - 127), e8m0_decode(static_cast<std::uint8_t>(code))) << code;
  }
  EXPECT_TRUE(std::isnan(e8m0_decode(0xFF)));
}

TEST(E8M0Test, EncodesUp) {
  for (int code = 0; code < 255; ++code) {
    const float power = std::ldexp(1.0f, code - 127);
    EXPECT_EQ(code, e8m0_encode_up(power));
    EXPECT_EQ(code, e8m0_encode_up(std::nextafter(power, 0.0f))) << "rounds up";
    EXPECT_EQ(std::min(code + 1, 254), e8m0_encode_up(std::nextafter(power, kInfinity)));
  }
  EXPECT_EQ(0, e8m0_encode_up(kMin));
  EXPECT_EQ(254, e8m0_encode_up(kMaxFloat)) << "2^127 is the largest there is";
  EXPECT_EQ(254, e8m0_encode_up(kInfinity));
  for (const float value : {0.0f, -0.0f, -1.0f, -kInfinity, kNaN, -kNaN}) {
    EXPECT_EQ(0xFF, e8m0_encode_up(value)) << value;
  }
}

TEST(E8M0Test, EncodesRandomFloatsToTheSmallestPowerNotBelow) {
  test::Random random(2);
  for (int i = 0; i < 100000; ++i) {
    const float value = random_positive(random);
    const std::uint8_t code = e8m0_encode_up(value);
    ASSERT_TRUE(code == 254 || e8m0_decode(code) >= value) << value;
    ASSERT_TRUE(code == 0 || e8m0_decode(static_cast<std::uint8_t>(code - 1)) < value) << value;
  }
}

class ScaleTest : public testing::TestWithParam<Format> {};
INSTANTIATE_TEST_SUITE_P(Formats, ScaleTest, testing::ValuesIn(kFormats),
                         [](const auto& test) { return std::string(format_name(test.param)); });

TEST_P(ScaleTest, ZeroGroupGivesOne) {
  for (const bool pow2 : {false, true}) {
    EXPECT_EQ(1.0f, scale_from_amax(0.0f, GetParam(), ScaleDType::kF32, pow2));
    EXPECT_EQ(1.0f, scale_from_amax(0.0f, GetParam(), ScaleDType::kBF16, pow2));
  }
}

TEST_P(ScaleTest, AmaxIsTheLargestCode) {
  const float largest = max_value(GetParam());
  for (const float amax : {largest, 1.0f, 0.0203f, 3e4f}) {
    const float scale = scale_from_amax(amax, GetParam(), ScaleDType::kF32, false);
    EXPECT_EQ(static_cast<float>(static_cast<double>(amax) / static_cast<double>(largest)), scale);
    EXPECT_EQ(largest, decode(GetParam(), encode(GetParam(), amax / scale)));
  }
  EXPECT_EQ(1.0f, scale_from_amax(largest, GetParam(), ScaleDType::kF32, false));
}

TEST_P(ScaleTest, TinyAmaxGivesThePositiveMinimum) {
  // amax / max rounds to zero; the smallest positive number of the stored dtype stands in.
  EXPECT_EQ(kMin, scale_from_amax(kMin, GetParam(), ScaleDType::kF32, false));
  EXPECT_EQ(0x1p-133f, scale_from_amax(kMin, GetParam(), ScaleDType::kBF16, false));
  EXPECT_EQ(0x1p-127f, scale_from_amax(kMin, GetParam(), ScaleDType::kF32, true));
  EXPECT_EQ(0x1p-127f, scale_from_amax(kMin, GetParam(), ScaleDType::kBF16, true));
}

TEST_P(ScaleTest, IsStoredExactlyAndAlwaysFinite) {
  test::Random random(3);
  for (int i = 0; i < 100000; ++i) {
    const float amax = i == 0 ? kMaxFloat : random_positive(random);
    const float exact = amax / max_value(GetParam());
    for (const ScaleDType dtype : {ScaleDType::kF32, ScaleDType::kBF16}) {
      for (const bool pow2 : {false, true}) {
        const float scale = scale_from_amax(amax, GetParam(), dtype, pow2);
        ASSERT_TRUE(std::isfinite(scale) && scale > 0) << amax;
        ASSERT_EQ(scale, round_scale(scale, dtype)) << "what is stored is what is used";
        int exponent;
        if (pow2) {
          ASSERT_EQ(0.5f, std::frexp(scale, &exponent)) << amax;
          ASSERT_GE(scale, exact);
          ASSERT_TRUE(scale < 2 * exact || scale == 0x1p-127f) << amax;
        } else if (dtype == ScaleDType::kF32) {
          ASSERT_EQ(exact == 0 ? kMin : exact, scale);
        } else if (exact > 0x1p-126f) {
          ASSERT_NEAR(scale, exact, exact * 0x1p-8) << "BF16 keeps eight bits";
        }
      }
    }
  }
}

}  // namespace
}  // namespace octavo::fp8
