// The independent truth of the FP8 tests: the values of a format by the formula of its specification, and rounding by
// a search among them. Nothing here is shared with octavo/fp8/codec.h but the format's name.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "octavo/fp8/codec.h"

namespace octavo::fp8 {

// The fields of a format, typed from the specifications (OCP FP8 1.0 table 1; FNUZ: arXiv 2206.02915).
struct FormatFacts {
  Format format;
  int exponent_bits, mantissa_bits, bias;
  double largest;
  std::uint8_t largest_code;
  std::vector<std::uint8_t> nan_codes, infinity_codes;
};

inline const std::vector<FormatFacts>& all_facts() {
  static const std::vector<FormatFacts> facts = {
      {Format::kE4M3, 4, 3, 7, 448.0, 0x7E, {0x7F, 0xFF}, {}},
      {Format::kE5M2, 5, 2, 15, 57344.0, 0x7B, {0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF}, {0x7C, 0xFC}},
      {Format::kE4M3FNUZ, 4, 3, 8, 240.0, 0x7F, {0x80}, {}},
      {Format::kE5M2FNUZ, 5, 2, 16, 57344.0, 0x7F, {0x80}, {}},
  };
  return facts;
}

inline bool is_fnuz(const FormatFacts& facts) { return facts.nan_codes.size() == 1; }
inline bool contains(const std::vector<std::uint8_t>& codes, std::uint8_t code) {
  return std::find(codes.begin(), codes.end(), code) != codes.end();
}

// (-1)^s * 2^(e - bias) * 1.m, or (-1)^s * 2^(1 - bias) * 0.m where e = 0.
inline double specified_value(const FormatFacts& facts, std::uint8_t code) {
  if (contains(facts.nan_codes, code)) return std::numeric_limits<double>::quiet_NaN();
  const double sign = code >= 0x80 ? -1.0 : 1.0;
  if (contains(facts.infinity_codes, code)) return sign * std::numeric_limits<double>::infinity();
  const int steps = 1 << facts.mantissa_bits;
  const int exponent = (code % 128) / steps;
  const double fraction = static_cast<double>(code % steps) / steps;
  return exponent == 0 ? sign * std::ldexp(fraction, 1 - facts.bias)
                       : sign * std::ldexp(1.0 + fraction, exponent - facts.bias);
}

// Rounds by comparing with the finite values, in double, where every difference below is exact: an FP32 and an FP8
// value lie on one grid unless one is so small that it cannot change which value is nearer.
class Nearest {
 public:
  explicit Nearest(const FormatFacts& facts) : facts_(facts) {
    for (unsigned code = 0; code <= facts.largest_code; ++code) {
      values_.push_back(specified_value(facts, static_cast<std::uint8_t>(code)));
    }
  }

  std::uint8_t operator()(float value) const {
    const bool negative = std::signbit(value);
    if (std::isnan(value)) return is_fnuz(facts_) ? std::uint8_t{0x80} : (negative ? std::uint8_t{0xFF} : kNaN);
    const double magnitude = std::fabs(static_cast<double>(value));
    std::size_t code = values_.size() - 1;
    if (magnitude < values_.back()) {
      // The first value that is larger, and the one before it.
      const auto above =
          static_cast<std::size_t>(std::upper_bound(values_.begin(), values_.end(), magnitude) - values_.begin());
      const double up = values_[above] - magnitude, down = magnitude - values_[above - 1];
      const bool tie = up == down;
      code = (tie ? above % 2 == 0 : up < down) ? above : above - 1;
    }
    if (code == 0 && is_fnuz(facts_)) return 0;
    return static_cast<std::uint8_t>(code + (negative ? 0x80 : 0));
  }

 private:
  static constexpr std::uint8_t kNaN = 0x7F;
  const FormatFacts& facts_;
  std::vector<double> values_;  // of the codes 0, 1, ..., all >= 0 and ascending
};

}  // namespace octavo::fp8
