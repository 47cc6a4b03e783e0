// The inner loops of verification against the truth, element by element.
#include "octavo/verify/codes.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"
#include "octavo/verify/scale_rules.h"
#include "tests/support/random_tensor.h"

namespace octavo::verify {
namespace {

constexpr fp8::Format kFormats[] = {fp8::Format::kE4M3, fp8::Format::kE5M2};

// Every BF16 number with every code: right if and only if encode says so.
TEST(Codes, ACodeIsRightIfEncodeGivesIt) {
  for (const fp8::Format format : kFormats) {
    for (const float scale : {1.0f, 0.0123f, 3.0e-5f, 1024.0f}) {
      std::vector<float> values;
      for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
        const float value = fp8::bf16_to_float(static_cast<std::uint16_t>(bits));
        if (std::isfinite(value)) values.push_back(value);
      }
      std::uint64_t wrong = 0;
      std::vector<std::uint8_t> codes(values.size());
      for (unsigned code = 0; code < 256; ++code) {
        std::fill(codes.begin(), codes.end(), static_cast<std::uint8_t>(code));
        Measure measure;
        measure_codes(format, codes, values, values, scale, measure);
        EXPECT_EQ(measure.elements, values.size());
        wrong += measure.wrong;
        std::uint64_t expected = 0;
        for (const float value : values) expected += fp8::encode(format, value / scale) != code ? 1 : 0;
        ASSERT_EQ(measure.wrong, expected) << fp8::format_name(format) << " " << code << " scale " << scale;
      }
      EXPECT_EQ(wrong, 255 * values.size());  // each value has one right code
    }
  }
}

// Ties and their neighbours in FP32, which BF16 cannot express.
TEST(Codes, TiesAndTheirNeighbours) {
  for (const fp8::Format format : kFormats) {
    const unsigned largest = format == fp8::Format::kE4M3 ? 0x7E : 0x7B;
    for (unsigned code = 0; code < largest; ++code) {
      const float low = fp8::decode(format, static_cast<std::uint8_t>(code));
      const float tie = (low + fp8::decode(format, static_cast<std::uint8_t>(code + 1))) / 2;
      for (const float value : {std::nextafter(tie, 0.0f), tie, std::nextafter(tie, 1e9f), -tie}) {
        for (const unsigned offset : {0u, 1u}) {
          const auto claimed = static_cast<std::uint8_t>((code + offset) | (value < 0 ? 0x80u : 0u));
          Measure measure;
          measure_codes(format, {&claimed, 1}, {&value, 1}, {&value, 1}, 1.0f, measure);
          EXPECT_EQ(measure.wrong, fp8::encode(format, value) == claimed ? 0u : 1u) << value;
        }
      }
    }
  }
}

TEST(Codes, MeasuresAreTheDefinitionAtEveryLength) {
  for (const fp8::Format format : kFormats) {
    for (const std::size_t n : {1u, 2u, 3u, 4u, 5u, 127u, 511u, 512u, 513u, 1030u}) {
      const auto values = test::random_f32(n, n, test::Specials::kNone);
      const float scale = 0.01f * static_cast<float>(n % 7 + 1);
      std::vector<std::uint8_t> codes(n);
      Measure expected;
      for (std::size_t i = 0; i < n; ++i) {
        codes[i] = static_cast<std::uint8_t>(fp8::encode(format, values[i] / scale) ^ (i % 97 == 5 ? 1 : 0));
        const double w = values[i], q = fp8::decode(format, codes[i]) * scale;
        expected.weights += w * w;
        expected.decoded += q * q;
        expected.errors += (w - q) * (w - q);
        expected.max_error = std::max(expected.max_error, std::abs(values[i] - static_cast<float>(q)));
        expected.max_ratio = std::max(expected.max_ratio, std::abs(values[i] / scale));
        expected.amax = std::max(expected.amax, std::abs(values[i]));
        expected.saturated += std::abs(values[i] / scale) > fp8::max_value(format) ? 1 : 0;
        expected.wrong += i % 97 == 5 ? 1 : 0;
      }
      Measure measure;
      measure_codes(format, codes, values, values, scale, measure);
      EXPECT_NEAR(measure.weights, expected.weights, 1e-12 * expected.weights);
      EXPECT_NEAR(measure.decoded, expected.decoded, 1e-12 * expected.decoded);
      EXPECT_NEAR(measure.errors, expected.errors, 1e-12 * expected.errors);
      EXPECT_EQ(measure.max_error, expected.max_error);
      EXPECT_EQ(measure.max_ratio, expected.max_ratio);
      EXPECT_EQ(measure.amax, expected.amax);
      EXPECT_EQ(measure.amax_direct, expected.amax);
      EXPECT_EQ(measure.saturated, expected.saturated);
      EXPECT_EQ(measure.wrong, expected.wrong);
      EXPECT_EQ(measure.nonfinite, 0u);
    }
  }
}

TEST(Codes, NonFiniteSourcesAreCountedApart) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {1.0f, std::nanf(""), inf, -inf, 2.0f};
  const std::vector<std::uint8_t> codes = {0x38, 0x00, 0x7E, 0xFE, 0x40};
  Measure measure;
  measure_codes(fp8::Format::kE4M3, codes, values, values, 1.0f, measure);
  EXPECT_EQ(measure.nonfinite, 3u);
  EXPECT_EQ(measure.elements, 5u);
  EXPECT_EQ(measure.wrong, 0u);
  EXPECT_EQ(measure.weights, 5.0);
  EXPECT_EQ(measure.errors, 0.0);
}

TEST(Codes, NanCodesDoNotSpoilTheSums) {
  const std::vector<float> values = {1.0f, 2.0f};
  const std::vector<std::uint8_t> codes = {0x38, 0x7F};
  Measure measure;
  measure_codes(fp8::Format::kE4M3, codes, values, values, 1.0f, measure);
  EXPECT_EQ(measure.wrong, 1u);
  EXPECT_EQ(measure.errors, 4.0);
  std::uint64_t first = 0;
  EXPECT_EQ(count_nonfinite_codes(fp8::Format::kE4M3, codes, first), 1u);
  EXPECT_EQ(first, 1u);
  const std::vector<std::uint8_t> fives = {0x7B, 0xFC, 0x7E};
  EXPECT_EQ(count_nonfinite_codes(fp8::Format::kE5M2, fives, first), 2u);
  EXPECT_EQ(first, 1u);
  EXPECT_EQ(count_nonfinite_codes(fp8::Format::kE5M2, std::span(fives).first(1), first), 0u);
  EXPECT_EQ(first, kNowhere);
}

TEST(Codes, RulesAreToldApart) {
  const auto weights = test::random_bf16(20'000, 3, test::Specials::kNone);
  std::vector<float> values(weights.size());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = fp8::bf16_to_float(weights[i]);
  const float scale = 0.000377f;
  for (std::size_t rule = 0; rule < 3; ++rule) {
    std::vector<std::uint8_t> codes(values.size());
    for (std::size_t i = 0; i < codes.size(); ++i) {
      codes[i] = expected_code(fp8::Format::kE4M3, static_cast<Rule>(rule), DType::kBF16, values[i], values[i], scale);
    }
    RuleCounts counts;
    count_rules(fp8::Format::kE4M3, DType::kBF16, codes, values, values, scale, 100, counts);
    EXPECT_EQ(counts.wrong[rule], 0u);
    EXPECT_EQ(counts.first[rule], kNowhere);
    // The rounded quotient differs in about one code of a hundred.
    if (rule == 0) {
      EXPECT_GT(counts.wrong[1], 0u);
      EXPECT_GE(counts.first[1], 100u);
    }
  }
}

// llm-compressor's oneshot loses the sign of a zero of the source; nothing else may.
TEST(Codes, MinusZeroMayBecomeZero) {
  const std::vector<float> values = {-0.0f, 0.0f, -0.0001f, -0.0f};
  const std::vector<std::uint8_t> codes = {0x00, 0x80, 0x00, 0x80};  // right, a flipped bit, a lost sign, right
  RuleCounts counts;
  count_rules(fp8::Format::kE4M3, DType::kBF16, codes, values, values, 1.0f, 0, counts);
  for (std::size_t rule = 0; rule < kRules; ++rule) {
    EXPECT_EQ(counts.wrong[rule], 2u);
    EXPECT_EQ(counts.first[rule], 1u);
  }
}

TEST(ScaleRules, ExactNearFar) {
  float expected = 0;
  const auto fit = [&](DType dtype, float amax, float scale) {
    return fit_scale(fp8::Format::kE4M3, dtype, amax, amax, scale, expected);
  };
  const float amax = 0.7351f, exact = amax / 448.0f;
  EXPECT_EQ(fit(DType::kF32, amax, exact), ScaleFit::kExact);
  EXPECT_EQ(fit(DType::kBF16, amax, fp8::bf16_to_float(fp8::float_to_bf16(exact))), ScaleFit::kExact);
  EXPECT_EQ(fit(DType::kF16, amax, fp8::f16_to_float(fp8::float_to_f16(exact))), ScaleFit::kExact);
  EXPECT_EQ(fit(DType::kF32, amax, fp8::e8m0_decode(fp8::e8m0_encode_up(exact))), ScaleFit::kExact);
  EXPECT_EQ(fit(DType::kF32, amax, 1.0f / (448.0f / amax)), ScaleFit::kExact);
  const float damaged = std::bit_cast<float>(std::bit_cast<std::uint32_t>(exact) ^ 0x10u);
  EXPECT_EQ(fit(DType::kF32, amax, damaged), ScaleFit::kNear);
  EXPECT_NEAR(expected, exact, 1e-9f);
  EXPECT_EQ(fit(DType::kF32, amax, exact * 0.99f), ScaleFit::kFar);  // the first step of a search
  EXPECT_EQ(fit(DType::kF32, amax, exact * 1.3f), ScaleFit::kFar);
}

}  // namespace
}  // namespace octavo::verify
