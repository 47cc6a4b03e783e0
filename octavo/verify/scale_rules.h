// Whether a scale is what producers compute from the weights under it. A scale whose low bits are damaged leaves nearly
// every code right, so codes alone do not show it.
#pragma once

#include <cstdint>

#include "octavo/base/dtype.h"
#include "octavo/fp8/codec.h"
#include "octavo/verify/codes.h"

namespace octavo::verify {

enum class ScaleFit : std::uint8_t {
  kExact,  // a known rule gives just this
  kNear,   // within half a hundredth of what a rule gives: no rule, but no search for a better scale either
  kFar,    // something else: a search for the least error, a floor
};

// `amax` is the largest magnitude under the scale, `amax_direct` the same before an F32 source was rounded to BF16.
// `dtype` is the scale's. `expected` receives the rules' value that is nearest.
ScaleFit fit_scale(fp8::Format format, DType dtype, float amax, float amax_direct, float scale, float& expected);

// How the scales of one or more modules fit.
struct FitCounts {
  std::uint64_t judged = 0, exact = 0, near = 0;
  std::uint64_t first_near = kNowhere;  // index in the scale tensor
  float found = 0, expected = 0;        // there

  void add(ScaleFit fit, std::uint64_t index, float scale, float wanted);
  void merge(const FitCounts& other);
};

}  // namespace octavo::verify
