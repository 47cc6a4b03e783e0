// What each loader would refuse: sound checkpoints that one engine takes and another does not.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "tests/verify/plain_quantizer.h"
#include "tests/verify/verify_testing.h"

namespace octavo::test {
namespace {

using verify::Loader;

// The words each loader's violation must hold; nullptr: it takes the checkpoint.
struct Refusals {
  const char* vllm;
  const char* sglang;
  const char* transformers;
};

void expect_refusals(const CheckpointBuilder& quantized, const Refusals& wanted) {
  const std::tuple<Loader, const char*, const char*> kLoaders[] = {
      {Loader::kVllm, "vllm", wanted.vllm},
      {Loader::kSglang, "sglang", wanted.sglang},
      {Loader::kTransformers, "transformers", wanted.transformers}};
  EXPECT_TRUE(no_violation(verify_built(quantized))) << "must be sound in itself";
  for (const auto& [loader, name, words] : kLoaders) {
    const auto report = verify_built(quantized, nullptr, {loader});
    if (words == nullptr) {
      EXPECT_TRUE(no_violation(report)) << name;
    } else {
      EXPECT_TRUE(has_violation(report, std::string(name) + ": ", words)) << name;
    }
    ASSERT_EQ(report.loaders.size(), 1u);
    EXPECT_EQ(report.loaders[0].violations, report.violations.size());
  }
}

PlainOptions fp8_block() {
  PlainOptions options;
  options.scheme = "block";
  options.fp8_dialect = true;
  return options;
}

PlainOptions ct_block() {
  PlainOptions options;
  options.scheme = "block";
  return options;
}

TinyModel experts(std::uint64_t intermediate) {
  TinyModel model;
  model.experts = 2;
  model.intermediate = intermediate;
  return model;
}

Json& quantization(CheckpointBuilder& b) { return b.config()["quantization_config"]; }

TEST(Loaders, WhatAllTake) {
  expect_refusals(quantize_plainly(tiny_model()), {nullptr, nullptr, nullptr});
  expect_refusals(quantize_plainly(tiny_model(), fp8_block()), {nullptr, nullptr, nullptr});
  expect_refusals(quantize_plainly(tiny_model(), ct_block()), {nullptr, nullptr, nullptr});
  expect_refusals(quantize_plainly(tiny_model(experts(128)), fp8_block()), {nullptr, nullptr, nullptr});
  expect_refusals(quantize_plainly(tiny_model(experts(128))), {nullptr, nullptr, nullptr});
}

TEST(Loaders, PerTensorInTheFp8Dialect) {
  PlainOptions options;
  options.scheme = "tensor";
  options.fp8_dialect = true;
  expect_refusals(quantize_plainly(tiny_model(), options), {nullptr, nullptr, "wants weight_scale_inv"});

  // The names that transformers wants serve it and SGLang's Llama family only.
  TinyModel model;
  for (const char* type : {"qwen3", "llama"}) {
    model.model_type = type;
    CheckpointBuilder b = quantize_plainly(tiny_model(model), options);
    for (const BuiltTensor& t : tiny_model(model).tensors()) {
      if (b.has(t.name + "_scale")) b.rename(t.name + "_scale", t.name + "_scale_inv");
    }
    quantization(b)["weight_block_size"] = nullptr;
    const bool llama = model.model_type == "llama";
    expect_refusals(b, {"named weight_scale_inv", llama ? nullptr : "named weight_scale_inv", nullptr});
  }
}

TEST(Loaders, WeightOnly) {
  PlainOptions options;
  options.scheme = "weight-only";
  expect_refusals(quantize_plainly(tiny_model(), options), {nullptr, nullptr, nullptr});
  // In blocks only vLLM has it.
  CheckpointBuilder b = quantize_plainly(tiny_model(), ct_block());
  Json& group = quantization(b)["config_groups"]["group_0"];
  group["input_activations"] = nullptr;
  group["format"] = quantization(b)["format"] = "naive-quantized";
  expect_refusals(b, {nullptr, "tensor and channel scales only", nullptr});
}

TEST(Loaders, E5M2) {
  PlainOptions options = fp8_block();
  options.format = fp8::Format::kE5M2;
  expect_refusals(quantize_plainly(tiny_model(), options),
                  {"weights are e5m2", "weights are e5m2", "only where it dequantizes"});
}

TEST(Loaders, LlamaFamilyLosesBlockScalesInSglang) {
  TinyModel model;
  for (const char* type : {"llama", "mistral", "ministral3", "phi3", "internlm3"}) {
    model.model_type = type;
    expect_refusals(quantize_plainly(tiny_model(model), fp8_block()), {nullptr, "the scales are lost", nullptr});
    expect_refusals(quantize_plainly(tiny_model(model), ct_block()), {nullptr, nullptr, nullptr});
  }
  model.model_type = "mistral3";
  expect_refusals(quantize_plainly(tiny_model(model), fp8_block()), {"the scales are lost", nullptr, nullptr});
}

TEST(Loaders, ColumnsThatBlocksDoNotDivide) {
  TinyModel model;
  model.intermediate = 320;  // down_proj has 320 columns, gate_proj and up_proj 320 rows
  expect_refusals(quantize_plainly(tiny_model(model), ct_block()),
                  {"320 columns are not divisible", "320 columns are not divisible", nullptr});
  expect_refusals(quantize_plainly(tiny_model(model), fp8_block()),
                  {"320 columns are not divisible", "320 columns are not divisible", "not divisible by the block"});
}

TEST(Loaders, RowsThatBlocksDoNotDivide) {
  // k_proj stands between q_proj and v_proj: its last block would be v_proj's first.
  TinyModel model;
  model.heads = 2;
  model.kv_heads = 1;
  model.head_dim = 64;
  const CheckpointBuilder b = tiny_model(model);
  expect_refusals(quantize_plainly(b, ct_block()), {"would overlap", "would overlap", nullptr});
  expect_refusals(quantize_plainly(b, fp8_block()), {"would overlap", "would overlap", "not divisible by the block"});

  // Only the last of a fused parameter: vLLM allows it, SGLang in compressed-tensors alone.
  CheckpointBuilder last;
  last.add_random("layers.0.q_proj.weight", DType::kBF16, {128, 128}, 1);
  last.add_random("layers.0.k_proj.weight", DType::kBF16, {128, 128}, 2);
  last.add_random("layers.0.v_proj.weight", DType::kBF16, {64, 128}, 3);
  expect_refusals(quantize_plainly(last, ct_block()), {nullptr, nullptr, nullptr});
  expect_refusals(quantize_plainly(last, fp8_block()),
                  {nullptr, "64 rows are not divisible", "not divisible by the block"});

  // As DeepSeek-V3 was released: the last part does not fill its block, and the parameter is never cut.
  CheckpointBuilder latent;
  latent.add_random("layers.0.q_a_proj.weight", DType::kBF16, {1536, 256}, 1);
  latent.add_random("layers.0.kv_a_proj_with_mqa.weight", DType::kBF16, {576, 256}, 2);
  expect_refusals(quantize_plainly(latent, fp8_block()), {nullptr, nullptr, "not divisible by the block"});
  CheckpointBuilder overlapping;
  overlapping.add_random("layers.0.q_a_proj.weight", DType::kBF16, {1500, 256}, 1);
  overlapping.add_random("layers.0.kv_a_proj_with_mqa.weight", DType::kBF16, {576, 256}, 2);
  expect_refusals(quantize_plainly(overlapping, fp8_block()),
                  {"would overlap", "would overlap", "not divisible by the block"});

  // A weight that is joined with nothing may have any number of rows in the engines.
  CheckpointBuilder alone;
  alone.add_random("layers.0.kv_a_proj_with_mqa.weight", DType::kBF16, {576, 256}, 1);
  expect_refusals(quantize_plainly(alone, fp8_block()), {nullptr, nullptr, "not divisible by the block"});
}

TEST(Loaders, Experts) {
  // vLLM splits the blocks of fp8 experts down to 32.
  expect_refusals(quantize_plainly(tiny_model(experts(192)), fp8_block()),
                  {nullptr, "not divisible", "not divisible by the block"});
  expect_refusals(quantize_plainly(tiny_model(experts(144)), fp8_block()),
                  {"can be split down to 32", "not divisible", "not divisible by the block"});
  expect_refusals(quantize_plainly(tiny_model(experts(192)), ct_block()),
                  {"not divisible", "not divisible", "cannot spread"});
  expect_refusals(quantize_plainly(tiny_model(experts(128)), ct_block()), {nullptr, nullptr, "cannot spread"});

  PlainOptions small = fp8_block();
  small.block_n = small.block_k = 64;
  expect_refusals(quantize_plainly(tiny_model(experts(128)), small), {"128x128 only", "128x128 only", nullptr});
  expect_refusals(quantize_plainly(tiny_model(), small), {nullptr, nullptr, nullptr});

  PlainOptions tensor;
  tensor.scheme = "tensor";
  expect_refusals(quantize_plainly(tiny_model(experts(128)), tensor),
                  {"the loader asserts", "the loader asserts", nullptr});
  tensor.fp8_dialect = true;
  expect_refusals(quantize_plainly(tiny_model(experts(128)), tensor), {nullptr, nullptr, "wants weight_scale_inv"});
}

TEST(Loaders, QuantizedHead) {
  PlainOptions options;
  options.head = true;
  expect_refusals(quantize_plainly(tiny_model(), options), {nullptr, nullptr, nullptr});

  CheckpointBuilder b = quantize_plainly(tiny_model(), options);
  quantization(b)["config_groups"]["group_0"]["targets"] = {"Linear"};
  expect_refusals(b, {"no target names", "no target names", nullptr});

  TinyModel model;
  model.vocab = 384;
  options.scheme = "block";
  expect_refusals(quantize_plainly(tiny_model(model), options), {nullptr, "has not implemented", nullptr});
  options.fp8_dialect = true;
  expect_refusals(quantize_plainly(tiny_model(model), options), {"never quantizes it", "never quantizes it", nullptr});
}

TEST(Loaders, RoutersAndEmbeddings) {
  PlainOptions options;
  options.every_linear = true;
  CheckpointBuilder b = quantize_plainly(tiny_model(experts(128)), options);
  Json& targets = quantization(b)["config_groups"]["group_0"]["targets"];
  targets.push_back("model.embed_tokens");
  expect_refusals(b, {"is an embedding in FP8", "is an embedding in FP8", nullptr});
  expect_refusals(b, {"is a router in FP8", "is a router in FP8", nullptr});
}

TEST(Loaders, IgnoreListsAreMatchedDifferently) {
  // A whole layer kept by its name: SGLang and transformers know prefixes, vLLM does not.
  CheckpointBuilder b = quantize_plainly(tiny_model(), fp8_block());
  const CheckpointBuilder source = tiny_model();
  for (const BuiltTensor& t : source.tensors()) {
    if (!t.name.starts_with("model.layers.1.") || t.shape.size() != 2) continue;
    b.remove(t.name + "_scale_inv");
    b.at(t.name) = t;
  }
  for (const char* key : {"ignored_layers", "modules_to_not_convert"}) quantization(b)[key].push_back("model.layers.1");
  expect_refusals(b, {"vLLM compares whole names", nullptr, nullptr});

  // An entry that is the end of another module's name.
  CheckpointBuilder c = quantize_plainly(tiny_model(), fp8_block());
  for (const char* key : {"ignored_layers", "modules_to_not_convert"}) quantization(c)[key].push_back("wn_proj");
  expect_refusals(c, {nullptr, nullptr, "ends with the ignored name"});
}

TEST(Loaders, TiedHeadMustBeListedForTransformers) {
  TinyModel model;
  model.tied = true;
  CheckpointBuilder b = quantize_plainly(tiny_model(model), fp8_block());
  expect_refusals(b, {nullptr, nullptr, nullptr});
  for (const char* key : {"ignored_layers", "modules_to_not_convert"}) quantization(b)[key] = {"model.embed_tokens"};
  expect_refusals(b, {nullptr, nullptr, "does not name lm_head"});
}

TEST(Loaders, UntargetedLinearsInSglang) {
  CheckpointBuilder b = quantize_plainly(tiny_model());
  Json targets = Json::array();
  for (const BuiltTensor& t : b.tensors()) {
    if (is_fp8(t.dtype)) targets.push_back(t.name.substr(0, t.name.size() - 7));
  }
  quantization(b)["config_groups"]["group_0"]["targets"] = targets;
  b.add_random("model.layers.0.adapter.weight", DType::kBF16, {8, 8}, 1);
  expect_refusals(b, {nullptr, "Unable to find matching target", nullptr});
  quantization(b)["ignore"].push_back("adapter");  // SGLang matches the end of a name
  expect_refusals(b, {nullptr, nullptr, nullptr});
}

TEST(Loaders, NothingIsSaidOfLoadersThatWereNotAskedFor) {
  TinyModel model;
  model.model_type = "llama";
  const auto report = verify_built(quantize_plainly(tiny_model(model), fp8_block()));
  EXPECT_TRUE(no_violation(report));
  EXPECT_TRUE(report.loaders.empty());
}

TEST(Loaders, OlderTransformersWantTheFormatInTheMetadata) {
  const TempDir dir;
  quantize_plainly(tiny_model()).write(dir / "model");
  std::fstream file(dir / "model" / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  std::string start(4096, '\0');
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  const std::size_t at = start.find(R"("format":"pt")");
  ASSERT_NE(at, std::string::npos);
  file.seekp(static_cast<std::streamoff>(at));
  file << R"("format":"xx")";
  file.close();
  const auto opened = Checkpoint::open(dir / "model");
  ASSERT_TRUE(opened.ok());
  for (const Loader loader : {Loader::kVllm, Loader::kTransformers}) {
    verify::Options options;
    options.loaders = {loader};
    const auto report = verify::verify(*opened, nullptr, options);
    ASSERT_TRUE(report.ok());
    EXPECT_TRUE(no_violation(*report));
    ASSERT_EQ(report->warnings.size(), loader == Loader::kTransformers ? 1u : 0u);
    if (loader == Loader::kTransformers) {
      EXPECT_NE(report->warnings[0].find("older releases of transformers refuse"), std::string::npos);
    }
  }
}

TEST(Loaders, Names) {
  for (const Loader loader : {Loader::kVllm, Loader::kSglang, Loader::kTransformers}) {
    EXPECT_EQ(find_loader(loader_name(loader)), loader);
  }
  EXPECT_EQ(find_loader("tensorrt"), std::nullopt);
}

}  // namespace
}  // namespace octavo::test
