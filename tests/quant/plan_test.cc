// The plan: names, shapes and dtypes of the outputs, their places in the file, the config, the refusals.
#include "octavo/quant/plan.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include "octavo/quant/output_config.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo::quant {
namespace {

using test::TempDir;
using test::TinyModel;

Plan plan_of(const Checkpoint& checkpoint, const QuantSpec& spec) {
  auto plan = make_plan(checkpoint, spec);
  EXPECT_TRUE(plan.ok()) << (plan.ok() ? "" : plan.error().message);
  return std::move(plan).value();
}

const OutputTensor* output(const Plan& plan, std::string_view name) {
  for (const OutputTensor& out : plan.outputs) {
    if (out.name == name) return &out;
  }
  return nullptr;
}

Json config_of(const Plan& plan) { return Json::parse(plan.config_text).at("quantization_config"); }

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";  // [384, 256] in the tiny model

TEST(Plan, ScaleNamesShapesAndDTypes) {
  struct Row {
    const char* scheme;
    const char* format;
    const char* suffix;
    Shape shape;
    DType dtype;
  };
  const std::vector<Row> rows = {
      {"dynamic", "", "_scale", {384, 1}, DType::kBF16},
      {"weight-only", "", "_scale", {384, 1}, DType::kBF16},
      {"tensor", "", "_scale", {1}, DType::kBF16},
      {"tensor", "fp8", "_scale", {}, DType::kF32},
      {"block", "", "_scale_inv", {3, 2}, DType::kF32},
      {"block", "compressed-tensors", "_scale", {3, 2}, DType::kBF16},
      {"dynamic", "modelopt", "_scale", {384}, DType::kF32},
      {"block", "modelopt", "_scale", {3, 1, 2, 1}, DType::kF32},
      {"mxfp8", "modelopt", "_scale", {384, 8}, DType::kU8},
      {"mxfp8", "compressed-tensors", "_scale", {384, 8}, DType::kU8},
  };
  TempDir dir;
  const Checkpoint checkpoint = test::tiny_model().open(dir / "model");
  for (const Row& row : rows) {
    const Plan plan = plan_of(checkpoint, make_spec(row.scheme, row.format).value());
    const OutputTensor* scale = output(plan, std::string(kUp) + row.suffix);
    ASSERT_NE(scale, nullptr) << row.scheme << " " << row.format;
    EXPECT_EQ(scale->shape, row.shape);
    EXPECT_EQ(scale->dtype, row.dtype);
    EXPECT_EQ(output(plan, kUp)->dtype, DType::kF8E4M3);
    EXPECT_EQ(output(plan, "model.embed_tokens.weight")->dtype, DType::kBF16);
  }
}

TEST(Plan, F16SourcesKeepF32Scales) {
  TempDir dir;
  TinyModel model;
  model.dtype = DType::kF16;
  const Checkpoint checkpoint = test::tiny_model(model).open(dir / "model");
  const Plan plan = plan_of(checkpoint, make_spec("dynamic", "").value());
  EXPECT_EQ(output(plan, std::string(kUp) + "_scale")->dtype, DType::kF32);
}

TEST(Plan, EveryByteOfEveryFileBelongsToOneTensor) {
  TempDir dir;
  auto builder = test::tiny_model();
  builder.spread(3);
  const Checkpoint checkpoint = builder.open(dir / "model");
  ASSERT_EQ(checkpoint.shards().size(), 3u);
  const Plan plan = plan_of(checkpoint, make_spec("block", "").value());
  for (std::uint32_t s = 0; s < 3; ++s) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> spans;
    for (const OutputTensor& out : plan.outputs) {
      if (out.shard == s) spans.emplace_back(out.offset, out.offset + out.bytes);
    }
    std::sort(spans.begin(), spans.end());
    std::uint64_t at = plan.shards[s].header_bytes;
    EXPECT_EQ(shard_header(plan, s).size(), at);
    for (const auto& [begin, end] : spans) {
      EXPECT_EQ(begin, at);
      at = end;
    }
    EXPECT_EQ(at, plan.shards[s].bytes);
  }
  ASSERT_TRUE(plan.has_index);
  const Json index = Json::parse(index_text(plan));
  EXPECT_EQ(index["weight_map"].size(), plan.outputs.size());
  EXPECT_EQ(index["metadata"]["total_size"], plan.output_bytes);
}

TEST(Plan, SharedScalesOfTensorScheme) {
  TempDir dir;
  const Checkpoint checkpoint = test::tiny_model().open(dir / "model");
  const Plan plan = plan_of(checkpoint, make_spec("tensor", "").value());
  const auto shared = [&](const std::string& name) {
    for (const PlannedTensor& planned : plan.tensors) {
      if (checkpoint.tensors()[planned.source].name == name) return planned.shared;
    }
    return std::optional<std::uint32_t>();
  };
  const std::string layer = "model.layers.0.";
  EXPECT_TRUE(shared(layer + "self_attn.q_proj.weight").has_value());
  EXPECT_EQ(shared(layer + "self_attn.q_proj.weight"), shared(layer + "self_attn.k_proj.weight"));
  EXPECT_EQ(shared(layer + "self_attn.q_proj.weight"), shared(layer + "self_attn.v_proj.weight"));
  EXPECT_EQ(shared(layer + "mlp.gate_proj.weight"), shared(layer + "mlp.up_proj.weight"));
  EXPECT_NE(shared(layer + "mlp.gate_proj.weight"), shared(layer + "mlp.down_proj.weight"));
  EXPECT_NE(shared(layer + "self_attn.q_proj.weight"), shared("model.layers.1.self_attn.q_proj.weight"));
}

TEST(Plan, Fp8ConfigWritesBothIgnoreSpellings) {
  TempDir dir;
  TinyModel model;
  model.experts = 2;
  const Checkpoint checkpoint = test::tiny_model(model).open(dir / "model");
  const Json config = config_of(plan_of(checkpoint, make_spec("block", "").value()));
  EXPECT_EQ(config["quant_method"], "fp8");
  EXPECT_EQ(config["activation_scheme"], "dynamic");
  EXPECT_EQ(config["weight_block_size"], Json({128, 128}));
  EXPECT_EQ(config["ignored_layers"], config["modules_to_not_convert"]);
  const auto ignored = config["ignored_layers"].get<std::vector<std::string>>();
  EXPECT_NE(std::find(ignored.begin(), ignored.end(), "lm_head"), ignored.end());
  EXPECT_NE(std::find(ignored.begin(), ignored.end(), "model.layers.0.mlp.gate"), ignored.end());
  EXPECT_EQ(std::find(ignored.begin(), ignored.end(), "model.embed_tokens"), ignored.end());
}

TEST(Plan, CompressedTensorsConfig) {
  TempDir dir;
  TinyModel tied;
  tied.tied = true;
  const Checkpoint checkpoint = test::tiny_model(tied).open(dir / "model");
  const Json dynamic = config_of(plan_of(checkpoint, make_spec("dynamic", "").value()));
  EXPECT_EQ(dynamic, Json::parse(R"({
    "config_groups": {"group_0": {"format": "float-quantized",
      "input_activations": {"dynamic": true, "group_size": null, "num_bits": 8, "strategy": "token",
                            "symmetric": true, "type": "float"},
      "output_activations": null, "targets": ["Linear"],
      "weights": {"dynamic": false, "group_size": null, "num_bits": 8, "strategy": "channel",
                  "symmetric": true, "type": "float"}}},
    "format": "float-quantized", "global_compression_ratio": null, "ignore": ["lm_head"], "kv_cache_scheme": null,
    "quant_method": "compressed-tensors", "quantization_status": "compressed", "sparsity_config": {},
    "transform_config": {}, "version": "0.20.0"})"));
  const Json weight_only = config_of(plan_of(checkpoint, make_spec("weight-only", "").value()));
  EXPECT_EQ(weight_only["format"], "naive-quantized");
  EXPECT_TRUE(weight_only["config_groups"]["group_0"]["input_activations"].is_null());
  const Json block = config_of(plan_of(checkpoint, make_spec("block", "compressed-tensors").value()));
  EXPECT_EQ(block["config_groups"]["group_0"]["weights"]["block_structure"], Json({128, 128}));
  EXPECT_EQ(block["config_groups"]["group_0"]["input_activations"]["group_size"], 128);
  EXPECT_EQ(block["config_groups"]["group_0"]["input_activations"]["strategy"], "group");
}

TEST(Plan, EdgeChannelNamesItsModules) {
  TempDir dir;
  TinyModel model;
  model.hidden = 256;
  model.intermediate = 320;  // not whole blocks
  const Checkpoint checkpoint = test::tiny_model(model).open(dir / "model");
  QuantSpec spec = make_spec("block", "compressed-tensors").value();
  spec.edge = Edge::kChannel;
  const Plan plan = plan_of(checkpoint, spec);
  EXPECT_EQ(plan.edge_channel.size(), 6u);  // gate, up, down of two layers
  const Json config = config_of(plan);
  const auto group_0 = config["config_groups"]["group_0"]["targets"].get<std::vector<std::string>>();
  const auto group_1 = config["config_groups"]["group_1"]["targets"].get<std::vector<std::string>>();
  EXPECT_EQ(group_1, plan.edge_channel);
  EXPECT_NE(std::find(group_0.begin(), group_0.end(), "model.layers.1.self_attn.o_proj"), group_0.end());
  EXPECT_EQ(config["config_groups"]["group_1"]["weights"]["strategy"], "channel");
  EXPECT_EQ(output(plan, "model.layers.0.mlp.down_proj.weight_scale")->shape, (Shape{256, 1}));
  EXPECT_EQ(output(plan, "model.layers.0.self_attn.q_proj.weight_scale")->shape, (Shape{2, 2}));
}

TEST(Plan, LmHeadIsPerChannelUnderItsOwnTarget) {
  TempDir dir;
  const Checkpoint checkpoint = test::tiny_model().open(dir / "model");
  QuantSpec spec = make_spec("tensor", "").value();
  spec.lm_head = true;
  const Plan plan = plan_of(checkpoint, spec);
  EXPECT_EQ(output(plan, "lm_head.weight_scale")->shape, (Shape{320, 1}));
  const Json config = config_of(plan);
  EXPECT_EQ(config["config_groups"]["group_1"]["targets"], Json({"re:.*lm_head$"}));
  EXPECT_TRUE(config["ignore"].empty());
}

TEST(Plan, IllegalPairsAreRefusedInOneLine) {
  for (const char* scheme : {"dynamic", "weight-only"}) {
    const auto spec = make_spec(scheme, "fp8");
    ASSERT_TRUE(spec.ok());
    const Status status = check_spec(*spec);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().kind, ErrorKind::kUsage);
    EXPECT_NE(status.error().message.find(fmt::format("{} goes with --format compressed-tensors", scheme)),
              std::string::npos);
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
  }
  // As `verify --for` has it: it runs, in another way.
  EXPECT_TRUE(check_loader(make_spec("static", "fp8").value(), Loader::kTensorRtLlm).ok());
  const Status refused = check_loader(make_spec("static", "fp8").value(), Loader::kTransformers);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message.find('\n'), std::string::npos);
  QuantSpec e5m2 = make_spec("dynamic", "").value();
  e5m2.dtype = fp8::Format::kE5M2;
  EXPECT_FALSE(check_spec(e5m2).ok());
  QuantSpec edge = make_spec("block", "").value();
  edge.edge = Edge::kChannel;
  EXPECT_FALSE(check_spec(edge).ok());
  QuantSpec head = make_spec("block", "").value();
  head.lm_head = true;
  EXPECT_FALSE(check_spec(head).ok());
  QuantSpec small = make_spec("block", "modelopt").value();
  EXPECT_TRUE(check_spec(small).ok());
  small.scheme.block_n = small.scheme.block_k = 64;
  EXPECT_FALSE(check_spec(small).ok());                                // FP8_PB_WO is 128x128
  EXPECT_FALSE(check_spec(make_spec("mxfp8", "mxfp8").value()).ok());  // without the loader whose names it has
  EXPECT_FALSE(make_spec("blok", "").ok());
  EXPECT_FALSE(make_spec("block", "gguf").ok());
}

TEST(Plan, Warnings) {
  TempDir dir;
  const Checkpoint checkpoint = test::tiny_model().open(dir / "model");
  const auto warnings_of = [&](const QuantSpec& spec) {
    return fmt::format("{}", fmt::join(plan_of(checkpoint, spec).warnings, "\n"));
  };
  QuantSpec spec = make_spec("dynamic", "").value();
  EXPECT_EQ(warnings_of(spec), "");
  spec = make_spec("block", "").value();
  EXPECT_NE(warnings_of(spec).find("down_proj [256, 384] at 2 ranks (192 columns each)"), std::string::npos)
      << warnings_of(spec);
  spec.dtype = fp8::Format::kE5M2;
  EXPECT_NE(warnings_of(spec).find("no engine loads E5M2"), std::string::npos);
  spec = make_spec("block", "").value();
  spec.scheme.block_n = spec.scheme.block_k = 96;
  EXPECT_NE(warnings_of(spec).find("partial blocks"), std::string::npos);
  EXPECT_NE(warnings_of(spec).find("96x96"), std::string::npos);
  spec = make_spec("dynamic", "").value();
  spec.ignore = {"*.k_proj"};
  EXPECT_NE(warnings_of(spec).find("quantized only in part"), std::string::npos);
}

TEST(Plan, AHeadInASchemeOfGroupsHasChannelScales) {
  TempDir dir;
  const Checkpoint checkpoint = test::tiny_model().open(dir / "model");
  QuantSpec spec = make_spec("mxfp8", "").value();
  spec.lm_head = true;
  const Plan plan = plan_of(checkpoint, spec);
  EXPECT_EQ(output(plan, "lm_head.weight_scale")->dtype, DType::kBF16);
  EXPECT_EQ(output(plan, "lm_head.weight_scale")->shape, (Shape{320, 1}));
  EXPECT_EQ(output(plan, std::string(kUp) + "_scale")->dtype, DType::kU8);
}

TEST(Plan, GroupsThatDoNotFitAreRefusedByEveryLoader) {
  TempDir dir;
  TinyModel model;
  model.intermediate = 400;  // 12.5 groups of 32
  const Checkpoint checkpoint = test::tiny_model(model).open(dir / "model");
  const Plan plan = plan_of(checkpoint, make_spec("mxfp8", "").value());
  EXPECT_EQ(plan.refused.size(), kLoaders.size());
  EXPECT_NE(plan.refused[0].why.find("[256, 400]"), std::string::npos) << plan.refused[0].why;
}

TEST(Plan, WarnsOfWhatLoadersRefuseInMixturesOfExperts) {
  TempDir dir;
  TinyModel model;
  model.experts = 4;
  const Checkpoint checkpoint = test::tiny_model(model).open(dir / "model");
  const auto warnings_of = [&](const QuantSpec& spec) {
    return fmt::format("{}", fmt::join(plan_of(checkpoint, spec).warnings, "\n"));
  };
  EXPECT_EQ(warnings_of(make_spec("dynamic", "").value()), "");
  EXPECT_NE(warnings_of(make_spec("tensor", "").value()).find("refuse experts"), std::string::npos);
  EXPECT_NE(warnings_of(make_spec("block", "compressed-tensors").value()).find("transformers"), std::string::npos);
  QuantSpec mixed = make_spec("dynamic", "").value();
  mixed.ignore = {"*.experts.2.*"};
  EXPECT_NE(warnings_of(mixed).find("quantized only in part"), std::string::npos);
  // All experts of a layer share a scheme.
  QuantSpec edge = make_spec("block", "compressed-tensors").value();
  edge.edge = Edge::kChannel;
  edge.scheme.block_k = 96;
  for (const std::string& module : plan_of(checkpoint, edge).edge_channel) {
    if (module.find(".experts.") == std::string::npos) continue;
    const Plan plan = plan_of(checkpoint, edge);
    EXPECT_EQ(std::count_if(plan.edge_channel.begin(), plan.edge_channel.end(),
                            [](const std::string& m) { return m.find("layers.0.mlp.experts.") != std::string::npos; }),
              12);
    break;
  }
}

TEST(Plan, AlreadyQuantizedSourceIsRefused) {
  TempDir dir;
  auto builder = test::tiny_model();
  builder.config()["quantization_config"] = {{"quant_method", "awq"}};
  const Checkpoint checkpoint = builder.open(dir / "model");
  const auto plan = make_plan(checkpoint, make_spec("dynamic", "").value());
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("already quantized (awq)"), std::string::npos);
}

TEST(Plan, JsonHasOneEntryPerSourceTensor) {
  TempDir dir;
  const Checkpoint checkpoint = test::tiny_model().open(dir / "model");
  const Plan plan = plan_of(checkpoint, make_spec("dynamic", "").value());
  const std::string text =
      collect_text([&](const TextSink& sink) { return write_plan_json(checkpoint, plan, sink); }).value();
  const Json json = Json::parse(text);
  EXPECT_EQ(text, json.dump(2) + "\n");
  ASSERT_EQ(json["tensors"].size(), checkpoint.tensors().size());
  for (const Json& tensor : json["tensors"]) {
    const bool quantize = tensor["action"] == "quantize";
    EXPECT_TRUE(quantize || tensor["action"] == "keep");
    EXPECT_EQ(tensor["outputs"].size(), quantize ? 2u : 1u);
    EXPECT_FALSE(tensor["why"].get<std::string>().empty());
  }
  // Scales that have no dimension.
  const Plan scalars = plan_of(checkpoint, make_spec("tensor", "fp8").value());
  const std::string scalar_text =
      collect_text([&](const TextSink& sink) { return write_plan_json(checkpoint, scalars, sink); }).value();
  EXPECT_EQ(scalar_text, Json::parse(scalar_text).dump(2) + "\n");
  EXPECT_NE(scalar_text.find("\"shape\": []"), std::string::npos);

  const auto table = collect_text([&](const TextSink& sink) { return write_plan_text(checkpoint, plan, sink); });
  EXPECT_NE(table.value().find("linear of layer 1"), std::string::npos);
}

TEST(Plan, Explain) {
  TempDir dir;
  const Checkpoint checkpoint = test::tiny_model().open(dir / "model");
  const Plan plan = plan_of(checkpoint, make_spec("tensor", "").value());
  const auto text = explain(checkpoint, plan, "model.layers.0.self_attn.q_proj");
  ASSERT_TRUE(text.ok());
  EXPECT_NE(text->find("shares its scale with model.layers.0.self_attn.k_proj.weight"), std::string::npos) << *text;
  const auto wrong = explain(checkpoint, plan, "model.layers.0.self_attn.q_prj");
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("did you mean"), std::string::npos);
}

}  // namespace
}  // namespace octavo::quant
