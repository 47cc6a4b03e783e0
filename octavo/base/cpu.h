// Which instruction set the kernels use. Chosen once per process by the caller (cli/) and passed down.
#pragma once

#include <string_view>

#include "octavo/base/status.h"

namespace octavo {

enum class Isa {
  kScalar,      // portable C++
  kAvx2,        // AVX2 + FMA + F16C
  kAvx512,      // AVX-512 F, BW, DQ, VL
  kAvx512Bf16,  // the same with BF16 and VBMI
  kAmx,         // AVX-512 with VBMI, and AMX tiles with BF16
};
inline constexpr Isa kIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx};

std::string_view isa_name(Isa isa);  // "scalar", "avx2", "avx512", "avx512_bf16", "amx"

// Whether this machine can run it. kAmx: the first call asks the kernel for the tile registers, which Linux gives to
// processes that ask, all their threads included.
bool has_isa(Isa isa);

// The fastest ISA this machine has: with AMX that; else not always the last: Intel's processors run vdpbf16ps at half the rate of
// FP32 multiply-adds (one in two cycles against two a cycle, for twice the products), AMD's at the same rate.
Isa detect_isa();

// detect_isa(), or what OCTAVO_ISA=scalar|avx2|avx512|avx512_bf16|amx forces. A usage error when the value is unknown or
// the machine lacks it. The only environment variable read outside cli/.
Result<Isa> select_isa();

}  // namespace octavo
