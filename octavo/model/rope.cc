// Rotary frequencies: Su et al. 2021 (arXiv 2104.09864), linear position interpolation (2306.15595), dynamic NTK,
// YaRN (2309.00071) and Llama 3.1's scaling, in the arithmetic of transformers' modeling_rope_utils: powers and
// quotients in FP32, as its tensors are.
#include "octavo/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace octavo::model {
namespace {

constexpr double kTau = 2 * std::numbers::pi;

// base^(2 i / dim), i = 0 .. dim / 2 - 1.
std::vector<float> periods(double base, std::uint64_t dim) {
  std::vector<float> out(dim / 2);
  for (std::uint64_t i = 0; i < out.size(); ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    out[i] = static_cast<float>(std::pow(base, static_cast<double>(exponent)));
  }
  return out;
}

float yarn_attention_factor(const RopeConfig& rope) {
  const auto mscale = [](double scale, double m) { return scale <= 1 ? 1.0 : 0.1 * m * std::log(scale) + 1.0; };
  if (rope.attention_factor) return static_cast<float>(*rope.attention_factor);
  if (rope.mscale && rope.mscale_all_dim) {
    return static_cast<float>(mscale(rope.factor, *rope.mscale) / mscale(rope.factor, *rope.mscale_all_dim));
  }
  return static_cast<float>(mscale(rope.factor, 1));
}

// Dimensions that turn often within the original context keep their frequency, those that turn seldom are
// interpolated, with a linear ramp between.
void yarn(const RopeConfig& rope, std::uint64_t dim, std::vector<float>& inv_freq) {
  const auto d = static_cast<double>(dim);
  const auto correction = [&](double rotations) {
    return d * std::log(static_cast<double>(rope.original_max_position) / (rotations * kTau)) /
           (2 * std::log(rope.theta));
  };
  double low = correction(rope.beta_fast), high = correction(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, d - 1);
  if (low == high) high += 0.001;  // the ramp's slope stays finite
  const std::vector<float> period = periods(rope.theta, dim);
  for (std::uint64_t i = 0; i < inv_freq.size(); ++i) {
    const float ramp =
        std::clamp((static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f, 1.0f);
    const float keep = 1 - ramp;
    const float interpolated = 1.0f / (static_cast<float>(rope.factor) * period[i]), extrapolated = 1.0f / period[i];
    inv_freq[i] = interpolated * (1 - keep) + extrapolated * keep;
  }
}

// Short wavelengths stay, long ones are divided by the factor, those between are blended.
void llama3(const RopeConfig& rope, std::vector<float>& inv_freq) {
  const auto context = static_cast<float>(rope.original_max_position);
  const auto low = static_cast<float>(rope.low_freq_factor), high = static_cast<float>(rope.high_freq_factor);
  const auto factor = static_cast<float>(rope.factor);
  for (float& f : inv_freq) {
    const float wavelength = static_cast<float>(kTau) / f;
    if (wavelength > context / low) {
      f /= factor;
    } else if (wavelength >= context / high) {
      const float smooth = (context / wavelength - low) / (high - low);
      f = (1 - smooth) * f / factor + smooth * f;
    }
  }
}

}  // namespace

RopeFrequencies rope_frequencies(const DecoderConfig& config, std::uint64_t length) {
  using Kind = RopeConfig::Kind;
  const RopeConfig& rope = config.rope;
  const auto dim = static_cast<std::uint64_t>(static_cast<double>(config.head_dim) * rope.partial_rotary_factor);
  double base = rope.theta;
  if (rope.kind == Kind::kDynamic) {
    const auto d = static_cast<double>(dim), trained = static_cast<double>(rope.trained_positions);
    const double seen = std::max(static_cast<double>(length), trained);
    base *= std::pow(rope.factor * seen / trained - (rope.factor - 1), d / (d - 2));
  }
  RopeFrequencies out;
  out.inv_freq = periods(base, dim);
  for (float& f : out.inv_freq) f = 1.0f / f;
  switch (rope.kind) {
    case Kind::kLinear:
      for (float& f : out.inv_freq) f /= static_cast<float>(rope.factor);
      break;
    case Kind::kYarn:
      yarn(rope, dim, out.inv_freq);
      out.factor = yarn_attention_factor(rope);
      break;
    case Kind::kLlama3: llama3(rope, out.inv_freq); break;
    case Kind::kDefault:
    case Kind::kDynamic: break;
  }
  return out;
}

}  // namespace octavo::model
