// quantization_config as it stands in released checkpoints, malformed ones, and scales matched to weights by shape.
#include "octavo/checkpoint/quantization.h"

#include <gtest/gtest.h>

#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::CheckpointBuilder;
using test::TempDir;

Result<std::optional<QuantizationInfo>> parse(std::string_view quantization_config) {
  const auto json = parse_json(fmt::format("{{\"quantization_config\": {}}}", quantization_config), "config.json");
  EXPECT_TRUE(json.ok()) << json.error().message;
  return parse_quantization(*json, "config.json");
}

QuantizationInfo good(std::string_view quantization_config) {
  auto info = parse(quantization_config);
  EXPECT_TRUE(info.ok()) << quantization_config << "\n" << (info.ok() ? "" : info.error().message);
  return info.ok() && *info ? **std::move(info) : QuantizationInfo{};
}

TEST(Quantization, AbsentOrNullIsNone) {
  EXPECT_FALSE(parse("null")->has_value());
  EXPECT_FALSE(parse_quantization(Json::object(), "c")->has_value());
}

TEST(Quantization, Fp8PerTensor) {
  const QuantizationInfo info = good(R"({"quant_method": "fp8", "activation_scheme": "static",
      "ignored_layers": ["lm_head"], "kv_cache_scheme": "static"})");
  EXPECT_EQ(info.dialect, Dialect::kFp8);
  ASSERT_EQ(info.groups.size(), 1u);
  EXPECT_EQ(info.groups[0].granularity, Granularity::kTensor);
  EXPECT_EQ(info.groups[0].activation, ActivationScheme::kStaticTensor);
  EXPECT_EQ(info.groups[0].targets, std::vector<std::string>{"Linear"});
  ASSERT_EQ(info.ignore.size(), 1u);
  EXPECT_EQ(info.ignore[0].key, "ignored_layers");
  EXPECT_EQ(info.ignore[0].entries, std::vector<std::string>{"lm_head"});
  EXPECT_EQ(info.format, fp8::Format::kE4M3);
  EXPECT_FALSE(info.pow2_scales);
  EXPECT_EQ(good(R"({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": null})")
                .groups[0]
                .activation,
            ActivationScheme::kDynamicTensor);
}

TEST(Quantization, Fp8Blocks) {
  const QuantizationInfo info = good(R"({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
      "weight_block_size": [128, 64], "modules_to_not_convert": ["lm_head", "model.layers.0.mlp.gate"],
      "ignored_layers": ["lm_head"], "scale_fmt": "ue8m0"})");
  EXPECT_EQ(info.groups[0].granularity, Granularity::kBlock);
  EXPECT_EQ(info.groups[0].block_n, 128u);
  EXPECT_EQ(info.groups[0].block_k, 64u);
  EXPECT_EQ(info.groups[0].activation, ActivationScheme::kDynamicGroup);
  EXPECT_EQ(info.groups[0].activation_group, 64u);
  EXPECT_TRUE(info.pow2_scales);
  EXPECT_EQ(info.ignore.size(), 2u);
  EXPECT_EQ(good(R"({"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e5m2"})").format,
            fp8::Format::kE5M2);
}

// One group of compressed-tensors with these weights and input_activations.
std::string compressed(std::string_view weights, std::string_view inputs, std::string_view format = "float-quantized") {
  return fmt::format(
      R"({{"config_groups": {{"group_0": {{"format": "{0}", "input_activations": {2}, "output_activations": null,
          "targets": ["Linear"], "weights": {1}}}}},
        "format": "{0}", "global_compression_ratio": null, "ignore": ["lm_head", "re:.*gate$"],
        "kv_cache_scheme": null, "moe_sparsity_config": null, "quant_method": "compressed-tensors",
        "quantization_status": "compressed", "sparsity_config": {{}}, "transform_config": {{}}, "version": "0.20.0"}})",
      format, weights, inputs);
}
std::string args(std::string_view rest) {
  return fmt::format(R"({{"num_bits": 8, "symmetric": true, "type": "float", {}}})", rest);
}

struct PresetCase {
  const char* name;
  std::string config;
  Granularity granularity;
  std::uint64_t block_n, block_k;
  ActivationScheme activation;
  std::uint64_t activation_group;
};

TEST(Quantization, CompressedTensorsPresets) {
  const std::string token = args(R"("dynamic": true, "group_size": null, "strategy": "token")");
  const std::string channel = args(R"("dynamic": false, "group_size": null, "strategy": "channel")");
  const std::string tensor = args(R"("dynamic": false, "group_size": null, "strategy": "tensor")");
  const std::string block =
      R"("block_structure": [128, 128], "dynamic": false, "group_size": null, "strategy": "block")";
  const std::string old_block =
      R"("block_structure": "64x128", "dynamic": false, "strategy": "block", "actorder": null)";
  const std::string group = R"("dynamic": true, "group_size": 128, "strategy": "group")";
  const auto kStatic = ActivationScheme::kStaticTensor;
  const PresetCase cases[] = {
      {"FP8", compressed(tensor, args(R"("dynamic": false, "strategy": "tensor", "observer": "static_minmax")")),
       Granularity::kTensor, 0, 0, kStatic, 0},
      {"FP8_DYNAMIC", compressed(channel, token), Granularity::kChannel, 0, 0, ActivationScheme::kDynamicToken, 0},
      {"FP8_BLOCK", compressed(args(block), args(group)), Granularity::kBlock, 128, 128,
       ActivationScheme::kDynamicGroup, 128},
      {"FP8_BLOCK, old spelling", compressed(args(old_block), args(group)), Granularity::kBlock, 64, 128,
       ActivationScheme::kDynamicGroup, 128},
      {"weight only", compressed(channel, "null", "naive-quantized"), Granularity::kChannel, 0, 0,
       ActivationScheme::kNone, 0},
      {"MXFP8",
       compressed(args(R"("dynamic": false, "group_size": 32, "scale_dtype": "torch.uint8", "strategy": "group")"),
                  args(R"("dynamic": true, "group_size": 32, "strategy": "group")"), "mxfp8-quantized"),
       Granularity::kGroup, 1, 32, ActivationScheme::kDynamicGroup, 32},
      {"tensor, dynamic", compressed(tensor, args(R"("dynamic": true, "strategy": "tensor")")), Granularity::kTensor, 0,
       0, ActivationScheme::kDynamicTensor, 0},
      // Without a strategy, group_size decides.
      {"no strategy", compressed(args(R"("dynamic": false)"), args(R"("dynamic": false)")), Granularity::kTensor, 0, 0,
       kStatic, 0},
      {"no strategy, group_size -1", compressed(args(R"("group_size": -1)"), token), Granularity::kChannel, 0, 0,
       ActivationScheme::kDynamicToken, 0},
      {"no strategy, group_size 64", compressed(args(R"("group_size": 64)"), "null"), Granularity::kGroup, 1, 64,
       ActivationScheme::kNone, 0},
  };
  for (const PresetCase& c : cases) {
    const QuantizationInfo info = good(c.config);
    ASSERT_EQ(info.groups.size(), 1u) << c.name;
    EXPECT_EQ(info.dialect, Dialect::kCompressedTensors);
    EXPECT_EQ(info.groups[0].granularity, c.granularity) << c.name;
    EXPECT_EQ(info.groups[0].block_n, c.block_n) << c.name;
    EXPECT_EQ(info.groups[0].block_k, c.block_k) << c.name;
    EXPECT_EQ(info.groups[0].activation, c.activation) << c.name;
    EXPECT_EQ(info.groups[0].activation_group, c.activation_group) << c.name;
    EXPECT_EQ(info.groups[0].pointer, "/quantization_config/config_groups/group_0");
    EXPECT_EQ(info.ignore.size(), 1u);
    EXPECT_EQ(info.ignore[0].entries.size(), 2u);
    EXPECT_FALSE(info.describe().empty());
  }
}

TEST(Quantization, SeveralGroups) {
  const QuantizationInfo info = good(R"({"quant_method": "compressed-tensors", "format": "float-quantized",
    "config_groups": {
      "group_0": {"targets": ["re:.*q_proj"], "weights": {"type": "float", "num_bits": 8, "strategy": "channel"}},
      "group_1": {"targets": ["a", "b"], "format": "naive-quantized",
                  "weights": {"type": "float", "strategy": "tensor"}, "input_activations": null}}})");
  ASSERT_EQ(info.groups.size(), 2u);
  EXPECT_EQ(info.groups[0].format, "float-quantized");
  EXPECT_EQ(info.groups[1].format, "naive-quantized");
  EXPECT_EQ(info.groups[1].targets, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(info.ignore.empty());
}

TEST(Quantization, Describe) {
  EXPECT_EQ(
      good(R"({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]})").describe(),
      "fp8 e4m3, 128x128 blocks, dynamic activations in groups of 128");
  EXPECT_EQ(good(compressed(args(R"("strategy": "channel")"), "null")).describe(),
            "compressed-tensors e4m3, per channel, activations not quantized");
}

struct BadCase {
  std::string config;
  const char* error;
};

TEST(Quantization, MalformedConfigsNameTheKey) {
  const std::string fp8 = R"({"quant_method": "fp8", "activation_scheme": "dynamic", )";
  const std::string channel = args(R"("strategy": "channel")");
  const std::string token = args(R"("strategy": "token", "dynamic": true)");
  const std::string in_weights = "/quantization_config/config_groups/group_0/weights/";
  const BadCase cases[] = {
      {"[]", "/quantization_config must be an object, not a list"},
      {"\"fp8\"", "/quantization_config must be an object, not a string"},
      {"{}", "/quantization_config/quant_method is missing"},
      {R"({"quant_method": 1})", "/quantization_config/quant_method must be a string, not an integer"},
      {R"({"quant_method": "a\nb"})", "is \"a\\x0ab\""},
      {R"({"quant_method": "fp8"})", "/activation_scheme is missing"},
      {R"({"quant_method": "fp8", "activation_scheme": "x\n"})", "/activation_scheme is \"x\\x0a\"; it must be"},
      {R"({"quant_method": "fp8", "activation_scheme": true})", "/activation_scheme must be a string, not a boolean"},
      {fp8 + R"("weight_block_size": [128]})", "/weight_block_size must be two positive whole numbers"},
      {fp8 + R"("weight_block_size": [128, 0]})", "/weight_block_size must be two positive whole numbers"},
      {fp8 + R"("weight_block_size": [128, -128]})", "/weight_block_size must be two positive whole numbers"},
      {fp8 + R"("weight_block_size": [128.0, 128.0]})", "/weight_block_size must be two positive whole numbers"},
      {fp8 + R"("weight_block_size": "128"})", "/weight_block_size must be two positive whole numbers"},
      {fp8 + R"("weight_block_size": "0x128"})", "/weight_block_size must be two positive whole numbers"},
      {fp8 + R"("weight_block_size": "128x128x128"})", "/weight_block_size must be two positive whole numbers"},
      {fp8 + R"("weight_block_size": {}})", "/weight_block_size must be two positive whole numbers"},
      {fp8 + R"("fmt": "e3m4"})", "/fmt is \"e3m4\""},
      {fp8 + R"("scale_fmt": "x"})", "/scale_fmt is \"x\""},
      {fp8 + R"("ignored_layers": "lm_head"})", "/ignored_layers must be a list, not a string"},
      {fp8 + R"("modules_to_not_convert": [1]})", "/modules_to_not_convert must hold strings, not an integer"},
      {R"({"quant_method": "compressed-tensors"})", "/config_groups must be an object with at least one group"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {}})", "at least one group"},
      {R"({"quant_method": "compressed-tensors", "config_groups": []})", "at least one group"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"g": []}})", "/config_groups/g must be an object"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"g\n": 1}})", "/config_groups/g\\x0a must be"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"g": {}}})",
       "/config_groups/g/weights must be an object"},
      {R"({"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": "Linear"}}})",
       "/config_groups/g/targets must be a list"},
      {R"({"quant_method": "compressed-tensors", "ignore": {}, "config_groups": {"g": {}}})", "/ignore must be a list"},
      {compressed("{}", "null"), "/weights/type and num_bits describe int8, which is not FP8"},
      {compressed(R"({"type": "float", "num_bits": 4})", "null"), "describe float4, which is not FP8"},
      {compressed(R"({"type": "int", "num_bits": 8})", "null"), "describe int8, which is not FP8"},
      {compressed(R"({"type": "float", "num_bits": "8"})", "null"), "which is not FP8"},
      {compressed(R"({"type": "float", "symmetric": false})", "null"), "/weights/symmetric is not true"},
      {compressed(args(R"("dynamic": true, "strategy": "channel")"), "null"), "/weights/dynamic must be false"},
      {compressed(args(R"("strategy": "token")"), "null"), "/weights/strategy is \"token\""},
      {compressed(args(R"("strategy": "block")"), "null"), "/weights/block_structure is missing"},
      {compressed(args(R"("strategy": "block", "block_structure": "x")"), "null"),
       "/weights/block_structure must be two"},
      {compressed(args(R"("strategy": "group")"), "null"), "/weights/group_size must be a positive whole number"},
      {compressed(args(R"("strategy": "group", "group_size": 0)"), "null"), "/weights/group_size must be a positive"},
      {compressed(args(R"("group_size": -2)"), "null"), "/weights/group_size must be a positive"},
      {compressed(channel, "[]"), "/input_activations must be an object or null"},
      {compressed(channel, args(R"("strategy": "token", "dynamic": false)")),
       "/strategy is \"token\" with dynamic false"},
      {compressed(channel, args(R"("strategy": "block", "dynamic": true)")),
       "/strategy is \"block\" with dynamic true"},
      {compressed(channel, args(R"("strategy": "group", "dynamic": true, "group_size": 0)")), "/group_size must be"},
      {compressed(channel, R"({"type": "int", "dynamic": true})"),
       "/input_activations/type and num_bits describe int8"},
  };
  for (const BadCase& c : cases) {
    const auto info = parse(c.config);
    ASSERT_FALSE(info.ok()) << c.config;
    const std::string& message = info.error().message;
    EXPECT_NE(message.find(c.error), std::string::npos) << c.config << "\n-> " << message;
    EXPECT_TRUE(message.starts_with("config.json: /quantization_config")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(Quantization, ScaleNames) {
  for (const char* name : {"a.weight_scale", "a.weight_scale_inv", "a.input_scale", "a.activation_scale", "a.k_scale",
                           "self_attn.v_scale", "a.kv_scale", "a.q_scale", "k_proj.output_scale",
                           "self_attn.k_cache.scale", "self_attn.v_cache.head_12.scale", "a.qscale_weight"}) {
    EXPECT_TRUE(is_scale_name(name)) << name;
  }
  for (const char* name : {"a.weight", "weight_scale", "a.scale", "a.weight_scale.x", "", "a.bias", "norm.head_1.scale",
                           "experts.gate_up_proj_scale", "logit_scale"}) {
    EXPECT_FALSE(is_scale_name(name)) << name;
  }
}

struct ScaleCase {
  const char* what;
  Shape weight, scale;
  Shape block;  // of the config; {} = none
  Granularity granularity;
  std::uint64_t block_n, block_k, columns;
  const char* error = nullptr;
};

TEST(MatchScale, EveryShape) {
  const auto kBlock = Granularity::kBlock;
  const ScaleCase cases[] = {
      {"scalar", {6, 8}, {}, {}, Granularity::kTensor, 6, 8, 1},
      {"[1]", {6, 8}, {1}, {}, Granularity::kTensor, 6, 8, 1},
      {"[N, 1]", {6, 8}, {6, 1}, {}, Granularity::kChannel, 1, 8, 1},
      {"[N]", {6, 8}, {6}, {}, Granularity::kChannel, 1, 8, 1},
      {"channels of a config with blocks", {6, 8}, {6, 1}, {4, 4}, Granularity::kChannel, 1, 8, 1},
      {"whole blocks", {8, 8}, {2, 2}, {4, 4}, kBlock, 4, 4, 2},
      {"ragged rows", {9, 8}, {3, 2}, {4, 4}, kBlock, 4, 4, 2},
      {"ragged columns", {8, 9}, {2, 3}, {4, 4}, kBlock, 4, 4, 3},
      {"ragged both", {5, 5}, {2, 2}, {4, 4}, kBlock, 4, 4, 2},
      {"one block larger than the weight", {3, 3}, {1, 1}, {4, 4}, kBlock, 3, 3, 1},
      {"a row of blocks", {3, 9}, {1, 3}, {4, 4}, kBlock, 4, 4, 3},
      {"[1, 1] of one row", {1, 8}, {1, 1}, {}, Granularity::kChannel, 1, 8, 1},
      {"[1, 1] of one row, in blocks", {1, 4}, {1, 1}, {4, 4}, kBlock, 4, 4, 1},
      {"576 rows in 5 blocks", {576, 256}, {5, 2}, {128, 128}, kBlock, 128, 128, 2},
      {"a grid without blocks in the config", {8, 8}, {2, 2}, {}, kBlock, 0, 0, 0, "fits no granularity"},
      {"a grid one row short", {9, 8}, {2, 2}, {4, 4}, kBlock, 0, 0, 0, "fits no granularity"},
      {"transposed grid", {8, 16}, {4, 2}, {4, 4}, kBlock, 0, 0, 0, "fits no granularity"},
      {"[1, N]", {6, 8}, {1, 6}, {}, kBlock, 0, 0, 0, "fits no granularity"},
      {"[K]", {6, 8}, {8}, {}, kBlock, 0, 0, 0, "fits no granularity"},
      {"[N, 1, 1]", {6, 8}, {6, 1, 1}, {}, kBlock, 0, 0, 0, "fits no granularity"},
      {"no scales", {6, 8}, {0}, {}, kBlock, 0, 0, 0, "fits no granularity"},
      {"[N/4, 1, K/4, 1] of ModelOpt", {8, 9}, {2, 1, 3, 1}, {4, 4}, kBlock, 4, 4, 3},
      {"four dimensions with more", {8, 8}, {2, 1, 1, 2}, {4, 4}, kBlock, 0, 0, 0, "fits no granularity"},
      {"four dimensions", {2, 3, 4, 5}, {1}, {}, kBlock, 0, 0, 0, "or three of experts, not [2, 3, 4, 5]"},
      {"one dimension", {6}, {1}, {}, kBlock, 0, 0, 0, "or three of experts, not [6]"},
  };
  for (const ScaleCase& c : cases) {
    const TempDir dir;
    CheckpointBuilder b;
    b.add("m.weight", DType::kF8E4M3, c.weight, std::vector<std::byte>(*element_count(c.weight)));
    b.add("m.weight_scale", DType::kF32, c.scale, std::vector<std::byte>(*element_count(c.scale) * 4));
    const Checkpoint checkpoint = b.open(dir / "m");
    QuantizationInfo info;
    QuantizationGroup group;
    if (!c.block.empty()) {
      group.granularity = Granularity::kBlock;
      group.block_n = c.block[0];
      group.block_k = c.block[1];
    }
    info.groups.push_back(group);
    const auto found = match_scale(checkpoint, info, *checkpoint.find("m.weight"));
    if (c.error != nullptr) {
      ASSERT_FALSE(found.ok()) << c.what;
      EXPECT_NE(found.error().message.find(c.error), std::string::npos) << c.what << ": " << found.error().message;
      continue;
    }
    ASSERT_TRUE(found.ok()) << c.what << ": " << found.error().message;
    EXPECT_EQ(found->granularity, c.granularity) << c.what;
    EXPECT_EQ(found->block_n, c.block_n) << c.what;
    EXPECT_EQ(found->block_k, c.block_k) << c.what;
    EXPECT_EQ(found->scale_columns, c.columns) << c.what;
    EXPECT_EQ(found->module, "m");
    // Every element has a scale, the last element the last one.
    const std::uint64_t last = found->scale_index(c.weight[0] - 1, c.weight[1] - 1);
    EXPECT_EQ(last + 1, *element_count(c.scale)) << c.what;
    EXPECT_EQ(found->scale_index(0, 0), 0u);
  }
}

TEST(MatchScale, FindsEveryWeightAndItsScaleInAnyShard) {
  const TempDir dir;
  CheckpointBuilder b;
  const std::vector<std::byte> codes(48);
  b.add("a.weight", DType::kF8E4M3, {6, 8}, codes, 0);
  b.add("b.weight", DType::kF8E5M2, {6, 8}, codes, 1);
  b.add("c.weight", DType::kF8E4M3, {6, 8}, codes, 1);  // without a scale
  b.add_random("d.weight", DType::kBF16, {6, 8}, 1, 0);
  b.add("e", DType::kF8E4M3, {6, 8}, codes, 0);  // no .weight
  b.add_f32("a.weight_scale", {}, std::vector<float>{1}, 1);
  b.add_f32("b.weight_scale_inv", {6, 1}, std::vector<float>(6, 1), 0);
  b.add_f32("b.input_scale", {}, std::vector<float>{1}, 0);
  const Checkpoint checkpoint = b.open(dir / "m");
  QuantizationInfo info;
  info.groups.emplace_back();
  const auto found = find_quantized_weights(checkpoint, info);
  ASSERT_TRUE(found.ok()) << found.error().message;
  ASSERT_EQ(found->size(), 3u);
  for (const QuantizedWeight& w : *found) {
    if (w.module == "a") {
      EXPECT_EQ(w.scale->name, "a.weight_scale");
      EXPECT_NE(w.scale->shard, w.weight->shard);
      EXPECT_EQ(w.granularity, Granularity::kTensor);
    } else if (w.module == "b") {
      EXPECT_EQ(w.scale->name, "b.weight_scale_inv");
      EXPECT_EQ(w.granularity, Granularity::kChannel);
    } else {
      EXPECT_EQ(w.module, "c");
      EXPECT_EQ(w.scale, nullptr);
    }
  }
}

TEST(MatchScale, AMisfitNamesBothShapes) {
  const TempDir dir;
  CheckpointBuilder b;
  b.add("a.weight", DType::kF8E4M3, {6, 8}, std::vector<std::byte>(48));
  b.add_f32("a.weight_scale", {2, 3}, std::vector<float>(6, 1));
  const Checkpoint checkpoint = b.open(dir / "m");
  QuantizationInfo info;
  info.groups.emplace_back();
  const auto found = find_quantized_weights(checkpoint, info);
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().message,
            "tensor \"a.weight_scale\": scale of shape [2, 3] fits no granularity of a weight of shape [6, 8]");
}

TEST(Quantization, RealConfigsAreRead) {
  const std::filesystem::path root = OCTAVO_SOURCE_DIR "/../shared/data/configs";
  if (!std::filesystem::exists(root)) GTEST_SKIP() << "no " << root;
  std::size_t quantized = 0;
  for (const auto& item : std::filesystem::directory_iterator(root)) {
    if (!item.path().string().ends_with("_config.json")) continue;
    const auto json = parse_json(test::read_file(item.path()), item.path().string());
    ASSERT_TRUE(json.ok()) << json.error().message;
    const auto info = parse_quantization(*json, item.path().string());
    ASSERT_TRUE(info.ok()) << info.error().message;
    const bool named_fp8 = item.path().string().find("-FP8_config") != std::string::npos;
    if (*info) ++quantized;
    if (*info && named_fp8) {
      EXPECT_EQ((**info).groups[0].granularity, Granularity::kBlock) << item.path();
    }
  }
  EXPECT_GT(quantized, 0u);
}

}  // namespace
}  // namespace octavo
