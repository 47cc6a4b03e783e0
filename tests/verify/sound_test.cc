// Sound checkpoints of every legal pair of scheme and dialect, from every kind of source, have no violation.
#include <gtest/gtest.h>

#include <cmath>

#include "octavo/quant/spec.h"
#include "tests/support/random_tensor.h"
#include "tests/verify/plain_quantizer.h"
#include "tests/verify/verify_testing.h"

namespace octavo::test {
namespace {

using verify::Loader;

CheckpointBuilder dense(const std::string& model_type = "qwen3") {
  TinyModel model;
  model.model_type = model_type;
  return tiny_model(model);
}

// The same tensors under names that no engine knows.
CheckpointBuilder renamed(const CheckpointBuilder& source) {
  const std::pair<std::string, std::string> kWords[] = {
      {"model.layers.", "trunk.cells."}, {"self_attn.q_proj", "mix.asker"}, {"self_attn.k_proj", "mix.holder"},
      {"self_attn.v_proj", "mix.giver"}, {"self_attn.o_proj", "mix.out"},   {"mlp.gate_proj", "fold.left"},
      {"mlp.up_proj", "fold.right"},     {"mlp.down_proj", "fold.back"}};
  CheckpointBuilder out;
  for (const BuiltTensor& t : source.tensors()) {
    std::string name = t.name;
    for (const auto& [from, to] : kWords) {
      if (const auto at = name.find(from); at != std::string::npos) name.replace(at, from.size(), to);
    }
    out.add(name, t.dtype, t.shape, t.bytes, t.shard);
  }
  out.config() = source.config();
  out.config()["model_type"] = "never_heard_of";
  return out;
}

PlainOptions options_of(const quant::LegalPair& pair) {
  PlainOptions options;
  options.scheme = pair.scheme;
  options.fp8_dialect = pair.format == quant::OutputFormat::kFp8;
  if (pair.format == quant::OutputFormat::kModelOpt) options.dialect = "modelopt";
  if (pair.format == quant::OutputFormat::kMxfp8) options.dialect = "mxfp8";
  return options;
}

TEST(Sound, EveryLegalPairOfEverySource) {
  TinyModel moe;
  moe.experts = 3;
  moe.intermediate = 128;
  TinyModel tied;
  tied.tied = true;
  TinyModel odd;  // no dimension is divisible by a block
  odd.hidden = 200;
  odd.intermediate = 333;
  odd.head_dim = 50;
  TinyModel f32, f16;
  f32.dtype = DType::kF32;
  f16.dtype = DType::kF16;
  CheckpointBuilder sharded = dense();
  sharded.spread(3);
  const std::pair<const char*, CheckpointBuilder> kSources[] = {
      {"dense", dense()},       {"experts", tiny_model(moe)}, {"tied", tiny_model(tied)},
      {"odd", tiny_model(odd)}, {"f32", tiny_model(f32)},     {"f16", tiny_model(f16)},
      {"sharded", sharded},     {"renamed", renamed(dense())}};
  for (const quant::LegalPair& pair : quant::legal_pairs()) {
    for (const auto& [name, source] : kSources) {
      SCOPED_TRACE(fmt::format("{} {} {}", name, pair.scheme, quant::format_name(pair.format)));
      const auto quantized = quantize_plainly(source, options_of(pair));
      EXPECT_TRUE(no_violation(verify_built(quantized)));
      const auto report = verify_built(quantized, &source);
      EXPECT_TRUE(no_violation(report));
      EXPECT_TRUE(report.warnings.empty()) << report.warnings[0];
      EXPECT_GT(report.quantized, 0u);
      ASSERT_EQ(report.errors.size(), report.quantized);
      for (const auto& e : report.errors) {
        EXPECT_GT(e.sqnr_db, 20.0) << e.name;
        EXPECT_LT(e.sqnr_db, 50.0) << e.name;
        EXPECT_GT(e.cosine, 0.99) << e.name;
      }
    }
  }
}

TEST(Sound, LoadersTakeWhatTheTableSays) {
  const CheckpointBuilder source = dense();
  for (const quant::LegalPair& pair : quant::legal_pairs()) {
    for (const bool inverse : {false, true}) {
      const bool two_names = pair.format == quant::OutputFormat::kMxfp8;
      if (inverse && !two_names) continue;
      SCOPED_TRACE(fmt::format("{} {} {}", pair.scheme, quant::format_name(pair.format), inverse));
      PlainOptions options = options_of(pair);
      options.inverse_name = inverse;
      const auto quantized = quantize_plainly(source, options);
      // "LOADERS with --for vllm; LOADERS with --for sglang"
      std::string_view loaders = pair.loaders;
      if (two_names) loaders = inverse ? loaders.substr(loaders.find(';')) : loaders.substr(0, loaders.find(';'));
      for (const Loader loader : kLoaders) {
        const bool listed = loaders.find(loader_title(loader)) != std::string_view::npos;
        // TensorRT-LLM also takes either name of mxfp8, and runs per-tensor static fp8 as blocks: more than is
        // promised.
        const bool more = inverse || (options.fp8_dialect && pair.scheme == "static");
        if (loader == Loader::kTensorRtLlm && more) continue;
        EXPECT_EQ(verify_built(quantized, nullptr, {loader}).ok(), listed) << loader_name(loader);
      }
    }
  }
}

TEST(Sound, StaticActivations) {
  const CheckpointBuilder source = dense();
  for (const bool fp8_dialect : {false, true}) {
    PlainOptions options;
    options.scheme = "static";
    options.fp8_dialect = fp8_dialect;
    EXPECT_TRUE(
        no_violation(verify_built(quantize_plainly(source, options), &source, {Loader::kVllm, Loader::kSglang})));
  }
}

TEST(Sound, HeadOnRequestPow2E5M2Direct) {
  const CheckpointBuilder source = dense();
  PlainOptions options;
  options.head = true;
  EXPECT_TRUE(no_violation(verify_built(quantize_plainly(source, options), &source, {Loader::kVllm, Loader::kSglang})));

  options = PlainOptions();
  options.scheme = "block";
  options.fp8_dialect = options.pow2 = true;
  EXPECT_TRUE(no_violation(verify_built(quantize_plainly(source, options), &source)));

  options.pow2 = false;
  options.format = fp8::Format::kE5M2;
  EXPECT_TRUE(no_violation(verify_built(quantize_plainly(source, options), &source)));

  TinyModel f32;
  f32.dtype = DType::kF32;
  const CheckpointBuilder wide = tiny_model(f32);
  options = PlainOptions();
  options.direct = true;
  const auto report = verify_built(quantize_plainly(wide, options), &wide);
  EXPECT_TRUE(no_violation(report));
  ASSERT_EQ(report.rules.size(), 1u);
  EXPECT_NE(report.rules[0].rule.find("not rounded to BF16"), std::string::npos) << report.rules[0].rule;
}

TEST(Sound, OtherProducersRules) {
  const CheckpointBuilder source = dense();
  const std::pair<Producer, const char*> kProducers[] = {{Producer::kDivide, "FP32 division"},
                                                         {Producer::kDivideInBf16, "rounded to the model's dtype"},
                                                         {Producer::kReciprocal, "reciprocal"}};
  for (const auto& [producer, words] : kProducers) {
    PlainOptions options;
    options.producer = producer;
    const auto report = verify_built(quantize_plainly(source, options), &source);
    EXPECT_TRUE(no_violation(report));
    std::size_t tensors = 0;
    for (const auto& rule : report.rules) {
      if (rule.rule.find(words) != std::string::npos) tensors += rule.tensors;
    }
    EXPECT_GT(tensors, report.quantized / 2) << words;
  }
}

TEST(Sound, ReleasedCheckpointsWithoutAnIgnoreList) {
  TinyModel moe;
  moe.experts = 2;
  moe.intermediate = 128;
  const CheckpointBuilder source = tiny_model(moe);
  PlainOptions options;
  options.scheme = "block";
  options.fp8_dialect = true;
  options.list_ignored = false;  // as DeepSeek-V3 and Qwen3-32B-FP8 do
  EXPECT_TRUE(no_violation(verify_built(quantize_plainly(source, options), &source, {Loader::kVllm})));
}

TEST(Sound, ZeroTensorsAndSignedZeros) {
  CheckpointBuilder source = dense();
  auto& tensor = source.at("model.layers.0.self_attn.o_proj.weight");
  for (std::size_t i = 0; i < tensor.bytes.size(); ++i) tensor.bytes[i] = i % 4 == 3 ? std::byte{0x80} : std::byte{0};
  for (const char* scheme : {"dynamic", "block", "tensor"}) {
    PlainOptions options;
    options.scheme = scheme;
    const auto report = verify_built(quantize_plainly(source, options), &source);
    EXPECT_TRUE(no_violation(report));
    EXPECT_TRUE(std::isinf(report.errors.back().sqnr_db)) << scheme;  // exact
    EXPECT_EQ(report.errors.back().cosine, 1.0);
  }
}

TEST(Sound, ErrorsAreTheDefinition) {
  const CheckpointBuilder source = dense();
  CheckpointBuilder quantized = quantize_plainly(source);
  const auto report = verify_built(quantized, &source);
  ASSERT_FALSE(report.errors.empty());
  for (std::size_t i = 1; i < report.errors.size(); ++i) {
    EXPECT_LE(report.errors[i - 1].sqnr_db, report.errors[i].sqnr_db);
  }
  const auto& e = report.errors.front();
  CheckpointBuilder copy = source;
  const auto weights = floats_of(copy.at(e.name));
  const auto scales = floats_of(quantized.at(e.name + "_scale"));
  const auto& codes = quantized.at(e.name).bytes;
  const std::size_t columns = codes.size() / scales.size();
  double ww = 0, dd = 0, wq = 0, qq = 0, largest = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const float q = fp8::decode(fp8::Format::kE4M3, std::to_integer<std::uint8_t>(codes[i])) * scales[i / columns];
    const double w = weights[i], d = w - static_cast<double>(q);
    ww += w * w, dd += d * d, wq += w * static_cast<double>(q), qq += static_cast<double>(q) * static_cast<double>(q);
    largest = std::max(largest, std::abs(d));
  }
  EXPECT_NEAR(e.sqnr_db, 10 * std::log10(ww / dd), 1e-9);
  EXPECT_NEAR(e.cosine, wq / std::sqrt(ww * qq), 1e-12);
  EXPECT_NEAR(e.max_abs_error, largest, 1e-6 * largest);
  EXPECT_EQ(e.elements, codes.size());
}

TEST(Sound, TheReportDoesNotDependOnThreads) {
  const CheckpointBuilder source = dense();
  CheckpointBuilder quantized = quantize_plainly(source);
  quantized.at("model.layers.1.mlp.up_proj.weight").bytes[77] ^= std::byte{1};
  Json one = verify::report_json(verify_built(quantized, &source, {Loader::kVllm}, 1));
  Json many = verify::report_json(verify_built(quantized, &source, {Loader::kVllm}, 5));
  one.erase("seconds");
  many.erase("seconds");
  EXPECT_EQ(one.dump(), many.dump());
}

TEST(Sound, TextAndJsonSayWhatMatters) {
  const CheckpointBuilder source = dense();
  const auto report = verify_built(quantize_plainly(source), &source, {Loader::kVllm, Loader::kSglang});
  const std::string text = verify::format_report(report);
  for (const char* part : {"compressed-tensors e4m3, per channel", "q_proj", "worst SQNR", "the 10 furthest",
                           "codes: FP32 division by the scale (14 tensors)", "vllm 0.33: nothing it would refuse",
                           "sglang 0.5.23", "OK: no violation"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  const Json json = verify::report_json(report);
  EXPECT_TRUE(json["ok"].get<bool>());
  EXPECT_EQ(json["quantized"], 14);
  EXPECT_EQ(json["errors"].size(), 14u);
  EXPECT_EQ(json["loaders"][0]["version"], "0.33");
  EXPECT_EQ(json["kinds"].size(), 7u);
}

}  // namespace
}  // namespace octavo::test
