// The codecs against PyTorch's casts, from a file made by tools/make_fp8_golden.py.
#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "octavo/fp8/codec.h"
#include "octavo/fp8/half.h"

namespace octavo::fp8 {
namespace {

const nlohmann::json& golden() {
  static const nlohmann::json json =
      nlohmann::json::parse(std::ifstream(OCTAVO_SOURCE_DIR "/tests/data/fp8_golden.json"));
  return json;
}

using Pairs = std::vector<std::pair<std::uint32_t, std::uint32_t>>;

// The code of each of the 65,536 patterns, from runs of [first pattern, code].
std::vector<std::uint8_t> expand(const Pairs& runs) {
  std::vector<std::uint8_t> codes;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    codes.resize(i + 1 < runs.size() ? runs[i + 1].first : 65536, static_cast<std::uint8_t>(runs[i].second));
  }
  return codes;
}

void expect_same(Format format, std::uint8_t torch, float value) {
  // Which NaN code a NaN becomes is not PyTorch's to say; that it is NaN is.
  if (value != value) {
    ASSERT_NE(decode(format, torch), decode(format, torch));
    ASSERT_NE(decode(format, encode(format, value)), decode(format, encode(format, value)));
  } else {
    ASSERT_EQ(torch, encode(format, value)) << format_name(format) << " of " << value;
  }
}

TEST(GoldenTest, EncodesAsPyTorch) {
  for (const Format format : kFormats) {
    const auto& json = golden()["formats"][std::string(format_name(format))];
    const auto bf16 = expand(json["bf16"].get<Pairs>()), f16 = expand(json["f16"].get<Pairs>());
    ASSERT_EQ(65536u, bf16.size());
    ASSERT_EQ(65536u, f16.size());
    for (unsigned i = 0; i < 65536; ++i) {
      expect_same(format, bf16[i], bf16_to_float(static_cast<std::uint16_t>(i)));
      expect_same(format, f16[i], f16_to_float(static_cast<std::uint16_t>(i)));
    }
    const auto f32 = json["f32"].get<Pairs>();
    ASSERT_GT(f32.size(), 1000u);
    for (const auto& [bits, code] : f32) {
      expect_same(format, static_cast<std::uint8_t>(code), std::bit_cast<float>(bits));
    }
  }
}

TEST(GoldenTest, RoundsToHalvesAsPyTorch) {
  const auto bf16 = golden()["halves"]["bf16"].get<Pairs>(), f16 = golden()["halves"]["f16"].get<Pairs>();
  ASSERT_GT(bf16.size(), 1000u);
  ASSERT_GT(f16.size(), 1000u);
  for (const auto& [bits, half] : bf16) EXPECT_EQ(half, float_to_bf16(std::bit_cast<float>(bits))) << bits;
  for (const auto& [bits, half] : f16) EXPECT_EQ(half, float_to_f16(std::bit_cast<float>(bits))) << bits;
}

}  // namespace
}  // namespace octavo::fp8
