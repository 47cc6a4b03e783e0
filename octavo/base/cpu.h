// Which instruction set the kernels use. Chosen once per process by the caller (cli/) and passed down.
#pragma once

#include <string_view>

#include "octavo/base/status.h"

namespace octavo {

enum class Isa {
  kScalar,  // portable C++
  kAvx2,    // AVX2 + FMA + F16C
  kAvx512,  // AVX-512 F, BW, DQ, VL
};

std::string_view isa_name(Isa isa);  // "scalar", "avx2", "avx512"

// The best ISA this machine has.
Isa detect_isa();

// detect_isa(), or what OCTAVO_ISA=scalar|avx2|avx512 forces. A usage error when the value is unknown or the machine
// lacks it. The only environment variable read outside cli/.
Result<Isa> select_isa();

}  // namespace octavo
