// Encode kernels: the largest magnitude of a run of values, and values to FP8 codes at a given scale. One table of
// functions per instruction set, all bit-equal to octavo/fp8 (tests/backend). Pure functions of their arguments, safe
// from any thread; `in` and `out` need no alignment and must not overlap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/base/cpu.h"
#include "octavo/fp8/codec.h"

namespace octavo::cpu {

struct EncodeKernels {
  // The largest of (bits & 0x7FFF) over n 16-bit floats (BF16 or FP16), 0 when n = 0. The order of magnitudes is the
  // order of these bits, and NaN and infinity sort above every finite value, so this is amax and the finiteness check
  // in one pass: BF16 has one where the result is >= 0x7F80, FP16 where it is >= 0x7C00.
  std::uint16_t (*amax_bits16)(const std::uint16_t* in, std::size_t n);
  // The same for FP32: largest of (bits & 0x7FFFFFFF); not finite where the result is >= 0x7F800000.
  std::uint32_t (*amax_bits32)(const float* in, std::size_t n);

  // out[i] = encode(float(in[i]) / scale): IEEE FP32 division, round to nearest even, saturating, sign of zero kept,
  // NaN to NaN, exactly as fp8::Codec<F>::encode. `scale` is finite and > 0. Indexed by fp8::Format.
  void (*encode_bf16[4])(const std::uint16_t* in, std::uint8_t* out, std::size_t n, float scale);
  void (*encode_f16[4])(const std::uint16_t* in, std::uint8_t* out, std::size_t n, float scale);
  void (*encode_f32[4])(const float* in, std::uint8_t* out, std::size_t n, float scale);

  // out[i] = fp8::float_to_bf16(in[i]).
  void (*f32_to_bf16)(const float* in, std::uint16_t* out, std::size_t n);
};

// The kernels of `isa`, which this machine must have (select_isa sees to that).
const EncodeKernels& encode_kernels(Isa isa);

}  // namespace octavo::cpu
