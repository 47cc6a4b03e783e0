// The dialects beyond fp8 and compressed-tensors: what each config means, what is refused, which scales experts have.
#include <gtest/gtest.h>

#include "octavo/checkpoint/quantization.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::CheckpointBuilder;
using test::TempDir;

Json with(std::string_view quantization_config) {
  return {{"quantization_config", parse_json(quantization_config, "test").value()}};
}

struct Good {
  const char* config;
  Dialect dialect;
  const char* description;
};

TEST(Dialects, WhatEachConfigMeans) {
  const Good cases[] = {
      {R"({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": null})", Dialect::kFp8,
       "fp8 e4m3, per tensor, dynamic activations, with transformers' names"},
      {R"({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [-1, -1]})", Dialect::kFp8,
       "fp8 e4m3, per tensor, dynamic activations"},
      {R"({"quant_method": "fp8", "activation_scheme": "static", "kv_cache_scheme": "static"})", Dialect::kFp8,
       "fp8 e4m3, per tensor, static activations per tensor; FP8 keys and values"},
      {R"({"quant_method": "w8a8_fp8"})", Dialect::kFp8, "fp8 e4m3, per channel, dynamic activations per token"},
      {R"({"quant_method": "mxfp8"})", Dialect::kMxfp8,
       "mxfp8 e4m3, groups of 32, dynamic activations in groups of 32"},
      {R"({"quant_method": "mxfp8", "weight_block_size": [1, 32], "scale_fmt": "ue8m0", "activation_scheme": "dynamic",
           "modules_to_not_convert": ["lm_head"]})",
       Dialect::kMxfp8, "mxfp8 e4m3, groups of 32, dynamic activations in groups of 32"},
      {R"({"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]})",
       Dialect::kFbgemm, "fbgemm_fp8 e4m3, per channel, dynamic activations per token"},
      {R"({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"],
           "kv_cache_scheme": {"dynamic": false, "num_bits": 8, "type": "float"}})",
       Dialect::kModelOpt, "modelopt e4m3, FP8: per tensor, static activations per tensor; FP8 keys and values"},
      {R"({"quant_method": "modelopt", "quant_algo": "fp8_pb_wo"})", Dialect::kModelOpt,
       "modelopt e4m3, FP8_PB_WO: 128x128 blocks, dynamic activations in groups of 128"},
      {R"({"quant_method": "modelopt", "quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"})", Dialect::kModelOpt,
       "modelopt e4m3, FP8_PER_CHANNEL_PER_TOKEN: per channel, dynamic activations per token"},
      {R"({"quant_algo": "MXFP8", "kv_cache_quant_algo": "FP8"})", Dialect::kModelOpt,
       "modelopt e4m3, MXFP8: groups of 32, dynamic activations in groups of 32; FP8 keys and values"},
      {R"({"quant_method": "modelopt_mixed", "quant_algo": "MIXED_PRECISION", "quantized_layers": {
           "a": {"quant_algo": "FP8"}, "b": {"quant_algo": "FP8_PB_WO"}, "c": {"quant_algo": "FP8"}}})",
       Dialect::kModelOpt,
       "modelopt e4m3, FP8: per tensor, static activations per tensor; FP8_PB_WO: 128x128 blocks, dynamic activations "
       "in "
       "groups of 128"},
      {R"({"quant_method": "quark", "export": {"kv_cache_group": []}, "global_quant_config": {
           "weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": false, "symmetric": true},
           "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": false}},
           "layer_quant_config": {"*lm_head": {"weight": null}}, "exclude": ["lm_head"]})",
       Dialect::kQuark, "quark e4m3, per tensor, static activations per tensor"},
      {R"({"quant_method": "quark", "export": {"kv_cache_group": ["*k_proj", "*v_proj"]}, "global_quant_config": {
           "weight": [{"dtype": "fp8_e4m3", "qscheme": "per_channel", "ch_axis": 0}],
           "input_tensors": [{"dtype": "fp8_e4m3", "qscheme": "per_channel", "is_dynamic": true, "ch_axis": 1}]}})",
       Dialect::kQuark, "quark e4m3, per channel, dynamic activations per token; FP8 keys and values"},
      {R"({"quant_method": "quark", "global_quant_config": null, "layer_type_quant_config": {"Linear": {
           "weight": {"dtype": "fp8_e4m3", "qscheme": "per_block", "block_size": [128, 128]},
           "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_group", "group_size": 128, "is_dynamic": true}}}})",
       Dialect::kQuark, "quark e4m3, 128x128 blocks, dynamic activations in groups of 128"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"FP8_BLOCK": ["Linear"]}, "kv_cache_scheme": {
           "num_bits": 8, "type": "float", "strategy": "attn_head"}})",
       Dialect::kCompressedTensors,
       "compressed-tensors e4m3, 128x128 blocks, dynamic activations in groups of 128; FP8 keys and values per head"},
  };
  for (const Good& c : cases) {
    const auto info = parse_quantization(with(c.config), "config.json");
    ASSERT_TRUE(info.ok()) << c.config << "\n" << info.error().message;
    EXPECT_EQ((**info).dialect, c.dialect) << c.config;
    EXPECT_EQ((**info).describe(), c.description) << c.config;
    EXPECT_EQ((**info).json, parse_json(c.config, "test").value());
  }
}

TEST(Dialects, ConfigsInOtherPlaces) {
  const Json fp8 = {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}};
  const auto inner = parse_quantization({{"text_config", {{"quantization_config", fp8}}}}, "config.json");
  ASSERT_TRUE(inner.ok() && *inner);
  EXPECT_EQ((**inner).pointer, "/text_config/quantization_config");
  const auto old = parse_quantization({{"compression_config", fp8}}, "config.json");
  ASSERT_TRUE(old.ok() && *old);
  EXPECT_EQ((**old).pointer, "/compression_config");
  const Json file = {{"producer", {{"name", "modelopt"}}},
                     {"quantization", {{"quant_algo", "FP8"}, {"exclude_modules", {"lm_head", "model.vision*"}}}}};
  const auto beside = parse_hf_quant_config(file, "hf_quant_config.json");
  ASSERT_TRUE(beside.ok()) << beside.error().message;
  EXPECT_EQ(beside->describe(),
            "modelopt e4m3, FP8: per tensor, static activations per tensor (by hf_quant_config.json)");
  EXPECT_EQ(beside->groups[0].pointer, "/quantization");
  ASSERT_EQ(beside->ignore.size(), 1u);
  EXPECT_EQ(beside->ignore[0].entries[1], "model.vision*");
}

TEST(Dialects, HfQuantConfigAloneIsEnough) {
  const TempDir dir;
  CheckpointBuilder b;
  b.add("m.weight", DType::kF8E4M3, {4, 4}, std::vector<std::byte>(16));
  b.add_f32("m.weight_scale", {}, std::vector<float>{1});
  b.add_f32("m.input_scale", {}, std::vector<float>{1});
  b.add_file("hf_quant_config.json", R"({"quantization": {"quant_algo": "FP8"}})");
  const Checkpoint checkpoint = b.open(dir / "m");
  const auto info = read_quantization(checkpoint);
  ASSERT_TRUE(info.ok()) << info.error().message;
  ASSERT_TRUE(info->has_value());
  EXPECT_EQ((**info).file, "hf_quant_config.json");
  const auto weights = find_quantized_weights(checkpoint, **info).value();
  ASSERT_EQ(weights.size(), 1u);
  EXPECT_EQ(weights[0].input_scale->name, "m.input_scale");
  EXPECT_EQ(weights[0].group, 0u);
}

struct Bad {
  const char* config;
  const char* error;
};

TEST(Dialects, RefusalsSayWhatItIs) {
  const Bad cases[] = {
      {R"({"quant_method": "gptq", "bits": 4})",
       "/quant_method is \"gptq\": integers of 2 to 8 bits (GPTQ); Octavo reads FP8 only"},
      {R"({"quant_method": "awq"})", "4-bit integers (AWQ)"},
      {R"({"quant_method": "bitsandbytes"})", "bitsandbytes"},
      {R"({"quant_method": "nvfp4"})", "4-bit floats in groups of 16 (NVFP4)"},
      {R"({"quant_method": "mxfp4"})", "4-bit floats in groups of 32 (MXFP4)"},
      {R"({"quant_method": "torchao"})", "torchao's own tensors"},
      {R"({"quant_method": "new"})", "is \"new\"; Octavo reads fp8, compressed-tensors, modelopt, mxfp8"},
      {R"({"quant_method": "modelopt"})", "/quant_algo is missing"},
      {R"({"quant_method": "modelopt", "quant_algo": "NVFP4"})", "/quant_algo is \"NVFP4\", which is not FP8"},
      {R"({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"})", "/quantized_layers is missing"},
      {R"({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": {
           "a": {"quant_algo": "FP8"}, "b": {"quant_algo": "NVFP4"}, "c": {"quant_algo": "NVFP4"}}})",
       "of MIXED_PRECISION hold NVFP4 in 2 layers, which is not FP8"},
      {R"({"quant_method": "modelopt", "quant_algo": 8})", "/quant_algo must be a string, not an integer"},
      {R"({"quant_method": "mxfp8", "weight_block_size": [128, 128]})", "is [128, 128]; mxfp8 has [1, 32]"},
      {R"({"quant_method": "mxfp8", "activation_scheme": "static"})", "mxfp8 has \"dynamic\""},
      {R"({"quant_method": "fbgemm_fp8", "activation_scale_ub": "a"})", "/activation_scale_ub must be a number"},
      {R"({"quant_method": "quark"})", "/global_quant_config quantizes no weight"},
      {R"({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "int4"}}})",
       "/global_quant_config/weight/dtype is \"int4\", which is not FP8"},
      {R"({"quant_method": "quark", "global_quant_config": {"weight": [{"dtype": "fp8_e4m3"}, {"dtype": "int4"}]}})",
       "has 2 steps"},
      {R"({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_block"}}})",
       "/block_size is missing"},
      {R"({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "odd"}}})",
       "/qscheme is \"odd\""},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"W4A16": ["Linear"]}})",
       "/config_groups/W4A16 must be an object, not a list: no preset of FP8 has this name"},
  };
  for (const Bad& c : cases) {
    const auto info = parse_quantization(with(c.config), "config.json");
    ASSERT_FALSE(info.ok()) << c.config;
    EXPECT_NE(info.error().message.find(c.error), std::string::npos) << c.config << "\n-> " << info.error().message;
    EXPECT_TRUE(info.error().message.starts_with("config.json: /quantization_config")) << info.error().message;
  }
}

struct Experts {
  const char* what;
  Shape weight, scale;
  Granularity granularity;  // of the config, with blocks of 4x4 and groups of 4
  Dialect dialect;
  const char* expected;  // "granularity block_n x block_k, scale_columns, expert_scales" or the error
};

TEST(MatchScale, ExpertsOfEveryLayout) {
  const auto kFp8 = Dialect::kFp8;
  using enum Granularity;
  const Experts cases[] = {
      {"one scale for all", {3, 8, 12}, {}, kTensor, kFp8, "tensor 8x12, 1, 0"},
      {"one an expert", {3, 8, 12}, {3}, kTensor, kFp8, "tensor 8x12, 1, 1"},
      {"one an expert, three dimensions", {3, 8, 12}, {3, 1, 1}, kTensor, kFp8, "tensor 8x12, 1, 1"},
      {"rows", {3, 8, 12}, {3, 8, 1}, kChannel, kFp8, "channel 1x12, 1, 8"},
      {"rows of ModelOpt", {3, 8, 12}, {3, 8}, kChannel, Dialect::kModelOpt, "channel 1x12, 1, 8"},
      {"columns", {3, 8, 12}, {3, 1, 12}, kChannel, kFp8, "channel 8x1, 12, 12"},
      {"columns of ModelOpt", {3, 8, 12}, {3, 12}, kChannel, Dialect::kModelOpt, "channel 8x1, 12, 12"},
      {"FBGEMM gate_up", {3, 8, 12}, {3, 1, 12}, kChannel, Dialect::kFbgemm, "channel 8x1, 12, 12"},
      {"FBGEMM down", {3, 12, 8}, {3, 8, 1}, kChannel, Dialect::kFbgemm, "channel 12x1, 8, 8"},
      {"FBGEMM down, square", {3, 8, 8}, {3, 8, 1}, kChannel, Dialect::kFbgemm, "channel 8x1, 8, 8"},
      {"square", {3, 8, 8}, {3, 8, 1}, kChannel, kFp8, "channel 1x8, 1, 8"},
      {"blocks", {3, 8, 12}, {3, 2, 3}, kBlock, kFp8, "block 4x4, 3, 6"},
      {"ragged blocks", {3, 9, 10}, {3, 3, 3}, kBlock, kFp8, "block 4x4, 3, 9"},
      {"groups", {3, 8, 12}, {3, 8, 3}, kGroup, Dialect::kMxfp8, "group 1x4, 3, 24"},
      {"one expert, its dimension dropped", {1, 8, 12}, {2, 3}, kBlock, Dialect::kModelOpt, "block 4x4, 3, 6"},
      {"blocks the other way round", {3, 8, 12}, {3, 3, 2}, kBlock, kFp8, "fits no granularity"},
      {"another number of experts", {3, 8, 12}, {2, 2, 3}, kBlock, kFp8, "fits no granularity"},
  };
  for (const Experts& c : cases) {
    const TempDir dir;
    CheckpointBuilder b;
    const char* name = "mlp.experts.gate_up_proj";
    b.add(name, DType::kF8E4M3, c.weight, std::vector<std::byte>(*element_count(c.weight)));
    b.add(std::string(name) + "_scale_inv", DType::kF32, c.scale, std::vector<std::byte>(*element_count(c.scale) * 4));
    b.add_f32("mlp.experts.gate_up_proj_activation_scale", {3}, std::vector<float>(3, 1));
    const Checkpoint checkpoint = b.open(dir / "m");
    QuantizationInfo info;
    info.dialect = c.dialect;
    QuantizationGroup group;
    group.granularity = c.granularity;
    if (c.granularity == kBlock || c.granularity == kGroup) {
      group.block_n = c.granularity == kBlock ? 4 : 1;
      group.block_k = 4;
    }
    info.groups.push_back(group);
    const auto found = match_scale(checkpoint, info, *checkpoint.find(name));
    if (!found.ok()) {
      EXPECT_NE(found.error().message.find(c.expected), std::string::npos) << c.what << ": " << found.error().message;
      continue;
    }
    EXPECT_EQ(fmt::format("{} {}x{}, {}, {}", granularity_name(found->granularity), found->block_n, found->block_k,
                          found->scale_columns, found->expert_scales),
              c.expected)
        << c.what;
    const std::uint64_t last = found->scale_index(c.weight[0] * c.weight[1] - 1, c.weight[2] - 1);
    EXPECT_EQ(last + 1, *element_count(c.scale)) << c.what;
    EXPECT_EQ(found->input_scale->name, "mlp.experts.gate_up_proj_activation_scale");
    for (const CheckpointTensor& tensor : checkpoint.tensors()) {
      EXPECT_EQ(is_scale_tensor(checkpoint, tensor), tensor.name != name) << tensor.name;
    }
  }
}

// Conv1D stores [in, out]: one scale an output is one a column.
TEST(MatchScale, Conv1d) {
  for (const char* model : {"gpt2", "llama"}) {
    const TempDir dir;
    CheckpointBuilder b;
    b.add("h.0.attn.c_attn.weight", DType::kF8E4M3, {4, 12}, std::vector<std::byte>(48));
    b.add_f32("h.0.attn.c_attn.weight_scale", {12}, std::vector<float>(12, 1));
    b.config() = {{"model_type", model}};
    const Checkpoint checkpoint = b.open(dir / "m");
    QuantizationInfo info;
    info.groups.emplace_back();
    const auto found = match_scale(checkpoint, info, *checkpoint.find("h.0.attn.c_attn.weight"));
    ASSERT_EQ(found.ok(), std::string_view(model) == "gpt2");
    if (!found.ok()) continue;
    EXPECT_TRUE(found->transposed());
    EXPECT_EQ(found->scale_index(3, 11), 11u);
  }
}

TEST(Dialects, DeepSeekV4NamesScalesAfterTheModule) {
  const TempDir dir;
  CheckpointBuilder b;
  b.add("layers.0.attn.wq_a.weight", DType::kF8E4M3, {4, 4}, std::vector<std::byte>(16));
  b.add("layers.0.attn.wq_a.scale", DType::kF8E8M0, {1, 1}, {std::byte{127}});
  b.add_f32("layers.0.attn.norm.scale", {4}, std::vector<float>(4, 1));
  b.config() = with(R"({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
                      "scale_fmt": "ue8m0"})");
  const Checkpoint checkpoint = b.open(dir / "m");
  const auto info = read_quantization(checkpoint).value();
  const auto weights = find_quantized_weights(checkpoint, *info).value();
  ASSERT_EQ(weights.size(), 1u);
  ASSERT_NE(weights[0].scale, nullptr);
  EXPECT_TRUE(is_scale_tensor(checkpoint, *checkpoint.find("layers.0.attn.wq_a.scale")));
  EXPECT_FALSE(is_scale_tensor(checkpoint, *checkpoint.find("layers.0.attn.norm.scale")));
}

// transformers leaves weight_block_size out where it is its default.
TEST(Dialects, TensorsCompleteTheConfig) {
  const TempDir dir;
  CheckpointBuilder b;
  b.add("m.weight", DType::kF8E4M3, {200, 256}, std::vector<std::byte>(200 * 256));
  b.add_f32("m.weight_scale_inv", {2, 2}, std::vector<float>(4, 1));
  b.config() = with(R"({"quant_method": "fp8", "activation_scheme": "dynamic"})");
  const Checkpoint blocks = b.open(dir / "blocks");
  EXPECT_EQ((*read_quantization(blocks).value()).describe(),
            "fp8 e4m3, 128x128 blocks, dynamic activations in groups of 128");

  CheckpointBuilder t;
  t.add("m.weight", DType::kF8E4M3FNUZ, {4, 4}, std::vector<std::byte>(16));
  t.add_f32("m.weight_scale_inv", {}, std::vector<float>{1});
  t.config() = b.config();
  const Checkpoint tensor = t.open(dir / "tensor");
  EXPECT_EQ((*read_quantization(tensor).value()).describe(),
            "fp8 e4m3fnuz, per tensor, dynamic activations, with transformers' names");
}

}  // namespace
}  // namespace octavo
