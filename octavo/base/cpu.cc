// CPU features through the compiler's cpuid helpers, which also check that the OS saves the registers.
#include "octavo/base/cpu.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace octavo {
namespace {

#if defined(__x86_64__)
// clang 14's __builtin_cpu_supports does not know "f16c". Its registers are AVX's, which the OS saves if AVX2 is there.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
  }
  return "?";
}

Isa detect_isa() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return Isa::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
    return Isa::kAvx2;
  }
#endif
  return Isa::kScalar;
}

Result<Isa> select_isa() {
  const Isa best = detect_isa();
  const char* forced = std::getenv("OCTAVO_ISA");
  if (forced == nullptr || *forced == '\0') return best;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa_name(isa) != forced) continue;
    if (isa > best) return usage_error("OCTAVO_ISA={}: this machine has only {}", forced, isa_name(best));
    return isa;
  }
  return usage_error("OCTAVO_ISA={}: not an instruction set; use scalar, avx2 or avx512", forced);
}

}  // namespace octavo
