// Norms, rotations, gates, gathers and log softmax of the CPU backend against double precision; a row's bits do not
// depend on the others or on the threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "tests/backend/backend_support.h"

namespace octavo::cpu {
namespace {

using backend::Compute;
using backend::GatedActivation;
using backend::Matrix;

constexpr std::uint64_t kWidths[] = {1, 5, 16, 33, 127, 576, 1000};
constexpr double kUnit = 0x1p-24;

// The largest distance of neighbours, relatively.
double rounding(Compute compute) { return compute == Compute::kBF16 ? 0x1p-7 : 0; }

class RowsTest : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isa, RowsTest, testing::ValuesIn(available_isas()), isa_test_name);

TEST_P(RowsTest, RmsNorm) {
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    for (const std::uint64_t cols : kWidths) {
      const auto b = make_backend(GetParam(), 2, compute);
      constexpr std::uint64_t kRows = 5;
      const auto values = random_values(kRows * cols, cols);
      const auto weights = random_values(cols, cols + 1);
      const auto x = make_buffer(*b, values), weight = make_buffer(*b, weights);
      auto out = must(b->create_activations(kRows, 1024));
      b->rms_norm(x->matrix(kRows, cols), *weight, 1e-5f, *out);
      EXPECT_EQ(out->rows(), kRows);
      EXPECT_EQ(out->cols(), cols);
      const auto all = read(*b, *out);
      for (std::uint64_t r = 0; r < kRows; ++r) {
        double sum = 0;
        for (std::uint64_t c = 0; c < cols; ++c) sum += std::pow(static_cast<double>(values[r * cols + c]), 2);
        const double rms = std::sqrt(sum / static_cast<double>(cols) + static_cast<double>(1e-5f));
        for (std::uint64_t c = 0; c < cols; ++c) {
          const double truth = static_cast<double>(values[r * cols + c]) / rms * static_cast<double>(weights[c]);
          const double bound = std::abs(truth) * (kUnit * (static_cast<double>(cols) / 8 + 8) + rounding(compute) / 2);
          ASSERT_NEAR(static_cast<double>(all[r * cols + c]), truth, bound);
          EXPECT_EQ(all[r * cols + c], as_computed(all[r * cols + c], compute));
        }
        b->rms_norm(x->matrix(kRows, cols).row_range(r, 1), *weight, 1e-5f, *out);
        EXPECT_TRUE(same_bits(read(*b, *out), std::span(all).subspan(r * cols, cols)));
      }
    }
  }
}

TEST_P(RowsTest, GatedActivation) {
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    for (const std::uint64_t cols : kWidths) {
      const auto b = make_backend(GetParam(), 3, compute);
      constexpr std::uint64_t kRows = 4;
      auto values = random_values(kRows * 2 * cols, cols, 0.1);
      const auto x = make_buffer(*b, values);
      for (const GatedActivation kind : {GatedActivation::kSilu, GatedActivation::kGeluTanh}) {
        auto out = must(b->create_activations(kRows, cols));
        b->gated_activation(x->matrix(kRows, 2 * cols), kind, *out);
        const auto all = read(*b, *out);
        for (std::uint64_t r = 0; r < kRows; ++r) {
          for (std::uint64_t c = 0; c < cols; ++c) {
            const auto g = static_cast<double>(values[r * 2 * cols + c]);
            const auto u = static_cast<double>(values[r * 2 * cols + cols + c]);
            const double argument =
                kind == GatedActivation::kSilu ? g : 2 * std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g);
            const double truth = g / (1 + std::exp(-argument)) * u;
            // The argument's own rounding is multiplied by its size.
            const double unit = kUnit * (kind == GatedActivation::kSilu ? 5 : 5 + 4 * std::abs(argument));
            ASSERT_NEAR(static_cast<double>(all[r * cols + c]), truth,
                        std::abs(truth) * (unit + rounding(compute) / 2) + 1e-36)
                << g;
          }
          b->gated_activation(x->matrix(kRows, 2 * cols).row_range(r, 1), kind, *out);
          EXPECT_TRUE(same_bits(read(*b, *out), std::span(all).subspan(r * cols, cols)));
        }
      }
    }
  }
}

TEST_P(RowsTest, ActivationsAreRoundedToNearestEvenOnce) {
  // silu(32) * v / 32 is v exactly, so what is read is v's rounding: ties, values beside them, subnormal numbers.
  std::vector<float> values;
  test::Random random(3);
  for (int i = 0; i < 500; ++i) {
    const auto high =
        static_cast<std::uint32_t>(random.below(0x7000)) << 16 | static_cast<std::uint32_t>(random.below(2)) << 31;
    for (const std::uint32_t low : {0x0000u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const auto value = std::bit_cast<float>(high | low);
      if (std::abs(value) > 1e-30f && std::abs(value) < 1e30f) values.push_back(value);
    }
  }
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    const auto b = make_backend(GetParam(), 1, compute);
    EXPECT_TRUE(same_bits(read(*b, *make_activations(*b, values, 1, values.size())), as_computed(values, compute)));
  }
}

TEST_P(RowsTest, ReusedActivationsHoldNothingOfBefore) {
  // What a wider matrix left behind the end of a row would be multiplied by zero: NaN would show.
  const auto b = make_backend(GetParam(), 1, Compute::kF32);
  const std::vector<float> bad(4 * 64, std::numeric_limits<float>::quiet_NaN()), ones(64, 1.0f);
  const auto wide = make_buffer(*b, bad), narrow = make_buffer(*b, ones);
  auto x = must(b->create_activations(4, 64));
  Reader reader(*b, 5);
  const auto spoil = [&] { b->rms_norm(wide->matrix(4, 64), *narrow, 1e-5f, *x); };
  const auto expect_finite = [&] {
    for (const float value : reader.read(*x)) EXPECT_TRUE(std::isfinite(value));
  };
  spoil();
  b->rms_norm(narrow->matrix(3, 5), *narrow, 1e-5f, *x);
  expect_finite();
  spoil();
  b->gated_activation(narrow->matrix(3, 10), GatedActivation::kSilu, *x);
  expect_finite();
  spoil();
  backend::KvShape shape{1, 1, 5, 1, 16, backend::KvDType::kF32, {}, {}};
  auto cache = must(b->create_kv_cache(shape));
  const std::int32_t blocks[] = {0};
  const backend::SequenceRows rows[] = {{0, 3, 0, blocks}};
  b->store_kv(narrow->matrix(3, 5), narrow->matrix(3, 5), rows, 0, *cache);
  b->attention(narrow->matrix(3, 5), rows, {1, 1, 5, 1.0f, 0}, 0, *cache, *x);
  expect_finite();
}

TEST_P(RowsTest, SiluOfExtremes) {
  const auto b = make_backend(GetParam(), 1, Compute::kF32);
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> gate_up = {
      0, -0.0f, infinity, -200, 1e30f, -1e30f, std::numeric_limits<float>::quiet_NaN(), 1e-30f, 1, 1, 1, 1, 1, 1, 1, 1};
  const auto x = make_buffer(*b, gate_up);
  auto out = must(b->create_activations(1, 8));
  b->gated_activation(x->matrix(1, 16), GatedActivation::kSilu, *out);
  // Through an element of its own each: the identity would mix infinity and zero.
  auto weight = must(b->create_linear({.n = 1, .k = 8, .dtype = DType::kF32}));
  const std::vector<float> ones(8, 1.0f);
  b->pack(*weight, {0, 1, 0, 8}, std::as_bytes(std::span(ones)));
  auto sum = must(b->create_buffer(1));
  const backend::LinearWeight* const weights[] = {weight.get()};
  b->linear(*out, weights, sum->matrix(1, 1));
  EXPECT_TRUE(std::isnan(read(*b, sum->matrix(1, 1))[0]));  // NaN has not vanished
  for (std::size_t i = 0; i < 8; ++i) {
    const std::vector<float> one = {gate_up[i], 1};
    const auto buffer = make_buffer(*b, one);
    b->gated_activation(buffer->matrix(1, 2), GatedActivation::kSilu, *out);
    const float value = read(*b, *out)[0];
    const float truths[] = {0, 0, infinity, 0, 1e30f, 0, gate_up[6], 5e-31f};
    EXPECT_TRUE(std::abs(value - truths[i]) <= 1e-6f * std::abs(truths[i]) || value == truths[i] ||
                (value != value && truths[i] != truths[i]))
        << i << " " << value;
  }
}

TEST_P(RowsTest, RopeTable) {
  const auto b = make_backend(GetParam(), 2, Compute::kBF16);
  std::vector<float> inv_freq(24);
  for (std::size_t i = 0; i < inv_freq.size(); ++i)
    inv_freq[i] = static_cast<float>(std::pow(10000.0, -static_cast<double>(i) / 24));
  auto table = must(b->create_buffer(30 * 48));
  b->rope_table(100000, inv_freq, 1.25f, table->matrix(30, 48));
  const auto values = read(*b, table->matrix(30, 48));
  for (std::size_t r = 0; r < 30; ++r) {
    for (std::size_t i = 0; i < 24; ++i) {
      // The angle is an FP32 product.
      const auto angle = static_cast<double>(static_cast<float>(100000 + r) * inv_freq[i]);
      EXPECT_NEAR(static_cast<double>(values[r * 48 + i]), std::cos(angle) * 1.25, 2e-7);
      EXPECT_NEAR(static_cast<double>(values[r * 48 + 24 + i]), std::sin(angle) * 1.25, 2e-7);
    }
  }
  auto one = must(b->create_buffer(48));
  b->rope_table(100007, inv_freq, 1.25f, one->matrix(1, 48));
  EXPECT_TRUE(same_bits(read(*b, one->matrix(1, 48)), std::span(values).subspan(7 * 48, 48)));
}

TEST_P(RowsTest, NormRope) {
  struct Shape {
    std::uint64_t heads, head_dim, half;
  };
  for (const Shape& s :
       {Shape{3, 64, 32}, Shape{2, 128, 64}, Shape{1, 20, 5}, Shape{4, 80, 10}, Shape{2, 6, 3}, Shape{5, 34, 17}}) {
    for (const bool normed : {false, true}) {
      const auto b = make_backend(GetParam(), 2, Compute::kBF16);
      constexpr std::uint64_t kRows = 7;
      const std::uint64_t cols = s.heads * s.head_dim;
      const auto values = random_values(kRows * cols, s.head_dim);
      const auto weights = random_values(s.head_dim, 5, 0);
      const auto angles = random_values(kRows * s.half, 6);
      std::vector<float> tables;
      for (std::uint64_t r = 0; r < kRows; ++r) {
        for (std::uint64_t i = 0; i < s.half; ++i) tables.push_back(std::cos(angles[r * s.half + i]));
        for (std::uint64_t i = 0; i < s.half; ++i) tables.push_back(std::sin(angles[r * s.half + i]));
      }
      const auto weight = make_buffer(*b, weights), table = make_buffer(*b, tables);
      // A part of wider rows, as q and k of a fused projection are.
      std::vector<float> wide;
      for (std::uint64_t r = 0; r < kRows; ++r) {
        wide.push_back(7);
        wide.insert(wide.end(), values.begin() + static_cast<std::ptrdiff_t>(r * cols),
                    values.begin() + static_cast<std::ptrdiff_t>((r + 1) * cols));
        wide.push_back(8);
      }
      const auto x = make_buffer(*b, wide);
      const Matrix part = x->matrix(kRows, cols + 2).col_range(1, cols);
      const backend::Buffer* norm = normed ? weight.get() : nullptr;
      b->norm_rope(part, s.head_dim, norm, 1e-6f, table->matrix(kRows, 2 * s.half));
      const auto all = read(*b, part);
      const auto around = read(*b, x->matrix(kRows, cols + 2));
      for (std::uint64_t r = 0; r < kRows; ++r) {
        EXPECT_EQ(around[r * (cols + 2)], 7);
        EXPECT_EQ(around[r * (cols + 2) + cols + 1], 8);
        for (std::uint64_t h = 0; h < s.heads; ++h) {
          std::vector<double> in, out;
          double sum = 0;
          for (std::uint64_t i = 0; i < s.head_dim; ++i) {
            in.push_back(static_cast<double>(values[r * cols + h * s.head_dim + i]));
            sum += in.back() * in.back();
          }
          if (normed) {
            const double inverse = 1 / std::sqrt(sum / static_cast<double>(s.head_dim) + 1e-6);
            for (std::uint64_t i = 0; i < s.head_dim; ++i) in[i] *= inverse * static_cast<double>(weights[i]);
          }
          out = in;
          double magnitude = 0;
          for (std::uint64_t i = 0; i < s.half; ++i) {
            const auto cosine = static_cast<double>(tables[r * 2 * s.half + i]);
            const auto sine = static_cast<double>(tables[r * 2 * s.half + s.half + i]);
            out[i] = in[i] * cosine - in[i + s.half] * sine;
            out[i + s.half] = in[i + s.half] * cosine + in[i] * sine;
            magnitude = std::max({magnitude, std::abs(in[i]), std::abs(in[i + s.half])});
          }
          for (std::uint64_t i = 0; i < s.head_dim; ++i) {
            ASSERT_NEAR(static_cast<double>(all[r * cols + h * s.head_dim + i]), out[i],
                        32 * kUnit * (magnitude + std::abs(out[i])));
          }
        }
        const auto alone = make_buffer(*b, std::span(values).subspan(r * cols, cols));
        b->norm_rope(alone->matrix(1, cols), s.head_dim, norm, 1e-6f, table->matrix(kRows, 2 * s.half).row_range(r, 1));
        EXPECT_TRUE(same_bits(read(*b, alone->matrix(1, cols)), std::span(all).subspan(r * cols, cols)));
      }
    }
  }
}

TEST_P(RowsTest, GatherRows) {
  const auto b = make_backend(GetParam(), 2, Compute::kBF16);
  const auto values = random_values(6 * 10, 1);
  const auto x = make_buffer(*b, values);
  auto out = must(b->create_buffer(3 * 4));
  const std::int32_t rows[] = {5, 0, 5};
  b->gather_rows(x->matrix(6, 10).col_range(3, 4), rows, out->matrix(3, 4));
  const auto result = read(*b, out->matrix(3, 4));
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t c = 0; c < 4; ++c)
      EXPECT_EQ(result[i * 4 + c], values[static_cast<std::size_t>(rows[i]) * 10 + 3 + c]);
  }
}

TEST_P(RowsTest, TokenLogprobs) {
  for (const int threads : {1, 3}) {
    const auto b = make_backend(GetParam(), threads, Compute::kBF16);
    for (const std::uint64_t vocab : {1u, 2u, 17u, 1024u, 1025u, 50000u}) {
      constexpr std::uint64_t kRows = 6;
      auto values = random_values(kRows * vocab, vocab);
      for (std::uint64_t i = 0; i < vocab; ++i) values[i] = 100;                                // all equal
      for (std::uint64_t i = 0; i < vocab; ++i) values[vocab + i] += i == vocab / 2 ? 200 : 0;  // nearly certain
      std::vector<std::int32_t> targets = {0, 0, 0, 0, 0, 0};
      test::Random random(vocab);
      for (auto& target : targets) target = static_cast<std::int32_t>(random.below(vocab));
      targets[1] = static_cast<std::int32_t>(vocab / 2);
      const auto logits = make_buffer(*b, values);
      std::vector<float> logprobs(kRows);
      std::vector<std::int32_t> ranks(kRows);
      b->token_logprobs(logits->matrix(kRows, vocab), targets, logprobs, ranks);
      for (std::uint64_t r = 0; r < kRows; ++r) {
        const auto row = std::span(values).subspan(r * vocab, vocab);
        const float own = row[static_cast<std::size_t>(targets[r])];
        const auto top = static_cast<double>(*std::max_element(row.begin(), row.end()));
        double sum = 0;
        for (const float value : row) sum += std::exp(static_cast<double>(value) - top);
        const double truth = static_cast<double>(own) - top - std::log(sum);
        EXPECT_NEAR(static_cast<double>(logprobs[r]), truth, 1e-6 + std::abs(truth) * 0x1p-23);
        EXPECT_EQ(ranks[r], 1 + std::count_if(row.begin(), row.end(), [&](float v) { return v > own; }));
        float logprob = 0;
        std::int32_t rank = 0;
        b->token_logprobs(logits->matrix(kRows, vocab).row_range(r, 1), std::span(targets).subspan(r, 1), {&logprob, 1},
                          {&rank, 1});
        EXPECT_TRUE(same_bits({&logprob, 1}, {&logprobs[r], 1}));
        EXPECT_EQ(rank, ranks[r]);
      }
    }
  }
}

TEST_P(RowsTest, TokenLogprobsOfMaskedAndBadLogits) {
  const auto b = make_backend(GetParam(), 1, Compute::kF32);
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> values(60, -infinity);
  values[3] = values[4] = 1;  // row 0: two tokens left
  values[20] = 2;             // row 1: one left
  std::fill(values.begin() + 40, values.end(), 0.0f);
  values[45] = std::numeric_limits<float>::quiet_NaN();  // row 2
  const auto logits = make_buffer(*b, values);
  std::vector<float> logprobs(3);
  std::vector<std::int32_t> ranks(3);
  const std::int32_t targets[] = {3, 5, 7};
  b->token_logprobs(logits->matrix(3, 20), targets, logprobs, ranks);
  EXPECT_NEAR(logprobs[0], -std::log(2.0), 1e-6);
  EXPECT_EQ(ranks[0], 1);  // a tie is no better
  EXPECT_EQ(logprobs[1], -infinity);
  EXPECT_EQ(ranks[1], 2);
  EXPECT_TRUE(logprobs[2] != logprobs[2]);
}

}  // namespace
}  // namespace octavo::cpu
