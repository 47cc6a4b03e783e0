// The loop, compiled for the vectors that x86 processors may have: the same operations in other widths.
#include "octavo/engine/exp.h"

namespace octavo::engine {

#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
void exp_nonpositive(std::span<double> x) {
  for (double& value : x) value = exp_nonpositive(value);
}

}  // namespace octavo::engine
