// e^x for probabilities relative to the most likely token: x <= 0. Only additions, multiplications and shifts, each
// with one rounding: a compiler can do it in lanes, and one value and many at once, on any machine, have the same bits.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace octavo::engine {

// Within 2^-51 of e^x, relatively; 0 where that is no normal number (x < -708), at NaN too.
inline double exp_nonpositive(double x) {
  // x = k log(2) + r, |r| <= log(2) / 2, log(2) in two parts so that k times the first is exact (Tang, "Table-driven
  // implementation of the exponential function in IEEE floating-point arithmetic", 1989; the parts as in fdlibm).
  constexpr double kLog2E = 0x1.71547652b82fep0, kHigh = 0x1.62e42feep-1, kLow = 0x1.a39ef35793c76p-33;
  constexpr double kToInteger = 0x1.8p52, kLeast = -708;
  const double shifted = x * kLog2E + kToInteger;
  const double k = shifted - kToInteger;
  const double r = (x - k * kHigh) - k * kLow;
  // Taylor's series: what is left out is below 2^-57.
  double sum = 1.0 / 6227020800;
  sum = sum * r + 1.0 / 479001600;
  sum = sum * r + 1.0 / 39916800;
  sum = sum * r + 1.0 / 3628800;
  sum = sum * r + 1.0 / 362880;
  sum = sum * r + 1.0 / 40320;
  sum = sum * r + 1.0 / 5040;
  sum = sum * r + 1.0 / 720;
  sum = sum * r + 1.0 / 120;
  sum = sum * r + 1.0 / 24;
  sum = sum * r + 1.0 / 6;
  sum = sum * r + 1.0 / 2;
  sum = sum * r + 1.0 / 1;
  sum = sum * r + 1.0 / 1;
  // The low bits of `shifted` are k in two's complement.
  constexpr std::uint64_t kExponentOfOne = 1023;
  constexpr int kMantissaBits = 52;
  const std::uint64_t power = (std::bit_cast<std::uint64_t>(shifted) + kExponentOfOne) << kMantissaBits;
  const double out = sum * std::bit_cast<double>(power);
  return x >= kLeast ? out : 0;
}

// Each x its e^x.
void exp_nonpositive(std::span<double> x);

}  // namespace octavo::engine
