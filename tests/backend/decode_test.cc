// The decode kernels of every instruction set this machine has, bit for bit against octavo/fp8: every code at many
// scales, and every short length.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "octavo/backend/cpu/encode.h"
#include "octavo/fp8/half.h"
#include "tests/support/random_tensor.h"

namespace octavo::cpu {
namespace {

using fp8::Format;

class DecodeTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!has_isa(GetParam())) GTEST_SKIP() << "this machine has no " << isa_name(GetParam());
  }
  const EncodeKernels& kernels() const { return encode_kernels(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isa, DecodeTest, testing::ValuesIn(kIsas),
                         [](const auto& test) { return std::string(isa_name(test.param)); });

void check(const EncodeKernels& kernels, Format format, const std::vector<std::uint8_t>& codes, float scale) {
  constexpr std::size_t kGuard = 40;
  const auto row = static_cast<std::size_t>(format);
  std::vector<std::uint16_t> words(codes.size() + kGuard, 0xA5A5);
  std::vector<float> floats(codes.size() + kGuard, 77.0f);
  kernels.decode_to_bf16[row](codes.data(), codes.size(), scale, words.data());
  kernels.decode_to_f32[row](codes.data(), codes.size(), scale, floats.data());
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const float truth = fp8::decode_table(format)[codes[i]] * scale;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(truth), std::bit_cast<std::uint32_t>(floats[i]))
        << fp8::format_name(format) << " code " << int{codes[i]} << " scale " << scale;
    ASSERT_EQ(fp8::float_to_bf16(truth), words[i])
        << fp8::format_name(format) << " code " << int{codes[i]} << " scale " << scale;
  }
  for (std::size_t i = codes.size(); i < words.size(); ++i) {
    ASSERT_EQ(0xA5A5, words[i]) << "written after " << codes.size();
    ASSERT_EQ(77.0f, floats[i]) << "written after " << codes.size();
  }
}

TEST_P(DecodeTest, EveryCodeAtManyScales) {
  std::vector<std::uint8_t> codes(256);
  std::iota(codes.begin(), codes.end(), std::uint8_t{0});
  std::vector<float> scales = {
      0.0f, -0.0f, -1.0f, 448.0f, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  for (std::uint32_t exponent = 0; exponent < 255; ++exponent) {  // subnormal to huge
    for (const std::uint32_t mantissa : {0u, 1u, 0x2AAAAAu, 0x400000u, 0x7FFFFFu}) {
      scales.push_back(std::bit_cast<float>(exponent << 23 | mantissa));
    }
  }
  test::Random random(1);
  for (int i = 0; i < 1000; ++i) {
    const float scale = std::bit_cast<float>(static_cast<std::uint32_t>(random.next()));
    if (scale == scale) scales.push_back(scale);
  }
  for (const Format format : fp8::kFormats) {
    for (const float scale : scales) ASSERT_NO_FATAL_FAILURE(check(kernels(), format, codes, scale));
  }
}

TEST_P(DecodeTest, AScaleThatIsNaN) {
  // Which payload a product of two NaN has is the CPU's choice; that it is NaN is not.
  std::vector<std::uint8_t> codes(256);
  std::iota(codes.begin(), codes.end(), std::uint8_t{0});
  for (const std::uint32_t bits : {0x7FC00000u, 0x7FFFFFFFu, 0xFFFFFFFFu}) {
    for (std::size_t row = 0; row < fp8::kFormats.size(); ++row) {
      std::vector<std::uint16_t> words(256);
      std::vector<float> floats(256);
      kernels().decode_to_bf16[row](codes.data(), 256, std::bit_cast<float>(bits), words.data());
      kernels().decode_to_f32[row](codes.data(), 256, std::bit_cast<float>(bits), floats.data());
      for (std::size_t i = 0; i < 256; ++i) {
        ASSERT_TRUE(floats[i] != floats[i]);
        ASSERT_GT(words[i] & 0x7FFF, 0x7F80);
      }
    }
  }
}

TEST_P(DecodeTest, EveryLength) {
  test::Random random(2);
  for (std::size_t n = 0; n <= 130; ++n) {
    std::vector<std::uint8_t> codes(n);
    for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(random.next());
    codes.shrink_to_fit();
    for (const Format format : fp8::kFormats) ASSERT_NO_FATAL_FAILURE(check(kernels(), format, codes, 0.0123f));
  }
}

}  // namespace
}  // namespace octavo::cpu
