// What the tests of the CPU backend share: every instruction set of this machine, values in and out of a backend,
// comparison of bits.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/backend/cpu/cpu_backend.h"
#include "octavo/fp8/half.h"
#include "tests/support/random_tensor.h"

namespace octavo::cpu {

inline std::vector<Isa> available_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : kIsas) {
    if (has_isa(isa)) isas.push_back(isa);
  }
  return isas;
}
inline std::string isa_test_name(const testing::TestParamInfo<Isa>& info) { return std::string(isa_name(info.param)); }

inline std::unique_ptr<backend::Backend> make_backend(Isa isa, int threads, backend::Compute compute) {
  return create_cpu_backend({isa, threads, compute});
}

// The value of a result that the test needs.
template <typename T>
T must(Result<T> result) {
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return std::move(result).value();
}

// Values of about one, some much larger and smaller, as activations have them.
inline std::vector<float> random_values(std::size_t count, std::uint64_t seed, double outliers = 0.01) {
  test::Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    double v = random.normal();
    if (random.uniform() < outliers) v *= 50;
    if (random.uniform() < 0.02) v = 0;
    value = static_cast<float>(v);
  }
  return values;
}

inline float as_computed(float value, backend::Compute compute) {
  return compute == backend::Compute::kBF16 ? fp8::bf16_to_float(fp8::float_to_bf16(value)) : value;
}
inline std::vector<float> as_computed(std::vector<float> values, backend::Compute compute) {
  for (float& value : values) value = as_computed(value, compute);
  return values;
}

inline std::unique_ptr<backend::Buffer> make_buffer(backend::Backend& b, std::span<const float> values) {
  auto buffer = must(b.create_buffer(values.size()));
  b.upload(values, buffer->matrix(1, values.size()));
  return buffer;
}
inline std::vector<float> read(backend::Backend& b, backend::Matrix from) {
  std::vector<float> values(from.rows * from.cols);
  b.download(from, values);
  return values;
}

// Activations with given values, through silu(32) = 32: exact in FP32 and powers of two away from it.
inline std::unique_ptr<backend::Activations> make_activations(backend::Backend& b, std::span<const float> values,
                                                              std::uint64_t rows, std::uint64_t cols) {
  std::vector<float> gate_up;
  for (std::uint64_t r = 0; r < rows; ++r) {
    gate_up.insert(gate_up.end(), cols, 32.0f);
    for (std::uint64_t c = 0; c < cols; ++c) gate_up.push_back(values[r * cols + c] / 32);
  }
  const auto buffer = make_buffer(b, gate_up);
  auto activations = must(b.create_activations(rows, cols));
  b.gated_activation(buffer->matrix(rows, 2 * cols), backend::GatedActivation::kSilu, *activations);
  return activations;
}

// Reads the values of activations of a width, through a product with the identity, which is exact for finite values.
class Reader {
 public:
  Reader(backend::Backend& b, std::uint64_t cols) : b_(b), cols_(cols) {
    std::vector<float> identity(cols * cols, 0.0f);
    for (std::uint64_t i = 0; i < cols; ++i) identity[i * cols + i] = 1;
    weight_ = must(b.create_linear({.n = cols, .k = cols, .dtype = DType::kF32}));
    b.pack(*weight_, {0, cols, 0, cols}, std::as_bytes(std::span(identity)));
  }
  std::vector<float> read(const backend::Activations& x) {
    auto out = must(b_.create_buffer(x.rows() * cols_));
    const backend::LinearWeight* const weights[] = {weight_.get()};
    b_.linear(x, weights, out->matrix(x.rows(), cols_));
    return cpu::read(b_, out->matrix(x.rows(), cols_));
  }

 private:
  backend::Backend& b_;
  std::uint64_t cols_;
  std::unique_ptr<backend::LinearWeight> weight_;
};
inline std::vector<float> read(backend::Backend& b, const backend::Activations& x) {
  return Reader(b, x.cols()).read(x);
}

// Equality of bit patterns, so that zeros of both signs and NaN count.
inline testing::AssertionResult same_bits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return testing::AssertionFailure() << a.size() << " and " << b.size() << " values";
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i])) {
      return testing::AssertionFailure() << "at " << i << ": " << a[i] << " and " << b[i];
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace octavo::cpu
