// The scales and codes are those of `octavo quantize`: fp8::scale_from_amax and the encode kernels.
#include "octavo/backend/cpu/input_rounding.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"

namespace octavo::cpu {
namespace {

using backend::InputRounding;
using Kind = InputRounding::Kind;

constexpr std::uint32_t kInfinityBits = 0x7F800000;

// out[i] = value of encode(x[i] / scale).
void round_values(const InputRounding& rounding, const EncodeKernels& kernels, const float* x, std::uint64_t count,
                  float scale, float* out) {
  constexpr std::uint64_t kRun = 256;
  std::uint8_t codes[kRun];
  const float* table = fp8::decode_table(rounding.format).data();
  for (std::uint64_t begin = 0; begin < count; begin += kRun) {
    const std::uint64_t run = std::min(kRun, count - begin);
    kernels.encode_f32[static_cast<std::size_t>(rounding.format)](x + begin, codes, run, scale);
    for (std::uint64_t i = 0; i < run; ++i) out[begin + i] = table[codes[i]];
  }
}

void round_to_bf16(const EncodeKernels& kernels, const float* x, std::uint64_t count, float* out) {
  constexpr std::uint64_t kRun = 256;
  std::uint16_t bits[kRun];
  for (std::uint64_t begin = 0; begin < count; begin += kRun) {
    const std::uint64_t run = std::min(kRun, count - begin);
    kernels.f32_to_bf16(x + begin, bits, run);
    for (std::uint64_t i = 0; i < run; ++i) out[begin + i] = fp8::bf16_to_float(bits[i]);
  }
}

}  // namespace

std::uint64_t input_scale_count(const InputRounding& rounding, const Segments& segments) {
  if (rounding.kind == Kind::kNone) return 0;
  return rounding.kind == Kind::kDynamicGroup ? segments.count() : 1;
}

void round_input(const InputRounding& rounding, bool bf16, const Segments& segments, const EncodeKernels& kernels,
                 const float* x, float* out, float* scales) {
  const std::uint64_t k = segments.starts.back();
  const bool grouped = rounding.kind == Kind::kDynamicGroup;
  const auto scale_of = [&](std::uint64_t begin, std::uint64_t end) {
    const std::uint32_t amax = kernels.amax_bits32(x + begin, end - begin);
    if (amax >= kInfinityBits) return std::numeric_limits<float>::quiet_NaN();
    return fp8::scale_from_amax(std::bit_cast<float>(amax), rounding.format, fp8::ScaleDType::kF32,
                                rounding.pow2_scales);
  };
  float scale = rounding.scale;
  if (rounding.kind == Kind::kDynamicToken) scale = scale_of(0, k);
  std::uint64_t group_end = 0;
  for (std::uint64_t s = 0; s < segments.count(); ++s) {
    const std::uint64_t start = segments.starts[s];
    const std::uint64_t count = segments.starts[s + 1] - start;
    if (grouped && start == group_end) {
      group_end = std::min(k, start + rounding.group);
      scale = scale_of(start, group_end);
    }
    float* to = out + segments.offsets[s];
    if (rounding.kind == Kind::kNone && bf16) {
      round_to_bf16(kernels, x + start, count, to);
    } else if (rounding.kind == Kind::kNone) {
      std::copy_n(x + start, count, to);
    } else if (scale != scale) {
      std::fill_n(to, count, scale);
    } else {
      round_values(rounding, kernels, x + start, count, scale, to);
    }
    std::fill(to + count, out + segments.offsets[s + 1], 0.0f);
    if (grouped) scales[s] = scale;
  }
  if (rounding.kind == Kind::kDynamicToken || rounding.kind == Kind::kStatic) scales[0] = scale;
}

}  // namespace octavo::cpu
