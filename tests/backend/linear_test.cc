// Linear layers of the CPU backend against sums in double precision: all dtypes, granularities, input roundings and
// instruction sets over generated shapes; and the promises of bits: rows alone or in a batch, threads, packing order.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <thread>

#include "octavo/base/ceil_div.h"
#include "octavo/fp8/codec.h"
#include "tests/backend/backend_support.h"

// A request that no machine can meet is what one test is about; the sanitizers' allocators would end the process.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

namespace octavo::cpu {
namespace {

using backend::Compute;
using backend::InputRounding;
using backend::LinearSpec;
using backend::LinearWeight;
using backend::Rectangle;
using Kind = InputRounding::Kind;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

fp8::Format format_of(DType dtype) {
  switch (dtype) {
    case DType::kF8E5M2: return fp8::Format::kE5M2;
    case DType::kF8E4M3FNUZ: return fp8::Format::kE4M3FNUZ;
    case DType::kF8E5M2FNUZ: return fp8::Format::kE5M2FNUZ;
    default: return fp8::Format::kE4M3;
  }
}

// A weight as a checkpoint holds it.
struct Layer {
  LinearSpec spec;
  std::vector<std::byte> bytes;
  std::vector<float> scales, bias;

  // The value that multiplies, without its scale.
  double value(std::uint64_t n, std::uint64_t k, Compute compute) const {
    const std::uint64_t i = n * spec.k + k;
    if (is_fp8(spec.dtype)) {
      return static_cast<double>(fp8::decode(format_of(spec.dtype), std::to_integer<std::uint8_t>(bytes[i])));
    }
    float value = 0;
    std::uint16_t half = 0;
    if (spec.dtype == DType::kF32) {
      std::memcpy(&value, bytes.data() + 4 * i, 4);
    } else {
      std::memcpy(&half, bytes.data() + 2 * i, 2);
      value = spec.dtype == DType::kF16 ? fp8::f16_to_float(half) : fp8::bf16_to_float(half);
    }
    return static_cast<double>(as_computed(value, compute));
  }
  double scale(std::uint64_t n, std::uint64_t k) const {
    if (scales.empty()) return 1;
    return static_cast<double>(scales[n / spec.block_n * spec.scale_cols() + k / spec.block_k]);
  }
};

Layer random_layer(const LinearSpec& spec, std::uint64_t seed, bool with_bias = false) {
  test::Random random(seed);
  Layer layer{spec, {}, {}, {}};
  if (is_fp8(spec.dtype)) {
    const fp8::Format format = format_of(spec.dtype);
    while (layer.bytes.size() < spec.n * spec.k) {
      const auto code = static_cast<std::uint8_t>(random.next());  // subnormal numbers among them
      const float value = fp8::decode(format, code);
      if (std::isfinite(value) && std::abs(value) <= 448) layer.bytes.push_back(std::byte{code});
    }
    for (std::uint64_t i = 0; i < spec.scale_rows() * spec.scale_cols(); ++i) {
      layer.scales.push_back(static_cast<float>(std::exp2(-8 + 3 * random.uniform())));
    }
  } else {
    layer.bytes = test::random_tensor(spec.dtype, spec.n * spec.k, seed);
  }
  if (with_bias) layer.bias = random_values(spec.n, seed + 1);
  return layer;
}

std::unique_ptr<LinearWeight> make_weight(backend::Backend& b, const Layer& layer) {
  auto weight = must(b.create_linear(layer.spec));
  b.pack(*weight, {0, layer.spec.n, 0, layer.spec.k}, layer.bytes);
  if (!layer.scales.empty()) b.set_scales(*weight, layer.scales);
  if (!layer.bias.empty()) b.set_bias(*weight, layer.bias);
  return weight;
}

// The inputs of one token as they enter the product, and the scale of each.
struct RoundedToken {
  std::vector<double> values, scales;
};
RoundedToken round_token(std::span<const float> x, const InputRounding& rounding) {
  RoundedToken token;
  const auto largest = static_cast<double>(fp8::max_value(rounding.format));
  const auto scale_of = [&](std::size_t begin, std::size_t end) {
    double amax = 0;
    for (std::size_t i = begin; i < end; ++i) amax = std::max(amax, std::abs(static_cast<double>(x[i])));
    if (amax == 0) return 1.0;
    if (rounding.pow2_scales)
      return std::exp2(std::ceil(std::log2(static_cast<double>(static_cast<float>(amax / largest)))));
    return static_cast<double>(static_cast<float>(amax / largest));
  };
  for (std::size_t i = 0; i < x.size(); ++i) {
    double scale = 1;
    if (rounding.kind == Kind::kStatic) scale = static_cast<double>(rounding.scale);
    if (rounding.kind == Kind::kDynamicToken) scale = scale_of(0, x.size());
    if (rounding.kind == Kind::kDynamicGroup) {
      const std::size_t begin = i / rounding.group * rounding.group;
      scale = scale_of(begin, std::min(x.size(), begin + rounding.group));
    }
    float value = x[i];
    if (rounding.kind != Kind::kNone) {
      value = fp8::decode(rounding.format, fp8::encode(rounding.format, value / static_cast<float>(scale)));
    }
    token.values.push_back(static_cast<double>(value));
    token.scales.push_back(scale);
  }
  return token;
}

// Compares y [rows, n] with sums in double precision. The bound is that of rounding every product and sum to FP32.
void expect_product(const Layer& layer, std::span<const float> x, std::span<const float> y, std::uint64_t rows,
                    Compute compute) {
  const LinearSpec& s = layer.spec;
  const double unit = 0x1p-24 * (static_cast<double>(s.k) / 4 + 24);
  for (std::uint64_t r = 0; r < rows; ++r) {
    const RoundedToken token = round_token(x.subspan(r * s.k, s.k), s.input);
    for (std::uint64_t n = 0; n < s.n; ++n) {
      double sum = layer.bias.empty() ? 0 : static_cast<double>(layer.bias[n]);
      double magnitude = std::abs(sum);
      for (std::uint64_t k = 0; k < s.k; ++k) {
        const double product = token.values[k] * token.scales[k] * layer.value(n, k, compute) * layer.scale(n, k);
        sum += product;
        magnitude += std::abs(product);
      }
      ASSERT_NEAR(static_cast<double>(y[r * s.n + n]), sum, magnitude * unit + 1e-30)
          << "token " << r << " of " << rows << ", output " << n << ", [" << s.n << ", " << s.k << "], "
          << dtype_name(s.dtype) << ", blocks " << s.block_n << " x " << s.block_k;
    }
  }
}

std::vector<float> run_linear(backend::Backend& b, const LinearWeight& weight, std::span<const float> x,
                              std::uint64_t rows) {
  const std::uint64_t n = weight.spec().n;
  const auto activations = make_activations(b, x, rows, weight.spec().k);
  auto out = must(b.create_buffer(rows * n));
  const LinearWeight* const weights[] = {&weight};
  b.linear(*activations, weights, out->matrix(rows, n));
  return read(b, out->matrix(rows, n));
}

struct Size {
  std::uint64_t n, k;
};
constexpr Size kSizes[] = {{1, 1}, {3, 15}, {16, 16}, {17, 33}, {5, 127}, {33, 128}, {130, 129}, {7, 640}, {40, 1100}};
constexpr std::uint64_t kRowCounts[] = {1, 2, 3, 4, 5, 9, 40};

// Every FP8 layer worth trying at a size: tensor, channel, blocks of 128 and blocks that no vector divides.
std::vector<LinearSpec> fp8_specs(const Size& size, DType dtype) {
  std::vector<LinearSpec> specs;
  for (const auto& [block_n, block_k] : {std::pair{size.n, size.k},
                                         {std::uint64_t{1}, size.k},
                                         {std::uint64_t{128}, std::uint64_t{128}},
                                         {std::uint64_t{4}, std::uint64_t{24}},
                                         {std::uint64_t{1}, std::uint64_t{100}}}) {
    specs.push_back({.n = size.n, .k = size.k, .dtype = dtype, .block_n = block_n, .block_k = block_k, .input = {}});
  }
  return specs;
}

std::vector<InputRounding> roundings() {
  return {{},
          {.kind = Kind::kStatic, .scale = 0.03f},
          {.kind = Kind::kDynamicToken},
          {.kind = Kind::kDynamicToken, .pow2_scales = true, .format = fp8::Format::kE5M2},
          {.kind = Kind::kDynamicGroup, .group = 128},
          {.kind = Kind::kDynamicGroup, .group = 128, .pow2_scales = true},
          {.kind = Kind::kDynamicGroup, .group = 40, .format = fp8::Format::kE4M3FNUZ}};
}

class LinearTest : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isa, LinearTest, testing::ValuesIn(available_isas()), isa_test_name);

TEST_P(LinearTest, UnquantizedWeights) {
  std::uint64_t seed = 1;
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    const auto b = make_backend(GetParam(), 2, compute);
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      for (const Size& size : kSizes) {
        ++seed;
        const Layer layer = random_layer({.n = size.n, .k = size.k, .dtype = dtype}, seed, seed % 2 == 0);
        const auto weight = make_weight(*b, layer);
        EXPECT_EQ(weight->stored_dtype(),
                  compute == Compute::kBF16 || dtype == DType::kBF16 ? DType::kBF16 : DType::kF32);
        const std::uint64_t rows = kRowCounts[seed % std::size(kRowCounts)];
        const auto x = as_computed(random_values(rows * size.k, seed), compute);
        expect_product(layer, x, run_linear(*b, *weight, x, rows), rows, compute);
      }
    }
  }
}

TEST_P(LinearTest, Fp8WeightsOfEveryGranularityAndInputRounding) {
  std::uint64_t seed = 1;
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    const auto b = make_backend(GetParam(), 2, compute);
    for (const DType dtype : {DType::kF8E4M3, DType::kF8E5M2, DType::kF8E4M3FNUZ, DType::kF8E5M2FNUZ}) {
      for (const Size& size : kSizes) {
        for (LinearSpec spec : fp8_specs(size, dtype)) {
          for (const InputRounding& rounding : roundings()) {
            spec.input = rounding;
            ++seed;
            const Layer layer = random_layer(spec, seed, seed % 3 == 0);
            const auto weight = make_weight(*b, layer);
            EXPECT_EQ(weight->stored_dtype(), dtype);
            const std::uint64_t rows = kRowCounts[seed % (seed % 7 == 0 ? std::size(kRowCounts) : 5)];
            const auto x = as_computed(random_values(rows * size.k, seed), compute);
            expect_product(layer, x, run_linear(*b, *weight, x, rows), rows, compute);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST_P(LinearTest, EveryCodeExactly) {
  // A product with one: the code's value, times a scale of one, whatever the path.
  for (const auto& [dtype, compute] :
       {std::pair{DType::kF8E4M3, Compute::kF32}, std::pair{DType::kF8E5M2, Compute::kF32},
        std::pair{DType::kF8E4M3FNUZ, Compute::kF32}, std::pair{DType::kF8E5M2FNUZ, Compute::kF32},
        std::pair{DType::kF8E4M3, Compute::kBF16}, std::pair{DType::kF8E5M2, Compute::kBF16},
        std::pair{DType::kF8E4M3FNUZ, Compute::kBF16}, std::pair{DType::kF8E5M2FNUZ, Compute::kBF16}}) {
    const auto b = make_backend(GetParam(), 1, compute);
    Layer layer{{.n = 256, .k = 1, .dtype = dtype, .block_n = 256, .block_k = 1, .input = {}}, {}, {1.0f}, {}};
    for (int code = 0; code < 256; ++code) layer.bytes.push_back(static_cast<std::byte>(code));
    const auto weight = make_weight(*b, layer);
    for (const std::uint64_t rows : {1u, 3u, 8u}) {
      const std::vector<float> x(rows, 1.0f);
      const auto y = run_linear(*b, *weight, x, rows);
      for (std::size_t i = 0; i < y.size(); ++i) {
        const float truth = fp8::decode(format_of(dtype), static_cast<std::uint8_t>(i % 256));
        if (truth != truth) {
          EXPECT_TRUE(y[i] != y[i]) << i;
        } else {
          EXPECT_EQ(y[i], truth) << i;
        }
      }
    }
    // And as a table.
    std::vector<std::int32_t> ids(256);
    for (int i = 0; i < 256; ++i) ids[static_cast<std::size_t>(i)] = i;
    auto out = must(b->create_buffer(256));
    b->embed(ids, *weight, out->matrix(256, 1));
    const auto values = read(*b, out->matrix(256, 1));
    for (std::size_t i = 0; i < 256; ++i) {
      const float truth = fp8::decode(format_of(dtype), static_cast<std::uint8_t>(i));
      EXPECT_TRUE(values[i] == truth || (truth != truth && values[i] != values[i])) << i;
    }
  }
}

// Products and sums below the smallest normal number: some instructions keep them, others do not, and which of them run
// depends on the number of rows.
TEST_P(LinearTest, TinyNumbersHaveTheSameBitsAloneAndInABatch) {
  constexpr std::uint64_t kRows = 40, kCols = 100;
  LinearSpec spec{.n = 45, .k = kCols, .dtype = DType::kBF16};
  Layer layer = random_layer(spec, 5);
  for (std::size_t i = 0; i < layer.bytes.size(); i += 2) {
    std::uint16_t word = 0;
    std::memcpy(&word, &layer.bytes[i], 2);
    word = fp8::float_to_bf16(std::ldexp(fp8::bf16_to_float(word), -66));
    std::memcpy(&layer.bytes[i], &word, 2);
  }
  std::vector<float> x = random_values(kRows * kCols, 6);
  for (float& value : x) value = std::ldexp(value, -60);
  const auto b = make_backend(GetParam(), 1, Compute::kBF16);
  const auto weight = make_weight(*b, layer);
  const auto all = run_linear(*b, *weight, x, kRows);
  for (std::uint64_t row = 0; row < kRows; ++row) {
    const auto alone = run_linear(*b, *weight, std::span(x).subspan(row * kCols, kCols), 1);
    ASSERT_TRUE(same_bits(alone, std::span(all).subspan(row * spec.n, spec.n))) << row;
  }
  EXPECT_TRUE(std::any_of(all.begin(), all.end(), [](float y) { return y != 0; }));
}

TEST_P(LinearTest, ExpertsAreLinearLayersOfTheirRows) {
  constexpr std::uint64_t kRows = 150, kCols = 200, kExperts = 9;
  test::Random random(3);
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    for (const InputRounding& rounding : roundings()) {
      LinearSpec gate{.n = 70, .k = kCols, .dtype = DType::kF8E4M3, .block_n = 32, .block_k = 96, .input = rounding};
      LinearSpec up = gate;
      up.n = 33;
      const auto x = random_values(kRows * kCols, 8);
      for (const int threads : {1, 3}) {
        const auto b = make_backend(GetParam(), threads, compute);
        std::vector<std::unique_ptr<LinearWeight>> weights;
        std::vector<std::array<const LinearWeight*, 2>> pairs;
        for (std::uint64_t e = 0; e < kExperts; ++e) {
          weights.push_back(make_weight(*b, random_layer(gate, 10 + e, e % 2 == 0)));
          weights.push_back(make_weight(*b, random_layer(up, 30 + e)));
          pairs.push_back({weights[2 * e].get(), weights[2 * e + 1].get()});
        }
        // Experts 0 and 4 get nothing, expert 2 more than any call of a kernel takes, rows come more than once.
        std::vector<std::int32_t> rows;
        std::vector<backend::ExpertRows> experts;
        for (std::uint64_t e = 0; e < kExperts; ++e) {
          const std::uint64_t count = e % 4 == 0 ? 0 : e == 2 ? 700 : 1 + random.next() % 40;
          experts.push_back({pairs[e], rows.size(), rows.size() + count});
          for (std::uint64_t i = 0; i < count; ++i) rows.push_back(static_cast<std::int32_t>(random.next() % kRows));
        }
        const std::uint64_t width = gate.n + up.n;
        const auto activations = make_activations(*b, x, kRows, kCols);
        auto all = must(b->create_buffer(kRows * width)), out = must(b->create_buffer(rows.size() * (width + 3)));
        const backend::Matrix wide = out->matrix(rows.size(), width + 3).col_range(1, width);
        b->linear_experts(*activations, rows, experts, wide);
        const auto found = read(*b, wide);
        for (const backend::ExpertRows& expert : experts) {
          b->linear(*activations, expert.weights, all->matrix(kRows, width));
          const auto truth = read(*b, all->matrix(kRows, width));
          for (std::uint64_t i = expert.begin; i < expert.end; ++i) {
            ASSERT_TRUE(same_bits(std::span(found).subspan(i * width, width),
                                  std::span(truth).subspan(static_cast<std::uint64_t>(rows[i]) * width, width)))
                << "row " << i;
          }
        }
      }
    }
  }
}

TEST_P(LinearTest, RowsAloneAndInABatchHaveTheSameBits) {
  std::uint64_t seed = 77;
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    for (const DType dtype : {DType::kF8E4M3, DType::kBF16}) {
      for (const InputRounding& rounding : roundings()) {
        const Size size = kSizes[seed % std::size(kSizes)];
        LinearSpec spec{.n = size.n, .k = size.k, .dtype = dtype};
        if (is_fp8(dtype)) {
          const auto specs = fp8_specs(size, dtype);
          spec = specs[seed % specs.size()];
          spec.input = rounding;
        }
        const Layer layer = random_layer(spec, ++seed, true);
        constexpr std::uint64_t kRows = 530;  // more than one call of the kernel
        const auto x = random_values(kRows * spec.k, seed);
        std::vector<float> all;
        for (const int threads : {1, 2, 3, 5}) {
          const auto b = make_backend(GetParam(), threads, compute);
          const auto weight = make_weight(*b, layer);
          const auto y = run_linear(*b, *weight, x, kRows);
          if (all.empty()) all = y;
          ASSERT_TRUE(same_bits(y, all)) << threads << " threads";
          for (std::uint64_t row = 0, count = 1; row < kRows; row += count, count = count % 7 + 1) {
            count = std::min(count, kRows - row);
            const auto part = run_linear(*b, *weight, std::span(x).subspan(row * spec.k, count * spec.k), count);
            ASSERT_TRUE(same_bits(part, std::span(all).subspan(row * spec.n, count * spec.n)))
                << count << " rows from " << row << ", " << threads << " threads";
          }
        }
      }
    }
  }
}

TEST_P(LinearTest, SideBySideAndAdded) {
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    const auto b = make_backend(GetParam(), 3, compute);
    constexpr std::uint64_t kCols = 200, kRows = 6;
    const auto x = random_values(kRows * kCols, 3);
    // Weights of different dtypes, roundings and segments read the same input.
    const LinearSpec specs[] = {
        {.n = 37, .k = kCols, .dtype = DType::kF8E4M3, .block_n = 1, .block_k = kCols, .input = {}},
        {.n = 16, .k = kCols, .dtype = DType::kBF16},
        {.n = 50,
         .k = kCols,
         .dtype = DType::kF8E4M3,
         .block_n = 50,
         .block_k = kCols,
         .input = {.kind = Kind::kDynamicToken}},
        {.n = 1,
         .k = kCols,
         .dtype = DType::kF8E5M2,
         .block_n = 8,
         .block_k = 24,
         .input = {.kind = Kind::kDynamicToken}},
        {.n = 20, .k = kCols, .dtype = DType::kF8E4M3, .block_n = 16, .block_k = 100, .input = {}},
        {.n = 18,
         .k = kCols,
         .dtype = DType::kF8E4M3,
         .block_n = 50,
         .block_k = kCols,
         .input = {.kind = Kind::kDynamicToken}}};
    std::vector<std::unique_ptr<LinearWeight>> weights;
    std::vector<const LinearWeight*> pointers;
    std::uint64_t total = 0;
    for (const LinearSpec& spec : specs) {
      weights.push_back(make_weight(*b, random_layer(spec, spec.n, spec.n % 2 == 0)));
      pointers.push_back(weights.back().get());
      total += spec.n;
    }
    const auto activations = make_activations(*b, x, kRows, kCols);
    auto out = must(b->create_buffer(kRows * (total + 5)));
    const backend::Matrix wide = out->matrix(kRows, total + 5);
    b->linear(*activations, pointers, wide.col_range(2, total));
    const auto all = read(*b, wide);
    std::uint64_t column = 2;
    for (const auto& weight : weights) {
      const auto alone = run_linear(*b, *weight, x, kRows);
      const std::uint64_t n = weight->spec().n;
      for (std::uint64_t r = 0; r < kRows; ++r) {
        EXPECT_TRUE(same_bits(std::span(all).subspan(r * (total + 5) + column, n), std::span(alone).subspan(r * n, n)));
      }
      // residual += y, one rounding each.
      auto residual = random_values(kRows * n, 9);
      auto sum = make_buffer(*b, residual);
      b->linear_add(*activations, *weight, sum->matrix(kRows, n));
      for (std::size_t i = 0; i < residual.size(); ++i) residual[i] += alone[i];
      EXPECT_TRUE(same_bits(read(*b, sum->matrix(kRows, n)), residual));
      column += n;
    }
    for (std::uint64_t r = 0; r < kRows; ++r) {
      EXPECT_EQ(all[r * (total + 5)], 0.0f);  // nothing outside its columns
      EXPECT_EQ(all[r * (total + 5) + total + 4], 0.0f);
    }
  }
}

TEST_P(LinearTest, NanAndInfinityShow) {
  const auto b = make_backend(GetParam(), 2, Compute::kBF16);
  constexpr std::uint64_t kN = 20, kK = 150, kRows = 5;
  for (const InputRounding& rounding : roundings()) {
    for (const float bad : {kNaN, kInfinity, -kInfinity}) {
      // A static scale saturates infinity, as it does every value beyond its range.
      if (rounding.kind == Kind::kStatic && bad == bad) continue;
      const Layer layer =
          random_layer({.n = kN, .k = kK, .dtype = DType::kF8E4M3, .block_n = kN, .block_k = kK, .input = rounding}, 5);
      const auto weight = make_weight(*b, layer);
      auto x = random_values(kRows * kK, 4);
      const auto clean = run_linear(*b, *weight, x, kRows);
      x[2 * kK + 149] = bad;
      const auto y = run_linear(*b, *weight, x, kRows);
      for (std::uint64_t i = 0; i < kRows * kN; ++i) {
        if (i / kN == 2) {
          EXPECT_FALSE(std::isfinite(y[i]));
        } else {
          EXPECT_EQ(y[i], clean[i]) << "the neighbour of a bad token";
        }
      }
    }
  }
  // In the weight: BF16, and FP8 whatever the path.
  for (const DType dtype : {DType::kBF16, DType::kF8E4M3, DType::kF8E5M2}) {
    Layer layer = random_layer({.n = kN, .k = kK, .dtype = dtype}, 5);
    if (dtype == DType::kBF16) {
      layer.bytes[2 * (7 * kK + 3)] = std::byte{0x80};  // 0x7F80: infinity
      layer.bytes[2 * (7 * kK + 3) + 1] = std::byte{0x7F};
    } else {
      layer.bytes[7 * kK + 3] = std::byte{0xFF};
    }
    const auto weight = make_weight(*b, layer);
    for (const std::uint64_t rows : {std::uint64_t{1}, kRows}) {
      const auto y = run_linear(*b, *weight, random_values(rows * kK, 4, 0), rows);
      for (std::uint64_t i = 0; i < rows * kN; ++i) EXPECT_EQ(std::isfinite(y[i]), i % kN != 7);
    }
  }
}

TEST_P(LinearTest, RoundedInputsHoldNothingOfTheLayerBefore) {
  const auto b = make_backend(GetParam(), 1, Compute::kF32);
  const auto layer = [](std::uint64_t k) {
    return random_layer(
        {.n = 3, .k = k, .dtype = DType::kF8E4M3, .block_n = 3, .block_k = k, .input = {.kind = Kind::kDynamicToken}},
        k);
  };
  const Layer wide = layer(64), narrow = layer(5);
  const auto wide_weight = make_weight(*b, wide), narrow_weight = make_weight(*b, narrow);
  for (const float value : run_linear(*b, *wide_weight, std::vector<float>(4 * 64, kNaN), 4))
    EXPECT_TRUE(value != value);
  const auto x = random_values(4 * 5, 1);
  expect_product(narrow, x, run_linear(*b, *narrow_weight, x, 4), 4, Compute::kF32);
}

TEST_P(LinearTest, PackingOrderDoesNotMatter) {
  test::Random random(8);
  for (const DType dtype : {DType::kF8E4M3, DType::kBF16, DType::kF16, DType::kF32}) {
    for (const std::uint64_t block : {0u, 24u, 128u}) {
      const std::uint64_t n = 45, k = 300;
      LinearSpec spec{.n = n, .k = k, .dtype = dtype};
      if (is_fp8(dtype) && block != 0) spec.block_n = spec.block_k = block;
      const Layer layer = random_layer(spec, 12);
      const auto b = make_backend(GetParam(), 1, Compute::kBF16);
      const auto whole = make_weight(*b, layer);
      auto pieces = must(b->create_linear(spec));
      if (!layer.scales.empty()) b->set_scales(*pieces, layer.scales);
      // A random partition, packed from several threads.
      std::vector<Rectangle> parts;
      const auto divide = [&](auto& self, const Rectangle& r, int depth) -> void {
        const std::uint64_t rows = r.row_end - r.row_begin, cols = r.col_end - r.col_begin;
        if (depth == 0 || rows * cols <= 1) return parts.push_back(r);
        Rectangle a = r, c = r;
        if ((random.next() % 2 == 0 && rows > 1) || cols <= 1) {
          a.row_end = c.row_begin = r.row_begin + 1 + random.below(rows - 1);
        } else {
          a.col_end = c.col_begin = r.col_begin + 1 + random.below(cols - 1);
        }
        self(self, a, depth - 1);
        self(self, c, depth - 1);
      };
      divide(divide, {0, n, 0, k}, 6);
      for (std::size_t i = parts.size(); i > 1; --i) std::swap(parts[i - 1], parts[random.below(i)]);
      std::vector<std::thread> threads;
      for (std::size_t t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
          for (std::size_t i = t; i < parts.size(); i += 3) {
            std::vector<std::byte> bytes;
            const unsigned size = dtype_bytes(dtype);
            for (std::uint64_t row = parts[i].row_begin; row < parts[i].row_end; ++row) {
              const auto from =
                  layer.bytes.begin() + static_cast<std::ptrdiff_t>((row * k + parts[i].col_begin) * size);
              bytes.insert(bytes.end(), from,
                           from + static_cast<std::ptrdiff_t>((parts[i].col_end - parts[i].col_begin) * size));
            }
            b->pack(*pieces, parts[i], bytes);
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      const auto x = random_values(4 * k, 6);
      EXPECT_TRUE(same_bits(run_linear(*b, *pieces, x, 4), run_linear(*b, *whole, x, 4)));
    }
  }
}

TEST_P(LinearTest, EmbeddingRows) {
  std::uint64_t seed = 1;
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    const auto b = make_backend(GetParam(), 2, compute);
    std::vector<LinearSpec> specs = fp8_specs({50, 129}, DType::kF8E4M3);
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32})
      specs.push_back({.n = 50, .k = 129, .dtype = dtype});
    for (const LinearSpec& spec : specs) {
      const Layer layer = random_layer(spec, ++seed);
      const auto table = make_weight(*b, layer);
      const std::vector<std::int32_t> ids = {49, 0, 7, 7};
      auto out = must(b->create_buffer(4 * 140));
      b->embed(ids, *table, out->matrix(4, 140).col_range(0, 129));
      const auto values = read(*b, out->matrix(4, 140));
      for (std::size_t i = 0; i < ids.size(); ++i) {
        for (std::uint64_t k = 0; k < 140; ++k) {
          const auto id = static_cast<std::uint64_t>(ids[i]);
          const float truth = k < 129 ? static_cast<float>(layer.value(id, k, compute) * layer.scale(id, k)) : 0;
          ASSERT_EQ(values[i * 140 + k], truth);
        }
      }
    }
  }
}

TEST(CpuLinear, BytesAreWhatTheWeightTakes) {
  const auto b = make_backend(Isa::kScalar, 1, Compute::kBF16);
  const LinearSpec fp8{.n = 256, .k = 512, .dtype = DType::kF8E4M3, .block_n = 128, .block_k = 128, .input = {}};
  EXPECT_EQ(b->linear_bytes(fp8), 256u * 512 + 256 / 32 * 4 * 4);  // a scale for 32 outputs
  EXPECT_EQ(must(b->create_linear(fp8))->resident_bytes(), b->linear_bytes(fp8));
  const LinearSpec wide{.n = 256, .k = 512, .dtype = DType::kF32};
  EXPECT_EQ(b->linear_bytes(wide), 256u * 512 * 2);
  EXPECT_EQ(make_backend(Isa::kScalar, 1, Compute::kF32)->linear_bytes(wide), 256u * 512 * 4);
}

TEST(CpuLinear, TooLittleMemoryIsAnErrorThatNamesTheBytes) {
  const auto b = make_backend(Isa::kScalar, 1, Compute::kBF16);
  const auto weight =
      b->create_linear({.n = std::uint64_t{1} << 30, .k = std::uint64_t{1} << 28, .dtype = DType::kBF16});
  ASSERT_FALSE(weight.ok());
  EXPECT_NE(weight.error().message.find("576460752303423488 bytes"), std::string::npos) << weight.error().message;
  EXPECT_FALSE(b->create_buffer(std::uint64_t{1} << 63).ok());
  EXPECT_FALSE(b->create_activations(std::uint64_t{1} << 40, std::uint64_t{1} << 40).ok());
  backend::KvShape kv;
  kv.layers = 32;
  kv.kv_heads = 8;
  kv.head_dim = 128;
  kv.blocks = std::uint64_t{1} << 50;
  EXPECT_FALSE(b->create_kv_cache(kv).ok());
}

TEST(CpuBackend, SaysWhatItIs) {
  EXPECT_EQ(make_backend(Isa::kScalar, 2, Compute::kBF16)->describe(), "cpu scalar, 2 threads");
  EXPECT_EQ(make_backend(Isa::kScalar, 1, Compute::kF32)->describe(), "cpu scalar, 1 thread");
  EXPECT_EQ(make_backend(Isa::kScalar, 1, Compute::kF32)->compute(), Compute::kF32);
  EXPECT_FALSE(make_backend(Isa::kScalar, 1, Compute::kF32)->has_fp8_units());
}

}  // namespace
}  // namespace octavo::cpu
