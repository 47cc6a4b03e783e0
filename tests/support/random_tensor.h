// The one generator of shapes and the one generator of random tensors, for tests and benchmarks. Seeded: the same
// arguments give the same bits on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "octavo/base/dtype.h"

namespace octavo::test {

// A weight matrix, [rows, cols].
struct MatrixShape {
  std::size_t rows, cols;
  Shape shape() const { return {rows, cols}; }
  std::size_t count() const { return rows * cols; }
};

// Shapes worth trying: single elements, primes, one off 128 on either side, partial blocks at the edge, real layers.
// The largest has under a million elements.
std::span<const MatrixShape> matrix_shapes();

// What is mixed into a random tensor, beyond a weight's usual values.
enum class Specials {
  kNone,       // normal(0, 0.02), with one value in 1000 up to 100 times as large
  kFinite,     // and zeros of both signs, subnormals, the smallest and the largest finite numbers
  kNonFinite,  // and infinities and NaN of both signs
};

// A small fast generator of 64-bit numbers (SplitMix64), whose stream no standard library changes.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }  // bound > 0
  double uniform();                                                    // in [0, 1)
  double normal();                                                     // mean 0, variance 1, within +-6

 private:
  std::uint64_t state_;
};

// `count` values as FP32, and rounded to the bit patterns of BF16 and FP16. About one value in 16 is special.
std::vector<float> random_f32(std::size_t count, std::uint64_t seed, Specials specials = Specials::kNone);
std::vector<std::uint16_t> random_bf16(std::size_t count, std::uint64_t seed, Specials specials = Specials::kNone);
std::vector<std::uint16_t> random_f16(std::size_t count, std::uint64_t seed, Specials specials = Specials::kNone);

// The bytes of such a tensor as a file holds them. `dtype` is kF32, kBF16 or kF16.
std::vector<std::byte> random_tensor(DType dtype, std::size_t count, std::uint64_t seed,
                                     Specials specials = Specials::kNone);

}  // namespace octavo::test
