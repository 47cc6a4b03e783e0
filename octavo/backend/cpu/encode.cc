// The choice of encode kernels by instruction set, and the parts of encoding that are the same for all of them.
#include "octavo/backend/cpu/encode.h"

#include <bit>
#include <cstring>

#include "octavo/backend/cpu/encode_tables.h"
#include "octavo/fp8/half.h"

namespace octavo::cpu {

PreparedScale prepare_scale(fp8::Format format, float scale) {
  const double exact = 1.0 / static_cast<double>(scale);
  PreparedScale prepared;
  prepared.scale = scale;
  prepared.reciprocal = static_cast<float>(exact);
  prepared.rest = static_cast<float>(exact - static_cast<double>(prepared.reciprocal));
  // Truncated to BF16 it is at least 1 - 2^-7 times max * scale, and everything from 1 - 2^-5 times has max's code.
  prepared.largest = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(fp8::max_value(format) * scale) >> 16);
  return prepared;
}

void add_distortion(SourceType type, const void* in, const std::uint8_t* codes, std::size_t n, fp8::Format format,
                    float scale, Distortion& distortion) {
  const auto& table = fp8::decode_table(format);
  const auto* bytes = static_cast<const std::byte*>(in);
  for (std::size_t i = 0; i < n; ++i) {
    float value = 0;
    if (type == SourceType::kF32) {
      std::memcpy(&value, bytes + 4 * i, 4);
    } else {
      std::uint16_t bits = 0;
      std::memcpy(&bits, bytes + 2 * i, 2);
      value = type == SourceType::kBF16 ? fp8::bf16_to_float(bits) : fp8::f16_to_float(bits);
    }
    const auto x = static_cast<double>(value);
    const double difference = x - static_cast<double>(table[codes[i]]) * static_cast<double>(scale);
    distortion.signal += x * x;
    distortion.noise += difference * difference;
  }
}

const EncodeKernels& encode_kernels(Isa isa) {
  static const EncodeKernels scalar_kernels = scalar::encode_kernels();
#if defined(__x86_64__)
  // Each is built only when asked for: code compiled for an instruction set must not run where it is missing.
  if (isa == Isa::kAvx512 || isa == Isa::kAvx512Bf16 || isa == Isa::kAmx) {
    static const EncodeKernels avx512_kernels = avx512::encode_kernels();
    return avx512_kernels;
  }
  if (isa == Isa::kAvx2) {
    static const EncodeKernels avx2_kernels = avx2::encode_kernels();
    return avx2_kernels;
  }
#else
  (void)isa;
#endif
  return scalar_kernels;
}

}  // namespace octavo::cpu
