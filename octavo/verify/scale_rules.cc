// The known ways from the largest magnitude to a scale.
#include "octavo/verify/scale_rules.h"

#include <array>
#include <cmath>

#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"

namespace octavo::verify {
namespace {

constexpr float kNearEnough = 0.005f;  // searches for better scales try steps of a hundredth

float round_to(DType dtype, float value) {
  switch (dtype) {
    case DType::kBF16: return fp8::bf16_to_float(fp8::float_to_bf16(value));
    case DType::kF16: return fp8::f16_to_float(fp8::float_to_f16(value));
    default: return value;
  }
}

}  // namespace

ScaleFit fit_scale(fp8::Format format, DType dtype, float amax, float amax_direct, float scale, float& expected) {
  const float largest = fp8::max_value(format);
  ScaleFit fit = ScaleFit::kFar;
  float nearest = std::numeric_limits<float>::infinity();
  for (const float a : {amax, amax_direct}) {
    const fp8::ScaleDType stored = dtype == DType::kBF16 ? fp8::ScaleDType::kBF16 : fp8::ScaleDType::kF32;
    const std::array<float, 4> rules = {
        fp8::scale_from_amax(a, format, stored, /*pow2=*/false), fp8::scale_from_amax(a, format, stored, /*pow2=*/true),
        round_to(dtype, a / largest),
        round_to(dtype,
                 1.0f / (largest / a)),  // transformers and AutoFP8 store the reciprocal of what they multiply by
    };
    for (const float rule : rules) {
      if (scale == rule) {
        expected = rule;
        return ScaleFit::kExact;
      }
      const float distance = std::abs(scale - rule) / rule;
      if (!(distance < nearest)) continue;
      nearest = distance;
      expected = rule;
      if (distance < kNearEnough) fit = ScaleFit::kNear;
    }
  }
  return fit;
}

void FitCounts::add(ScaleFit fit, std::uint64_t index, float scale, float wanted) {
  ++judged;
  if (fit == ScaleFit::kExact) ++exact;
  if (fit != ScaleFit::kNear) return;
  ++near;
  if (index >= first_near) return;
  first_near = index;
  found = scale;
  expected = wanted;
}

void FitCounts::merge(const FitCounts& other) {
  judged += other.judged;
  exact += other.exact;
  near += other.near;
  if (other.first_near < first_near) {
    first_near = other.first_near;
    found = other.found;
    expected = other.expected;
  }
}

}  // namespace octavo::verify
