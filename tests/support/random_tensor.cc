// Shapes and random tensors: see the header.
#include "tests/support/random_tensor.h"

#include <array>
#include <bit>
#include <cassert>
#include <cstring>

#include "octavo/fp8/half.h"

namespace octavo::test {
namespace {

// A bit pattern of the special values of a float whose exponent field is `exponent_bits` wide.
std::uint32_t special_bits(int exponent_bits, int mantissa_bits, Specials specials, Random& random) {
  const std::uint32_t sign = static_cast<std::uint32_t>(random.below(2)) << (exponent_bits + mantissa_bits);
  const std::uint32_t infinity = ((1u << exponent_bits) - 1) << mantissa_bits;
  const std::uint32_t mantissa = 1 + static_cast<std::uint32_t>(random.below((1u << mantissa_bits) - 1));
  switch (random.below(specials == Specials::kNonFinite ? 8 : 6)) {
    case 0: return sign;                              // zero
    case 1: return sign | 1;                          // the smallest subnormal
    case 2: return sign | mantissa;                   // a subnormal
    case 3: return sign | (1u << mantissa_bits);      // the smallest normal
    case 4: return sign | (infinity - 1);             // the largest finite
    case 5: return sign | (infinity - 1 - mantissa);  // another very large one
    case 6: return sign | infinity;
    default: return sign | infinity | mantissa;  // NaN, quiet or signalling
  }
}

float weight(Random& random) {
  const double value = 0.02 * random.normal();
  const bool outlier = random.below(1000) == 0;
  return static_cast<float>(outlier ? value * 100 * random.uniform() : value);
}

template <typename Bits, typename Round>
std::vector<Bits> generate(std::size_t count, std::uint64_t seed, Specials specials, int exponent_bits,
                           int mantissa_bits, Round round) {
  Random random(seed);
  std::vector<Bits> values(count);
  for (Bits& value : values) {
    const bool special = specials != Specials::kNone && random.below(16) == 0;
    value = special ? static_cast<Bits>(special_bits(exponent_bits, mantissa_bits, specials, random))
                    : static_cast<Bits>(round(weight(random)));
  }
  return values;
}

template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

}  // namespace

std::span<const MatrixShape> matrix_shapes() {
  static constexpr std::array<MatrixShape, 19> kShapes = {{
      {1, 1},     {1, 7},     {13, 1},    {3, 5},     {31, 37},    {64, 64}, {127, 127},
      {128, 128}, {129, 129}, {127, 129}, {129, 127}, {1, 4096},   {257, 1}, {128, 192},
      {200, 300}, {251, 509}, {576, 192}, {576, 576}, {576, 1536},
  }};
  return kShapes;
}

std::uint64_t Random::next() {
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

double Random::uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

double Random::normal() {
  // Twelve uniform numbers of 16 bits (Irwin-Hall): exact arithmetic, so no math library can change the stream.
  double sum = 0;
  for (int i = 0; i < 3; ++i) {
    for (std::uint64_t bits = next(), j = 0; j < 4; ++j, bits >>= 16)
      sum += static_cast<double>(bits & 0xFFFF) * 0x1p-16;
  }
  return sum - 6;
}

std::vector<float> random_f32(std::size_t count, std::uint64_t seed, Specials specials) {
  const auto bits = generate<std::uint32_t>(count, seed, specials, 8, 23,
                                            [](float value) { return std::bit_cast<std::uint32_t>(value); });
  std::vector<float> values(count);
  if (count != 0) std::memcpy(values.data(), bits.data(), count * sizeof(float));  // keeps signalling NaN as they are
  return values;
}

std::vector<std::uint16_t> random_bf16(std::size_t count, std::uint64_t seed, Specials specials) {
  return generate<std::uint16_t>(count, seed, specials, 8, 7, fp8::float_to_bf16);
}

std::vector<std::uint16_t> random_f16(std::size_t count, std::uint64_t seed, Specials specials) {
  return generate<std::uint16_t>(count, seed, specials, 5, 10, fp8::float_to_f16);
}

std::vector<std::byte> random_tensor(DType dtype, std::size_t count, std::uint64_t seed, Specials specials) {
  switch (dtype) {
    case DType::kBF16: return bytes_of(random_bf16(count, seed, specials));
    case DType::kF16: return bytes_of(random_f16(count, seed, specials));
    default: assert(dtype == DType::kF32); return bytes_of(random_f32(count, seed, specials));
  }
}

}  // namespace octavo::test
