// Encode kernels: the largest magnitude of a run of values, and values to FP8 codes at a given scale; and back. One
// table of functions per instruction set, all bit-equal to octavo/fp8 (tests/backend). Pure functions of their
// arguments, safe from any thread; `in` and `out` need no alignment and must not overlap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/base/cpu.h"
#include "octavo/fp8/codec.h"

namespace octavo::cpu {

// What encoding did to some values: sum(x^2) and sum((x - code * scale)^2), the product exact.
struct Distortion {
  double signal = 0, noise = 0;
};

// A scale with what the kernels for BF16 need instead of dividing by it: 1 / scale as a sum of two floats, and a BF16
// that has the format's largest code, as has every greater one.
struct PreparedScale {
  float scale = 1, reciprocal = 1, rest = 0;
  std::uint16_t largest = 0;
  // Whoever knows that every value is finite and at most 1 + 2^-7 times max_value * scale, as those are that the scale
  // was made from, may say so: it is faster not to look.
  bool fits = false;
};
PreparedScale prepare_scale(fp8::Format format, float scale);  // finite, > 0

// Lanes of running maxima: those of a group of values are in this many elements, of which the largest is the group's.
inline constexpr std::size_t kMaxLanes = 32;

// What encoding looks at meanwhile, so that fetching from memory and computing overlap: as many values of T, in groups
// of the same size, which are wanted next. Their magnitudes (amax_bits16, amax_bits32) go into `largest`, kMaxLanes for
// every group. Also, where memory is wanted soon: bytes on from what is looked at and from what is written. These are
// hints, which may name memory that is not there.
template <typename T, typename Bits>
struct Meanwhile {
  const T* next = nullptr;
  Bits* largest = nullptr;
  std::size_t ahead_in = 0, ahead_out = 0;
};
using Meanwhile16 = Meanwhile<std::uint16_t, std::uint16_t>;
using Meanwhile32 = Meanwhile<float, std::uint32_t>;

struct EncodeKernels {
  // The largest of (bits & 0x7FFF) over n 16-bit floats (BF16 or FP16), 0 when n = 0. The order of magnitudes is the
  // order of these bits, and NaN and infinity sort above every finite value, so this is amax and the finiteness check
  // in one pass: BF16 has one where the result is >= 0x7F80, FP16 where it is >= 0x7C00.
  std::uint16_t (*amax_bits16)(const std::uint16_t* in, std::size_t n);
  // The same for FP32: largest of (bits & 0x7FFFFFFF); not finite where the result is >= 0x7F800000.
  std::uint32_t (*amax_bits32)(const float* in, std::size_t n);
  // The same of groups of `group` elements (> 0): merged into the kMaxLanes elements that `largest` has for each.
  void (*max_groups16)(const std::uint16_t* in, std::size_t n, std::size_t group, std::uint16_t* largest);
  void (*max_groups32)(const float* in, std::size_t n, std::size_t group, std::uint32_t* largest);

  // out[i] = encode(float(in[i]) / scale): IEEE FP32 division, round to nearest even, saturating, sign of zero kept,
  // NaN to NaN, exactly as fp8::Codec<F>::encode. `scale` is finite and > 0. Indexed by fp8::Format.
  void (*encode_bf16[4])(const std::uint16_t* in, std::uint8_t* out, std::size_t n, float scale);
  void (*encode_f16[4])(const std::uint16_t* in, std::uint8_t* out, std::size_t n, float scale);
  void (*encode_f32[4])(const float* in, std::uint8_t* out, std::size_t n, float scale);

  // The same with a scale for every `group` elements (> 0): out[i] = encode(in[i] / scales[i / group].scale). Where
  // `distortion` is not null, adds what that did, within 10^-6 of each sum; then `in` must be finite.
  // Where `meanwhile` is not null, looks at what it names; n then is a multiple of `group` or ends in a smaller one.
  void (*encode_groups_bf16[4])(const std::uint16_t* in, std::uint8_t* out, std::size_t n, const PreparedScale* scales,
                                std::size_t group, Distortion* distortion, const Meanwhile16* meanwhile);
  void (*encode_groups_f16[4])(const std::uint16_t* in, std::uint8_t* out, std::size_t n, const PreparedScale* scales,
                               std::size_t group, Distortion* distortion, const Meanwhile16* meanwhile);
  void (*encode_groups_f32[4])(const float* in, std::uint8_t* out, std::size_t n, const PreparedScale* scales,
                               std::size_t group, Distortion* distortion, const Meanwhile32* meanwhile);

  // out[i] = fp8::float_to_bf16(in[i]).
  void (*f32_to_bf16)(const float* in, std::uint16_t* out, std::size_t n);

  // out[i] = fp8::decode(codes[i]) * scale, one FP32 multiplication; then fp8::float_to_bf16. Any scale, NaN included.
  // Indexed by fp8::Format.
  void (*decode_to_bf16[4])(const std::uint8_t* codes, std::size_t n, float scale, std::uint16_t* out);
  void (*decode_to_f32[4])(const std::uint8_t* codes, std::size_t n, float scale, float* out);
};

// The kernels of `isa`, which this machine must have (select_isa sees to that).
const EncodeKernels& encode_kernels(Isa isa);

}  // namespace octavo::cpu
