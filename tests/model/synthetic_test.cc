// Synthetic models have the published shapes, the same values on any number of threads, and the logits of their BF16
// selves once quantized.
#include "octavo/model/synthetic.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>

#include "octavo/backend/cpu/cpu_backend.h"
#include "octavo/model/decoder.h"
#include "octavo/quant/online.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"

namespace octavo::model {
namespace {

std::uint64_t parameters(const DecoderConfig& c) {
  const std::uint64_t qk_norm = c.architecture->names.q_norm.empty() ? 0 : 2 * c.head_dim;
  const std::uint64_t layer =
      2 * c.hidden * c.q_size() + 2 * c.hidden * c.kv_size() + 3 * c.hidden * c.intermediate + 2 * c.hidden + qk_norm;
  return c.vocab * c.hidden * (c.tie_word_embeddings ? 1 : 2) + c.layers * layer + c.hidden;
}

TEST(Synthetic, ShapesHaveThePublishedNumberOfParameters) {
  const std::pair<const char*, std::uint64_t> published[] = {{"qwen3-0.6b", 596'049'920},
                                                             {"llama3.2-1b", 1'235'814'400},
                                                             {"qwen3-1.7b", 1'720'574'976},
                                                             {"qwen3-4b", 4'022'468'096}};
  EXPECT_EQ(synthetic_names().size(), std::size(published));
  for (const auto& [name, count] : published) {
    const auto config = synthetic_config(name);
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(parameters(*config), count) << name;
  }
}

TEST(Synthetic, ThePublishedFileSaysTheSame) {
  const std::filesystem::path path =
      std::filesystem::path(OCTAVO_SOURCE_DIR) / "../shared/data/configs/Qwen--Qwen3-0.6B_config.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const auto json = parse_json(test::read_file(path), "config.json");
  ASSERT_TRUE(json.ok());
  const auto theirs = parse_decoder_config(*json, "config.json");
  const auto ours = synthetic_config("qwen3-0.6b");
  ASSERT_TRUE(theirs.ok() && ours.ok());
  EXPECT_EQ(ours->layers, theirs->layers);
  EXPECT_EQ(ours->hidden, theirs->hidden);
  EXPECT_EQ(ours->intermediate, theirs->intermediate);
  EXPECT_EQ(ours->vocab, theirs->vocab);
  EXPECT_EQ(ours->heads, theirs->heads);
  EXPECT_EQ(ours->kv_heads, theirs->kv_heads);
  EXPECT_EQ(ours->head_dim, theirs->head_dim);
  EXPECT_EQ(ours->max_positions, theirs->max_positions);
  EXPECT_EQ(ours->tie_word_embeddings, theirs->tie_word_embeddings);
  EXPECT_EQ(ours->rope.theta, theirs->rope.theta);
  EXPECT_EQ(ours->norm_eps, theirs->norm_eps);
}

TEST(Synthetic, UnknownNames) {
  const auto config = synthetic_config("qwen3-06b");
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.error().kind, ErrorKind::kUsage);
  EXPECT_NE(config.error().message.find("did you mean qwen3-0.6b?"), std::string::npos) << config.error().message;
}

DecoderConfig tiny(bool tied) {
  test::TinyDecoder shape;
  shape.tied = tied;
  auto builder = test::tiny_decoder(shape);
  return parse_decoder_config(builder.config(), "tiny").value();
}

constexpr std::array<std::int32_t, 6> kTokens = {5, 1, 300, 77, 5, 200};

// Logits of the last token. Fails the test and returns {} where something does not work.
std::vector<float> logits(const DecoderConfig& config, const LoadOptions& options) {
  const auto backend = cpu::create_cpu_backend({.isa = options.isa, .threads = options.threads});
  auto model = make_synthetic_model(config, *backend, options);
  EXPECT_TRUE(model.ok()) << (model.ok() ? "" : model.error().message);
  if (!model.ok()) return {};
  auto decoder = Decoder::create(*model, *backend, kTokens.size());
  auto cache = decoder->create_kv_cache(1, backend::KvDType::kBF16);
  const std::int32_t block = 0;
  const BatchPlan plan{.tokens = {kTokens.begin(), kTokens.end()},
                       .sequences = {{0, kTokens.size(), 0, std::span(&block, 1)}},
                       .logit_rows = {kTokens.size() - 1},
                       .lengths = {}};
  std::vector<float> out(config.vocab);
  EXPECT_TRUE(decoder->step(plan, **cache).ok());
  EXPECT_TRUE(decoder->logits(0, 1, out).ok());
  return out;
}

double correlation(const std::vector<float>& a, const std::vector<float>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    ab += x * y, aa += x * x, bb += y * y;
  }
  return ab / std::sqrt(aa * bb);
}

TEST(Synthetic, RowsAreRandomAndDoNotDependOnThreads) {
  const DecoderConfig config = tiny(false);
  std::vector<std::vector<float>> rows;
  for (const int threads : {1, 3}) {
    LoadOptions options;
    options.threads = threads;
    const auto backend = cpu::create_cpu_backend({.isa = Isa::kScalar, .threads = threads});
    const auto model = make_synthetic_model(config, *backend, options);
    ASSERT_TRUE(model.ok()) << model.error().message;
    ASSERT_NE(model->weights.head, nullptr);
    std::vector<std::int32_t> ids(config.vocab);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
    const auto buffer = backend->create_buffer(config.vocab * config.hidden).value();
    backend->embed(ids, *model->weights.embedding, buffer->matrix(config.vocab, config.hidden));
    rows.emplace_back(buffer->data(), buffer->data() + buffer->size());
  }
  EXPECT_EQ(rows[0], rows[1]);
  double sum = 0, squares = 0;
  for (const float x : rows[0]) {
    sum += static_cast<double>(x);
    squares += static_cast<double>(x) * static_cast<double>(x);
  }
  const auto count = static_cast<double>(rows[0].size());
  EXPECT_NEAR(sum / count, 0, 0.001);
  EXPECT_NEAR(std::sqrt(squares / count), 0.02, 0.001);
  const auto row = [&](std::size_t i) {
    const auto begin = rows[0].begin() + static_cast<std::ptrdiff_t>(i * config.hidden);
    return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(config.hidden));
  };
  for (std::size_t i = 1; i < config.vocab; ++i) EXPECT_NE(row(i), row(i - 1)) << i;
}

TEST(Synthetic, QuantizedIsNearItsBf16Self) {
  for (const bool tied : {false, true}) {
    const DecoderConfig config = tiny(tied);
    LoadOptions options;
    options.threads = 2;
    const std::vector<float> bf16 = logits(config, options);
    for (const char* name : {"fp8", "fp8_channel", "fp8_block"}) {
      options.quantize = quant::online_spec(name).value();
      for (const ActivationMode activations : {ActivationMode::kBF16, ActivationMode::kFp8}) {
        options.activations = activations;
        const std::vector<float> fp8 = logits(config, options);
        ASSERT_EQ(fp8.size(), bf16.size());
        const double near = correlation(bf16, fp8);
        EXPECT_GT(near, 0.98) << name;
        EXPECT_LT(near, 0.9999999) << name << " is not quantized";
      }
    }
  }
}

TEST(Synthetic, ReportsWhatItIs) {
  LoadOptions options;
  options.quantize = quant::online_spec("fp8_block").value();
  const auto backend = cpu::create_cpu_backend({});
  const auto model = make_synthetic_model(tiny(true), *backend, options);
  ASSERT_TRUE(model.ok());
  EXPECT_TRUE(model->report.weights.starts_with("F8_E4M3 128x128 blocks")) << model->report.weights;
  EXPECT_EQ(model->report.fp8_linears, 2u * 7);
  EXPECT_EQ(model->weights.head, nullptr);
  options.quantize->keep_first = 1;
  const auto kept = make_synthetic_model(tiny(true), *backend, options);
  ASSERT_FALSE(kept.ok());
  EXPECT_NE(kept.error().message.find("--keep-first goes with the folder of a model"), std::string::npos);
}

// The head's values do not change with the layers' encoding, nor do theirs with the head's.
TEST(Synthetic, AnFp8HeadIsNearItsBf16Self) {
  for (const bool tied : {false, true}) {
    const DecoderConfig config = tiny(tied);
    for (const char* name : {"", "fp8", "fp8_block"}) {
      LoadOptions options;
      options.threads = 2;
      if (*name != '\0') options.quantize = quant::online_spec(name).value();
      const std::vector<float> stored = logits(config, options);
      options.head = HeadMode::kFp8;
      for (const ActivationMode activations : {ActivationMode::kBF16, ActivationMode::kFp8}) {
        if (activations == ActivationMode::kFp8 && options.quantize) continue;  // then the layers differ, too
        options.activations = activations;
        const std::vector<float> fp8 = logits(config, options);
        ASSERT_EQ(fp8.size(), stored.size());
        const double near = correlation(stored, fp8);
        EXPECT_GT(near, 0.998) << name << (tied ? " tied" : "");
        EXPECT_LT(near, 0.9999999) << "the head is not quantized";
      }
    }
    LoadOptions options;
    options.head = HeadMode::kFp8;
    const auto backend = cpu::create_cpu_backend({});
    const auto model = make_synthetic_model(config, *backend, options);
    ASSERT_TRUE(model.ok());
    ASSERT_TRUE(model->report.fp8_head.has_value());
    EXPECT_EQ(model->report.fp8_head->copy, tied);
    EXPECT_EQ(model->report.fp8_head->bytes, config.vocab * (config.hidden + sizeof(float)));
    EXPECT_EQ(model->report.weights, "BF16");
  }
}

TEST(Synthetic, MemoryIsAskedForFirst) {
  LoadOptions options;
  options.extra_bytes = std::uint64_t{1} << 60;
  const auto backend = cpu::create_cpu_backend({});
  const auto model = make_synthetic_model(tiny(true), *backend, options);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.error().message.find("of memory, but"), std::string::npos) << model.error().message;
}

}  // namespace
}  // namespace octavo::model
