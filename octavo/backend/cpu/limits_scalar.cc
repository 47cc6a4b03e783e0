// Limits of portable C++: vectors of four floats by the compiler's extension, a multiplication and an addition.
#include "octavo/backend/cpu/limits_impl.h"

namespace octavo::cpu::scalar {
namespace {

typedef std::uint64_t Words __attribute__((vector_size(16)));

struct V {
  typedef float F __attribute__((vector_size(16)));
  static constexpr std::size_t kLanes = 4;
  static constexpr double kFlops = 2 * kLanes;
  static F load(const float* in) {
    F a;
    std::memcpy(&a, in, sizeof a);
    return a;
  }
  static void store(float* out, F a) { std::memcpy(out, &a, sizeof a); }
  static F step(F sum, F a) { return sum * a + a; }
};

}  // namespace

LimitKernels limit_kernels() { return {read_streams<Words>, run_chains<V>, chain_flops<V>(), nullptr, 0}; }

}  // namespace octavo::cpu::scalar
