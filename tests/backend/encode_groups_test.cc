// The encode kernels that take a scale for every group of elements and tell what encoding did to the values, and the
// maxima of groups, also of those looked at meanwhile: of every instruction set this machine has, against octavo/fp8
// and sums in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "octavo/backend/cpu/encode.h"
#include "octavo/fp8/half.h"
#include "tests/support/exhaustive.h"
#include "tests/support/random_tensor.h"

namespace octavo::cpu {
namespace {

using fp8::Format;

class EncodeGroupsTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!has_isa(GetParam())) GTEST_SKIP() << "this machine has no " << isa_name(GetParam());
  }
  const EncodeKernels& kernels() const { return encode_kernels(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isa, EncodeGroupsTest, testing::ValuesIn(kIsas),
                         [](const auto& test) { return std::string(isa_name(test.param)); });

struct Bf16 {
  using T = std::uint16_t;
  static auto& encode(const EncodeKernels& k) { return k.encode_groups_bf16; }
  static float to_float(T bits) { return fp8::bf16_to_float(bits); }
  static auto random(std::size_t n, std::uint64_t seed, test::Specials s) { return test::random_bf16(n, seed, s); }
};
struct F16 {
  using T = std::uint16_t;
  static auto& encode(const EncodeKernels& k) { return k.encode_groups_f16; }
  static float to_float(T bits) { return fp8::f16_to_float(bits); }
  static auto random(std::size_t n, std::uint64_t seed, test::Specials s) { return test::random_f16(n, seed, s); }
};
struct F32 {
  using T = float;
  static auto& encode(const EncodeKernels& k) { return k.encode_groups_f32; }
  static float to_float(T value) { return value; }
  static auto random(std::size_t n, std::uint64_t seed, test::Specials s) { return test::random_f32(n, seed, s); }
};

// The definition of both, element by element.
template <typename Source>
Distortion reference(Format format, const std::vector<typename Source::T>& in, const std::vector<PreparedScale>& scales,
                     std::size_t group, std::vector<std::uint8_t>& codes) {
  Distortion sums;
  codes.resize(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) {
    const float x = Source::to_float(in[i]), scale = scales[i / group].scale;
    codes[i] = fp8::encode(format, x / scale);
    const double difference =
        static_cast<double>(x) - static_cast<double>(fp8::decode(format, codes[i])) * static_cast<double>(scale);
    sums.signal += static_cast<double>(x) * static_cast<double>(x);
    sums.noise += difference * difference;
  }
  return sums;
}

void expect_near(double truth, double value) {
  EXPECT_LE(std::abs(value - truth), 1e-6 * truth) << truth << " " << value;
}

// PreparedScale::fits of a group.
template <typename Source>
bool fits(Format format, const std::vector<typename Source::T>& in, std::size_t begin, std::size_t group,
          const PreparedScale& scale) {
  const double most = static_cast<double>(fp8::max_value(format)) * static_cast<double>(scale.scale) * (1 + 0x1p-7);
  for (std::size_t i = begin; i < std::min(begin + group, in.size()); ++i) {
    if (!(std::abs(static_cast<double>(Source::to_float(in[i]))) <= most)) return false;
  }
  return true;
}

// Codes with and without sums, and the sums (added to what is there).
template <typename Source>
void check(const EncodeKernels& kernels, Format format, const std::vector<typename Source::T>& in,
           const std::vector<PreparedScale>& scales, std::size_t group) {
  std::vector<std::uint8_t> truth;
  const Distortion sums = reference<Source>(format, in, scales, group, truth);
  const auto encode = Source::encode(kernels)[static_cast<std::size_t>(format)];
  std::vector<std::uint8_t> codes(in.size() + 1, 0xA5);
  encode(in.data(), codes.data(), in.size(), scales.data(), group, nullptr, nullptr);
  ASSERT_EQ(0xA5, codes.back());
  codes.pop_back();
  ASSERT_EQ(truth, codes);
  std::vector<PreparedScale> fitting = scales;
  for (std::size_t i = 0; i < scales.size(); ++i)
    fitting[i].fits = fits<Source>(format, in, i * group, group, scales[i]);
  encode(in.data(), codes.data(), in.size(), fitting.data(), group, nullptr, nullptr);
  ASSERT_EQ(truth, codes) << "where values fit";
  Distortion measured;
  std::fill(codes.begin(), codes.end(), std::uint8_t{0xA5});
  encode(in.data(), codes.data(), in.size(), scales.data(), group, &measured, nullptr);
  ASSERT_EQ(truth, codes) << "while measuring";
  expect_near(sums.signal, measured.signal);
  expect_near(sums.noise, measured.noise);
  encode(in.data(), codes.data(), in.size(), scales.data(), group, &measured, nullptr);
  expect_near(2 * sums.noise, measured.noise);
}

// Scales such as the groups' own maxima give, all of them times `factor`.
template <typename Source>
std::vector<PreparedScale> scales_of(Format format, const std::vector<typename Source::T>& in, std::size_t group,
                                     float factor) {
  std::vector<PreparedScale> scales;
  for (std::size_t i = 0; i < in.size(); i += group) {
    float amax = 0;
    for (std::size_t k = i; k < std::min(i + group, in.size()); ++k) {
      amax = std::max(amax, std::abs(Source::to_float(in[k])));
    }
    const float scale = amax / fp8::max_value(format) * factor;
    scales.push_back(prepare_scale(format, scale > 0 && std::isfinite(scale) ? scale : 1.0f));
  }
  return scales;
}

template <typename Source>
void check_lengths_and_groups(const EncodeKernels& kernels) {
  for (const Format format : fp8::kFormats) {
    for (const std::size_t n : {1u, 15u, 16u, 31u, 33u, 64u, 127u, 128u, 129u, 300u, 2000u, 20000u}) {
      const auto in = Source::random(n, n, test::Specials::kNone);
      for (const std::size_t group : {std::size_t{1}, std::size_t{7}, std::size_t{64}, std::size_t{128}, n}) {
        check<Source>(kernels, format, in, scales_of<Source>(format, in, group, 1.0f), group);
      }
    }
  }
}

TEST_P(EncodeGroupsTest, EveryLengthAndGroup) {
  check_lengths_and_groups<Bf16>(kernels());
  check_lengths_and_groups<F16>(kernels());
  check_lengths_and_groups<F32>(kernels());
}

// Values from subnormal to the largest: the scales of most groups are beyond what FP32 can square.
template <typename Source>
void check_specials(const EncodeKernels& kernels) {
  const auto in = Source::random(5000, 11, test::Specials::kFinite);
  for (const Format format : fp8::kFormats) {
    for (const std::size_t group : {1u, 3u, 128u}) {
      check<Source>(kernels, format, in, scales_of<Source>(format, in, group, 1.0f), group);
    }
  }
}

TEST_P(EncodeGroupsTest, SpecialValues) {
  check_specials<Bf16>(kernels());
  check_specials<F16>(kernels());
  check_specials<F32>(kernels());
}

TEST_P(EncodeGroupsTest, ScalesThatSaturateOrVanish) {
  // Every value beyond the largest code, and every value below half the smallest.
  const auto in = Bf16::random(1000, 12, test::Specials::kNone);
  for (const Format format : fp8::kFormats) {
    for (const float factor : {0x1p-12f, 0.3f, 1 / (1 + 0x1p-7f), 0.999f, 1.001f, 3.0f, 0x1p12f, 0x1p20f, 0x1p25f}) {
      check<Bf16>(kernels(), format, in, scales_of<Bf16>(format, in, 250, factor), 250);
      const auto wide = F32::random(1000, 13, test::Specials::kNone);
      check<F32>(kernels(), format, wide, scales_of<F32>(format, wide, 250, factor), 250);
    }
  }
}

// Every BF16 at scales of all kinds, in all the ways to encode it.
TEST_P(EncodeGroupsTest, EveryBf16) {
  std::vector<std::uint16_t> all;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    if ((bits & 0x7FFF) < 0x7F80) all.push_back(static_cast<std::uint16_t>(bits));
  }
  test::Random random(3);
  for (const Format format : fp8::kFormats) {
    const auto row = static_cast<std::size_t>(format);
    std::vector<float> scales = {1.0f, 0.125f, 0.0123456f, 0x1.fffffep-3f, 0x1.000002p9f, 0x1p-30f, 0x1p30f, 0x1p-60f};
    for (int i = 0; i < 40; ++i) {
      scales.push_back(std::bit_cast<float>(0x3F800000u | static_cast<std::uint32_t>(random.below(1 << 23))) * 0x1p-9f);
    }
    for (const float scale : scales) {
      PreparedScale prepared = prepare_scale(format, scale);
      std::vector<std::uint16_t> small;
      for (const std::uint16_t bits : all) {
        if (fits<Bf16>(format, {bits}, 0, 1, prepared)) small.push_back(bits);
      }
      std::vector<std::uint8_t> truth, codes(all.size());
      reference<Bf16>(format, all, {prepared}, all.size(), truth);
      kernels().encode_groups_bf16[row](all.data(), codes.data(), all.size(), &prepared, all.size(), nullptr, nullptr);
      ASSERT_EQ(truth, codes) << scale;
      Distortion distortion;
      kernels().encode_groups_bf16[row](all.data(), codes.data(), all.size(), &prepared, all.size(), &distortion,
                                        nullptr);
      ASSERT_EQ(truth, codes) << scale << " while measuring";
      reference<Bf16>(format, small, {prepared}, small.size(), truth);
      codes.resize(small.size());
      prepared.fits = true;
      kernels().encode_groups_bf16[row](small.data(), codes.data(), small.size(), &prepared, small.size(), nullptr,
                                        nullptr);
      ASSERT_EQ(truth, codes) << scale << " where values fit";
    }
  }
}

// All pairs of significands, as EncodeTest.DISABLED_AllScales, whose codes are taken as the truth here.
TEST_P(EncodeGroupsTest, DISABLED_AllScalesWhereValuesFit) {
  std::vector<std::uint16_t> values(std::size_t{128} * 8);
  std::iota(values.begin(), values.end(), static_cast<std::uint16_t>((127 - 11) << 7));  // from 2^-11 to 2^-3
  for (std::size_t i = 0; i < values.size(); i += 2) values[i] |= 0x8000;
  const EncodeKernels& k = kernels();
  test::for_all_floats([&](std::span<const float> scales) -> Status {
    if (!(scales.front() >= 1.0f && scales.front() < 2.0f)) return {};
    std::vector<std::uint8_t> truth(values.size()), codes(values.size()), measured(values.size());
    for (const float scale : scales) {
      PreparedScale prepared = prepare_scale(Format::kE4M3, scale);
      prepared.fits = true;
      Distortion distortion;
      k.encode_bf16[0](values.data(), truth.data(), values.size(), scale);
      k.encode_groups_bf16[0](values.data(), codes.data(), values.size(), &prepared, values.size(), nullptr, nullptr);
      k.encode_groups_bf16[0](values.data(), measured.data(), values.size(), &prepared, values.size(), &distortion,
                              nullptr);
      if (codes != truth || measured != truth) return failure("scale {}: not the same codes", scale);
    }
    return {};
  });
}

TEST_P(EncodeGroupsTest, NonFiniteValuesWithoutSums) {
  const auto in = Bf16::random(3000, 14, test::Specials::kNonFinite);
  std::vector<PreparedScale> scales;
  for (const float scale : {1.0f, 0.01f, 0x1p-60f, 1e-44f, 3e38f, 0x1p60f}) {
    scales.push_back(prepare_scale(Format::kE4M3FNUZ, scale));
  }
  std::vector<std::uint8_t> truth, codes(in.size());
  reference<Bf16>(Format::kE4M3FNUZ, in, scales, 500, truth);
  kernels().encode_groups_bf16[static_cast<std::size_t>(Format::kE4M3FNUZ)](in.data(), codes.data(), in.size(),
                                                                            scales.data(), 500, nullptr, nullptr);
  EXPECT_EQ(truth, codes);
}

TEST_P(EncodeGroupsTest, NoSignalAndNoNoise) {
  for (const Format format : fp8::kFormats) {
    const auto encode = kernels().encode_groups_bf16[static_cast<std::size_t>(format)];
    const PreparedScale scale = prepare_scale(format, 0.25f);
    std::vector<std::uint8_t> codes(1000);
    Distortion zero;
    std::vector<std::uint16_t> in(1000);
    for (std::size_t i = 0; i < in.size(); i += 2) in[i] = 0x8000;
    encode(in.data(), codes.data(), in.size(), &scale, in.size(), &zero, nullptr);
    EXPECT_EQ(0.0, zero.signal);
    EXPECT_EQ(0.0, zero.noise);
    // Values that are codes times the scale.
    Distortion exact;
    for (std::size_t i = 0; i < in.size(); ++i) {
      const float value = fp8::decode(format, static_cast<std::uint8_t>(i % 0x7C)) * 0.25f;
      in[i] = fp8::float_to_bf16(i % 3 == 0 ? -value : value);
    }
    encode(in.data(), codes.data(), in.size(), &scale, in.size(), &exact, nullptr);
    EXPECT_GT(exact.signal, 0.0);
    EXPECT_EQ(0.0, exact.noise);
  }
}

TEST_P(EncodeGroupsTest, SumsOfALongRun) {
  // One value that outweighs the others, and a million more: rounding must not add up.
  auto in = Bf16::random(1'000'003, 15, test::Specials::kNone);
  in[17] = fp8::float_to_bf16(100.0f);
  const std::vector<PreparedScale> scales = {prepare_scale(Format::kE4M3, 100.0f / 448)};
  std::vector<std::uint8_t> codes(in.size()), truth;
  const Distortion sums = reference<Bf16>(Format::kE4M3, in, scales, in.size(), truth);
  Distortion measured;
  kernels().encode_groups_bf16[0](in.data(), codes.data(), in.size(), scales.data(), in.size(), &measured, nullptr);
  expect_near(sums.signal, measured.signal);
  expect_near(sums.noise, measured.noise);
}

// The largest magnitude of each group, of what its lanes held before and of `in`.
template <typename Bits, typename T>
void expect_maxima(const std::vector<T>& in, std::size_t group, Bits before, const std::vector<Bits>& lanes) {
  constexpr Bits kNoSign = static_cast<Bits>(~Bits{0}) >> 1;
  for (std::size_t i = 0, g = 0; i < in.size(); i += group, ++g) {
    Bits largest = before;
    for (std::size_t k = i; k < std::min(i + group, in.size()); ++k) {
      largest = std::max(largest, static_cast<Bits>(std::bit_cast<Bits>(in[k]) & kNoSign));
    }
    const auto begin = lanes.begin() + static_cast<std::ptrdiff_t>(g * kMaxLanes);
    ASSERT_EQ(largest, *std::max_element(begin, begin + kMaxLanes)) << "group " << g << " of " << group;
  }
}

TEST_P(EncodeGroupsTest, MaximaOfGroups) {
  for (std::size_t n = 1; n <= 700; n += n < 140 ? 1 : 37) {
    const auto words = test::random_bf16(n, n, test::Specials::kNonFinite);
    const auto floats = test::random_f32(n, n, test::Specials::kNonFinite);
    for (const std::size_t group : {std::size_t{1}, std::size_t{20}, std::size_t{128}, n}) {
      const std::size_t lanes = ((n - 1) / group + 1) * kMaxLanes;
      for (const std::uint16_t before : {std::uint16_t{0}, std::uint16_t{0x3F00}}) {
        std::vector<std::uint16_t> lanes16(lanes, before);
        std::vector<std::uint32_t> lanes32(lanes, before * 0x10000u);
        kernels().max_groups16(words.data(), n, group, lanes16.data());
        kernels().max_groups32(floats.data(), n, group, lanes32.data());
        expect_maxima<std::uint16_t>(words, group, before, lanes16);
        expect_maxima<std::uint32_t>(floats, group, before * 0x10000u, lanes32);
      }
    }
  }
}

// Looking at other values meanwhile finds their maxima, as above, and changes no code.
template <typename Source, typename Bits>
void check_meanwhile(const EncodeKernels& kernels, Distortion* distortion) {
  for (const Format format : fp8::kFormats) {
    for (const std::size_t n : {1u, 31u, 64u, 100u, 128u, 129u, 515u, 3000u}) {
      const auto in = Source::random(n, n, test::Specials::kFinite);
      const auto next = Source::random(n, n + 1, test::Specials::kNonFinite);
      for (const std::size_t group : {std::size_t{7}, std::size_t{128}, n}) {
        for (const float factor : {1.0f, 0x1p-40f}) {  // also scales that are divided by
          const auto scales = scales_of<Source>(format, in, group, factor);
          const auto encode = Source::encode(kernels)[static_cast<std::size_t>(format)];
          std::vector<std::uint8_t> truth(n), codes(n + 1, 0xA5);
          encode(in.data(), truth.data(), n, scales.data(), group, nullptr, nullptr);
          std::vector<Bits> lanes(((n - 1) / group + 1) * kMaxLanes, 5);
          const Meanwhile<typename Source::T, Bits> meanwhile{next.data(), lanes.data(), 1024, 512};
          encode(in.data(), codes.data(), n, scales.data(), group, distortion, &meanwhile);
          ASSERT_EQ(0xA5, codes.back());
          codes.pop_back();
          ASSERT_EQ(truth, codes);
          expect_maxima<Bits>(next, group, Bits{5}, lanes);
        }
      }
    }
  }
}

TEST_P(EncodeGroupsTest, LooksAtOtherValuesMeanwhile) {
  Distortion distortion;
  for (Distortion* const sums : {static_cast<Distortion*>(nullptr), &distortion}) {
    check_meanwhile<Bf16, std::uint16_t>(kernels(), sums);
    check_meanwhile<F16, std::uint16_t>(kernels(), sums);
    check_meanwhile<F32, std::uint32_t>(kernels(), sums);
  }
}

}  // namespace
}  // namespace octavo::cpu
