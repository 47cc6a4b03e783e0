// CPU features through the compiler's cpuid helpers, which also check that the OS saves the registers.
#include "octavo/base/cpu.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace octavo {
namespace {

#if defined(__x86_64__)
// clang 14's __builtin_cpu_supports does not know "f16c". Its registers are AVX's, which the OS saves if AVX2 is there.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
// Bits of cpuid leaf 7, EDX.
constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;

bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
#if defined(__linux__)
  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): fails where the kernel does not know tiles, and where a
  // thread's signal stack is too small for them.
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
#else
  return false;
#endif
}
#endif

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar: return "scalar";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Bf16: return "avx512_bf16";
    case Isa::kAmx: return "amx";
  }
  return "?";
}

bool has_isa(Isa isa) {
  if (isa == Isa::kScalar) return true;
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  }
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (isa == Isa::kAvx512) return avx512;
  const bool vbmi = avx512 && __builtin_cpu_supports("avx512vbmi");
  if (isa == Isa::kAmx) return vbmi && has_amx();
  return vbmi && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

Isa detect_isa() {
#if defined(__x86_64__)
  if (has_isa(Isa::kAmx)) return Isa::kAmx;
  if (has_isa(Isa::kAvx512Bf16) && !__builtin_cpu_is("intel")) return Isa::kAvx512Bf16;
#endif
  if (has_isa(Isa::kAvx512)) return Isa::kAvx512;
  return has_isa(Isa::kAvx2) ? Isa::kAvx2 : Isa::kScalar;
}

Result<Isa> select_isa() {
  const char* forced = std::getenv("OCTAVO_ISA");
  if (forced == nullptr || *forced == '\0') return detect_isa();
  for (const Isa isa : kIsas) {
    if (isa_name(isa) != forced) continue;
    if (!has_isa(isa)) {
      return usage_error("OCTAVO_ISA={}: this machine lacks it; it has {}", forced, isa_name(detect_isa()));
    }
    return isa;
  }
  return usage_error("OCTAVO_ISA={}: not an instruction set; use scalar, avx2, avx512, avx512_bf16 or amx", forced);
}

}  // namespace octavo
