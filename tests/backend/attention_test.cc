// Attention over paged keys and values of the CPU backend against softmax in double precision, and the promise of bits:
// however a prompt is cut into calls, batched, placed in blocks and divided over threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "octavo/fp8/codec.h"
#include "tests/backend/backend_support.h"

namespace octavo::cpu {
namespace {

using backend::AttentionShape;
using backend::Compute;
using backend::KvDType;
using backend::KvShape;
using backend::Matrix;
using backend::SequenceRows;

struct Case {
  std::uint64_t heads, kv_heads, head_dim, window, block_size, length;
  KvDType dtype;
  bool scaled = false;  // FP8: with scales
};

constexpr std::uint64_t kLayers = 3, kLayer = 1;

// One sequence: queries, keys and values of every position.
struct Sequence {
  std::vector<float> q, k, v;
  std::uint64_t length = 0;
};
Sequence random_sequence(const Case& c, std::uint64_t length, std::uint64_t seed) {
  return {random_values(length * c.heads * c.head_dim, seed), random_values(length * c.kv_heads * c.head_dim, seed + 1),
          random_values(length * c.kv_heads * c.head_dim, seed + 2), length};
}

KvShape kv_shape(const Case& c, std::uint64_t blocks) {
  KvShape shape{kLayers, c.kv_heads, c.head_dim, blocks, c.block_size, c.dtype, {}, {}};
  if (c.scaled) {
    shape.k_scales = {9.0f, 0.07f, 9.0f};
    shape.v_scales = {9.0f, 0.031f, 9.0f};
  }
  return shape;
}
AttentionShape attention_shape(const Case& c) {
  return {c.heads, c.kv_heads, c.head_dim, static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim))),
          c.window};
}

// A value as the cache holds it, and the scale it is multiplied by.
double stored(float value, KvDType dtype, float scale) {
  switch (dtype) {
    case KvDType::kF32: return static_cast<double>(value);
    case KvDType::kBF16: return static_cast<double>(fp8::bf16_to_float(fp8::float_to_bf16(value)));
    case KvDType::kFp8E4M3:
      return static_cast<double>(fp8::decode(fp8::Format::kE4M3, fp8::encode(fp8::Format::kE4M3, value / scale))) *
             static_cast<double>(scale);
    case KvDType::kFp8E5M2:
      return static_cast<double>(fp8::decode(fp8::Format::kE5M2, fp8::encode(fp8::Format::kE5M2, value / scale))) *
             static_cast<double>(scale);
  }
  return 0;
}

void expect_attention(const Case& c, const Sequence& s, std::span<const float> out, Compute compute) {
  const KvShape shape = kv_shape(c, 1);
  const float k_scale = shape.k_scales.empty() ? 1 : shape.k_scales[kLayer];
  const float v_scale = shape.v_scales.empty() ? 1 : shape.v_scales[kLayer];
  const std::uint64_t group = c.heads / c.kv_heads, d = c.head_dim;
  const auto scale = static_cast<double>(attention_shape(c).scale);
  for (std::uint64_t p = 0; p < s.length; ++p) {
    const std::uint64_t first = c.window == 0 || p < c.window ? 0 : p - c.window + 1;
    for (std::uint64_t h = 0; h < c.heads; ++h) {
      std::vector<double> weights;
      double top = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::uint64_t j = first; j <= p; ++j) {
        double score = 0;
        for (std::uint64_t i = 0; i < d; ++i) {
          score += static_cast<double>(s.q[(p * c.heads + h) * d + i]) *
                   stored(s.k[(j * c.kv_heads + h / group) * d + i], c.dtype, k_scale);
        }
        weights.push_back(score * scale);
        top = std::max(top, weights.back());
      }
      for (double& w : weights) sum += w = std::exp(w - top);
      for (std::uint64_t i = 0; i < d; ++i) {
        double value = 0, magnitude = 0;
        for (std::uint64_t j = first; j <= p; ++j) {
          const double term =
              weights[j - first] / sum * stored(s.v[(j * c.kv_heads + h / group) * d + i], c.dtype, v_scale);
          value += term;
          magnitude += std::abs(term);
        }
        // Scores of about a hundred times 2^-24 are what a weight is wrong by.
        const double unit = compute == Compute::kBF16 ? 0x1p-8 : 0;
        ASSERT_NEAR(static_cast<double>(out[(p * c.heads + h) * d + i]), value,
                    magnitude * 5e-4 + std::abs(value) * unit + 1e-6)
            << "position " << p << ", head " << h << ", dimension " << i;
      }
    }
  }
}

// A batch of sequences in one cache.
class Runner {
 public:
  Runner(backend::Backend& b, const Case& c, std::vector<Sequence> sequences, std::uint64_t seed)
      : b_(b), case_(c), sequences_(std::move(sequences)), reader_(b, c.heads * c.head_dim) {
    std::uint64_t blocks = 3;  // some that nobody owns
    for (const Sequence& s : sequences_) blocks += (s.length + c.block_size - 1) / c.block_size;
    std::vector<std::int32_t> ids(blocks);
    std::iota(ids.begin(), ids.end(), 0);
    test::Random random(seed);
    for (std::size_t i = ids.size(); i > 1; --i) std::swap(ids[i - 1], ids[random.below(i)]);
    std::size_t next = 0;
    for (const Sequence& s : sequences_) {
      const std::size_t count = (s.length + c.block_size - 1) / c.block_size;
      blocks_.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(next),
                           ids.begin() + static_cast<std::ptrdiff_t>(next + count));
      next += count;
    }
    cache_ = must(b.create_kv_cache(kv_shape(c, blocks)));
    done_.assign(sequences_.size(), 0);
    for (const Sequence& s : sequences_) outputs_.emplace_back(s.length * c.heads * c.head_dim);
  }

  // Runs counts[i] more tokens of each sequence in one call.
  void step(const std::vector<std::uint64_t>& counts) {
    const std::uint64_t q_cols = case_.heads * case_.head_dim, kv_cols = case_.kv_heads * case_.head_dim;
    std::vector<float> q, k, v;
    std::vector<SequenceRows> rows;
    std::uint64_t row = 0;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      if (counts[i] == 0) continue;
      const Sequence& s = sequences_[i];
      rows.push_back({row, counts[i], done_[i], blocks_[i]});
      const auto append = [&](std::vector<float>& to, const std::vector<float>& from, std::uint64_t cols) {
        to.insert(to.end(), from.begin() + static_cast<std::ptrdiff_t>(done_[i] * cols),
                  from.begin() + static_cast<std::ptrdiff_t>((done_[i] + counts[i]) * cols));
      };
      append(q, s.q, q_cols);
      append(k, s.k, kv_cols);
      append(v, s.v, kv_cols);
      row += counts[i];
    }
    const auto qb = make_buffer(b_, q), kb = make_buffer(b_, k), vb = make_buffer(b_, v);
    auto out = must(b_.create_activations(row, q_cols));
    b_.store_kv(kb->matrix(row, kv_cols), vb->matrix(row, kv_cols), rows, kLayer, *cache_);
    b_.attention(qb->matrix(row, q_cols), rows, attention_shape(case_), kLayer, *cache_, *out);
    ASSERT_EQ(out->rows(), row);
    ASSERT_EQ(out->cols(), q_cols);
    const auto values = reader_.read(*out);
    row = 0;
    for (std::size_t i = 0; i < sequences_.size(); ++i) {
      std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(row * q_cols), counts[i] * q_cols,
                  outputs_[i].begin() + static_cast<std::ptrdiff_t>(done_[i] * q_cols));
      row += counts[i];
      done_[i] += counts[i];
    }
  }
  std::uint64_t left(std::size_t i) const { return sequences_[i].length - done_[i]; }
  const std::vector<float>& output(std::size_t i) const { return outputs_[i]; }

 private:
  backend::Backend& b_;
  Case case_;
  std::vector<Sequence> sequences_;
  Reader reader_;
  std::vector<std::vector<std::int32_t>> blocks_;
  std::unique_ptr<backend::KvCache> cache_;
  std::vector<std::uint64_t> done_;
  std::vector<std::vector<float>> outputs_;
};

constexpr Case kCases[] = {
    {4, 4, 64, 0, 16, 70, KvDType::kF32},
    {6, 2, 64, 0, 16, 200, KvDType::kBF16},
    {9, 3, 64, 50, 16, 150, KvDType::kBF16},
    {8, 1, 128, 0, 32, 130, KvDType::kFp8E4M3},
    {4, 2, 32, 7, 16, 90, KvDType::kFp8E5M2, true},
    {4, 2, 80, 0, 16, 66, KvDType::kFp8E4M3, true},
    {3, 1, 20, 0, 7, 140, KvDType::kF32},  // a head and blocks that nothing divides
    {2, 2, 5, 33, 20, 150, KvDType::kBF16},
    {40, 1, 16, 0, 16, 70, KvDType::kBF16},  // more query heads than a call of the kernel takes
    {2, 1, 64, 64, 64, 300, KvDType::kF32},
    {2, 1, 24, 1, 1, 10, KvDType::kFp8E4M3},
};

class AttentionTest : public testing::TestWithParam<Isa> {};
INSTANTIATE_TEST_SUITE_P(Isa, AttentionTest, testing::ValuesIn(available_isas()), isa_test_name);

TEST_P(AttentionTest, IsSoftmaxOfScoresTimesValues) {
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    const auto b = make_backend(GetParam(), 2, compute);
    std::uint64_t seed = 10;
    for (const Case& c : kCases) {
      const Sequence s = random_sequence(c, c.length, seed += 10);
      Runner runner(*b, c, {s}, seed);
      runner.step({c.length});
      expect_attention(c, s, runner.output(0), compute);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(AttentionTest, TheSameBitsHoweverItIsCut) {
  for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
    std::uint64_t seed = 500;
    for (const Case& c : kCases) {
      const std::vector<Sequence> sequences = {random_sequence(c, c.length, seed + 1), random_sequence(c, 1, seed + 4),
                                               random_sequence(c, c.length / 2 + 1, seed + 7)};
      seed += 10;
      std::vector<std::vector<float>> alone;
      const auto one = make_backend(GetParam(), 1, compute);
      for (const Sequence& s : sequences) {
        Runner runner(*one, c, {s}, 1);
        runner.step({s.length});
        alone.push_back(runner.output(0));
      }
      test::Random random(seed);
      for (const int threads : {1, 2, 3, 5}) {
        const auto b = make_backend(GetParam(), threads, compute);
        Runner runner(*b, c, sequences, seed + static_cast<std::uint64_t>(threads));
        // With one thread token by token, else in random pieces.
        while (runner.left(0) + runner.left(1) + runner.left(2) > 0) {
          std::vector<std::uint64_t> counts;
          for (std::size_t i = 0; i < 3; ++i) {
            const std::uint64_t most = threads == 1 ? 1 : 1 + random.below(random.below(4) == 0 ? 100 : 5);
            counts.push_back(std::min(runner.left(i), most));
          }
          runner.step(counts);
        }
        for (std::size_t i = 0; i < 3; ++i) {
          ASSERT_TRUE(same_bits(runner.output(i), alone[i]))
              << "sequence " << i << ", " << threads << " threads, head_dim " << c.head_dim;
        }
      }
    }
  }
}

TEST_P(AttentionTest, WhatIsNotSeenDoesNotMatter) {
  // A later token of the same call, and an earlier one beyond the window, hold NaN: no query that does not see them may
  // notice, and all others must.
  const auto b = make_backend(GetParam(), 2, Compute::kF32);
  for (const KvDType dtype : {KvDType::kF32, KvDType::kBF16, KvDType::kFp8E4M3, KvDType::kFp8E5M2}) {
    const Case c{4, 2, 32, 10, 16, 100, dtype};
    const Sequence s = random_sequence(c, c.length, 3);
    Runner clean(*b, c, {s}, 3);
    clean.step({c.length});
    for (const bool key : {false, true}) {
      Sequence bad = s;
      auto& values = key ? bad.k : bad.v;
      for (std::uint64_t i = 0; i < 2 * 32; ++i) values[70 * 2 * 32 + i] = std::numeric_limits<float>::quiet_NaN();
      Runner runner(*b, c, {bad}, 3);
      runner.step({c.length});
      const std::uint64_t cols = 4 * 32;
      for (std::uint64_t p = 0; p < c.length; ++p) {
        const auto row = std::span(runner.output(0)).subspan(p * cols, cols);
        if (p < 70 || p >= 80) {
          EXPECT_TRUE(same_bits(row, std::span(clean.output(0)).subspan(p * cols, cols))) << p;
        } else {
          for (const float value : row) EXPECT_TRUE(value != value) << p;
        }
      }
    }
  }
}

TEST(KvShape, Bytes) {
  const KvShape shape{2, 3, 64, 10, 16, KvDType::kBF16, {}, {}};
  EXPECT_EQ(shape.bytes(), 2u * 2 * 3 * 64 * 10 * 16 * 2);
  EXPECT_EQ(backend::kv_dtype_name(KvDType::kFp8E4M3), "fp8_e4m3");
  EXPECT_EQ(backend::compute_name(Compute::kBF16), "bf16");
}

}  // namespace
}  // namespace octavo::cpu
