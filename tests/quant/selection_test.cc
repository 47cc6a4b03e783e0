// Which tensors are quantized: kinds of modules under many naming habits, patterns, first and last layers.
#include "octavo/quant/selection.h"

#include <gtest/gtest.h>

#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo::quant {
namespace {

using test::CheckpointBuilder;
using test::TempDir;

struct Row {
  const char* name;
  Shape shape;
  bool quantize;
  const char* why;  // part of the reason
  DType dtype = DType::kBF16;
};

// One checkpoint with all rows, decided at once.
void expect_rows(const std::vector<Row>& rows, const QuantSpec& spec, const Json& config = Json::object()) {
  TempDir dir;
  CheckpointBuilder builder;
  builder.config() = config;
  for (const Row& row : rows) {
    const auto bytes = static_cast<std::size_t>(*byte_count(row.dtype, row.shape));
    builder.add(row.name, row.dtype, row.shape, std::vector<std::byte>(bytes));
  }
  const Checkpoint checkpoint = builder.open(dir / "model");
  const auto model = parse_model_config(checkpoint.config(), "config.json");
  ASSERT_TRUE(model.ok()) << model.error().message;
  const auto selection = select_tensors(checkpoint, *model, spec);
  ASSERT_TRUE(selection.ok()) << selection.error().message;
  for (const Row& row : rows) {
    const auto* tensor = checkpoint.find(row.name);
    ASSERT_NE(tensor, nullptr);
    const Decision& d = selection->decisions[static_cast<std::size_t>(tensor - checkpoint.tensors().data())];
    EXPECT_EQ(d.quantize, row.quantize) << row.name << ": " << d.why;
    EXPECT_NE(d.why.find(row.why), std::string::npos) << row.name << ": " << d.why;
  }
}

QuantSpec default_spec() { return make_spec("dynamic", "").value(); }

TEST(Selection, KindsOfModules) {
  const Shape m{8, 8};
  expect_rows(
      {
          {"model.embed_tokens.weight", m, false, "embedding"},
          {"model.layers.0.self_attn.q_proj.weight", m, true, "layer 0"},
          {"model.layers.0.self_attn.q_proj.bias", {8}, false, "not a .weight"},
          {"model.layers.0.self_attn.q_norm.weight", {8}, false, "norm"},
          {"model.layers.0.self_attn.kv_a_proj_with_mqa.weight", {5, 8}, true, "layer 0"},
          {"model.layers.0.self_attn.indexer.weights_proj.weight", m, false, "engines run it in BF16"},
          {"model.layers.0.self_attn.indexer.wq_b.weight", m, true, "layer 0"},
          {"model.layers.0.mlp.gate_proj.weight", m, true, "layer 0"},
          {"model.layers.0.mlp.gate.weight", m, false, "router"},
          {"model.layers.0.mlp.gate.e_score_correction_bias", {8}, false, "not a .weight"},
          {"model.layers.0.mlp.experts.3.up_proj.weight", m, true, "layer 0"},
          {"model.layers.0.mlp.experts.gate_up_proj", {2, 8, 8}, false, "3-D"},
          {"model.layers.0.mlp.shared_expert_gate.weight", {1, 8}, false, "router"},
          {"model.layers.0.mlp.shared_experts.down_proj.weight", m, true, "layer 0"},
          {"model.layers.0.feed_forward.router.weight", m, false, "router"},
          {"model.layers.0.mlp.router.layer.weight", m, false, "router"},
          {"model.layers.1.block_sparse_moe.gate.weight", m, false, "router"},
          {"model.layers.1.block_sparse_moe.experts.0.w1.weight", m, true, "layer 1"},
          {"model.layers.1.linear_attn.in_proj_ba.weight", m, false, "engines run it in BF16"},
          {"model.layers.1.linear_attn.in_proj_qkvz.weight", m, true, "layer 1"},
          {"model.layers.1.linear_attn.conv1d.weight", {8, 1, 4}, false, "3-D"},
          {"model.layers.1.self_attn.o_proj.weight", m, false, "already FP8", DType::kF8E4M3},
          {"model.layers.1.mlp.up_proj.weight", m, false, "dtype I64", DType::kI64},
          {"model.layers.2.eh_proj.weight", m, false, "MTP"},
          {"model.layers.2.embed_tokens.weight", m, false, "embedding"},
          {"model.layers.2.shared_head.head.weight", m, false, "MTP"},
          {"model.layers.2.enorm.weight", {8}, false, "norm"},
          {"model.layers.2.self_attn.q_proj.weight", m, true, "layer 2"},
          {"mtp.fc.weight", m, false, "MTP"},
          {"mtp.layers.0.mlp.down_proj.weight", m, true, "layer 0"},
          {"model.visual.blocks.0.attn.qkv.weight", m, false, "vision"},
          {"vision_model.patch_embedding.linear.weight", m, false, "part of an embedding"},
          {"model.embed_vision.embedding_projection.weight", m, false, "part of an embedding"},
          {"multi_modal_projector.linear_1.weight", m, false, "projector"},
          {"model.audio_tower.layers.0.fc1.weight", m, false, "audio"},
          {"score.weight", m, false, "outside the decoder layers"},
          {"lm_head.weight", m, false, "output head"},
      },
      default_spec());
}

TEST(Selection, UnknownArchitecturesByWhatTheirModulesAre) {
  const Shape m{8, 8};
  expect_rows(
      {
          {"net.tok_embeddings.weight", m, false, "embedding"},
          {"net.stack.7.mixer.alpha.weight", m, true, "layer 7"},
          {"net.stack.7.mixer.beta.weight", {24, 8}, true, "layer 7"},
          {"net.stack.7.ffn.gate.weight", {16, 8}, true, "layer 7"},  // twin of up: half of a gated MLP
          {"net.stack.7.ffn.up.weight", {16, 8}, true, "layer 7"},
          {"net.stack.7.moe.gate.weight", {4, 8}, false, "router"},
          {"net.stack.7.ln_1.weight", {8}, false, "norm"},
          {"net.output.weight", m, false, "output head"},
      },
      default_spec());
}

// Numbered components that are not decoder layers: projectors, towers under other names, classifiers.
TEST(Selection, OnlyTheDecodersLayersCount) {
  const Shape big{64, 64}, m{8, 8};
  expect_rows(
      {
          {"language_model.model.layers.0.mlp.up_proj.weight", big, true, "layer 0"},
          {"language_model.model.layers.1.mlp.up_proj.weight", big, true, "layer 1"},
          {"mlp1.1.weight", m, false, "outside the decoder"},
          {"mlp1.3.weight", m, false, "outside the decoder"},
          {"classifier.0.weight", m, false, "outside the decoder"},
          {"medusa_head.0.0.linear.weight", m, false, "outside the decoder"},
          {"model.vit.encoder.layers.1.fc1.weight", big, false, "vision"},
          {"aligner.layers.1.weight", big, false, "projector"},
      },
      default_spec(), {{"text_config", {{"num_hidden_layers", 2}}}});
  // Without a number in the config, or with one that nothing reaches, the heaviest container is the decoder.
  expect_rows(
      {
          {"trunk.stage.0.dense_a.weight", big, true, "layer 0"},
          {"probe.heads.0.weight", m, false, "outside the decoder"},
      },
      default_spec(), {{"num_hidden_layers", 90}});
}

TEST(Selection, RoutersByTheirShape) {
  const Shape m{8, 16};
  expect_rows(
      {
          {"model.layers.0.mlp.experts.0.up_proj.weight", m, true, "layer 0"},
          {"model.layers.0.mlp.experts.2.up_proj.weight", m, true, "layer 0"},
          {"model.layers.0.mlp.switch.weight", {3, 16}, false, "router"},
          {"model.layers.0.mlp.blend.weight", {1, 16}, false, "router"},
          {"model.layers.0.mlp.dense.weight", m, true, "layer 0"},
          {"model.layers.1.mlp.experts.gate_up_proj", {4, 8, 16}, false, "3-D"},
          {"model.layers.1.mlp.pick.weight", {4, 16}, false, "router"},
      },
      default_spec());
}

TEST(Selection, EmbedOutIsAHead) {
  QuantSpec spec = default_spec();
  spec.lm_head = true;
  expect_rows({{"embed_out.weight", {8, 8}, true, "--lm-head"}, {"gpt_neox.layers.0.a.weight", {8, 8}, true, "layer"}},
              spec);
}

TEST(Selection, Conv1dIsNotQuantizedAlongTheWrongAxis) {
  TempDir dir;
  CheckpointBuilder builder;
  builder.config() = {{"model_type", "gpt2"}};
  builder.add("h.0.attn.c_attn.weight", DType::kBF16, {4, 12}, std::vector<std::byte>(96));
  const Checkpoint checkpoint = builder.open(dir / "model");
  const auto selection =
      select_tensors(checkpoint, parse_model_config(checkpoint.config(), "c").value(), default_spec());
  ASSERT_FALSE(selection.ok());
  EXPECT_NE(selection.error().message.find("transposed"), std::string::npos) << selection.error().message;
}

TEST(Selection, FirstAndLastLayersCountTheModelProper) {
  const Shape m{8, 8};
  QuantSpec spec = default_spec();
  spec.keep_first = 1;
  spec.keep_last = 1;
  // Layer 4 is a prediction layer behind the four of the model.
  expect_rows(
      {
          {"model.layers.0.mlp.up_proj.weight", m, false, "--keep-first"},
          {"model.layers.1.mlp.up_proj.weight", m, true, "layer 1"},
          {"model.layers.2.mlp.up_proj.weight", m, true, "layer 2"},
          {"model.layers.3.mlp.up_proj.weight", m, false, "--keep-last"},
          {"model.layers.4.mlp.up_proj.weight", m, true, "layer 4"},
          {"mtp.layers.0.mlp.up_proj.weight", m, true, "layer 0"},
      },
      spec, {{"num_hidden_layers", 4}});
}

TEST(Selection, Patterns) {
  const Shape m{8, 8};
  QuantSpec spec = default_spec();
  spec.ignore = {"model.layers.0.mlp.up_proj", "model.layers.1.mlp.down_proj.weight", "*.o_proj",
                 "re:.*layers\\.1.*q_"};
  expect_rows(
      {
          {"model.layers.0.mlp.up_proj.weight", m, false, "--ignore model.layers.0.mlp.up_proj"},
          {"model.layers.1.mlp.up_proj.weight", m, true, "layer 1"},
          {"model.layers.1.mlp.down_proj.weight", m, false, "--ignore"},
          {"model.layers.0.self_attn.o_proj.weight", m, false, "--ignore *.o_proj"},
          {"model.layers.1.self_attn.q_proj.weight", m, false, "--ignore re:"},
          {"model.layers.0.self_attn.q_proj.weight", m, true, "layer 0"},
      },
      spec);
  QuantSpec only = default_spec();
  only.only = {"*.q_proj", "*.mlp.*"};
  only.ignore = {"*.1.mlp.*"};
  expect_rows(
      {
          {"model.layers.0.self_attn.q_proj.weight", m, true, "layer 0"},
          {"model.layers.0.self_attn.k_proj.weight", m, false, "--only"},
          {"model.layers.0.mlp.up_proj.weight", m, true, "layer 0"},
          {"model.layers.1.mlp.up_proj.weight", m, false, "--ignore"},
          {"model.embed_tokens.weight", m, false, "embedding"},
      },
      only);
}

TEST(Selection, PatternThatMatchesNothingWarnsWithNearNames) {
  TempDir dir;
  const Checkpoint checkpoint = test::tiny_model().open(dir / "model");
  const ModelConfig config = parse_model_config(checkpoint.config(), "c").value();
  QuantSpec spec = default_spec();
  spec.ignore = {"model.layers.0.self_attn.q_prj", "lm_head", "re:.*self_attn.*", "*.self_attn.o_proj"};
  const auto selection = select_tensors(checkpoint, config, spec);
  ASSERT_TRUE(selection.ok());
  // lm_head exists or is tied; o_proj is shadowed by the regex before it, but it does match.
  ASSERT_EQ(selection->warnings.size(), 1u);
  EXPECT_NE(selection->warnings[0].find("q_prj matches nothing; did you mean model.layers.0.self_attn.q_proj"),
            std::string::npos)
      << selection->warnings[0];
}

TEST(Selection, SuggestionsForGlobsAndIdleOnly) {
  TempDir dir;
  const Checkpoint checkpoint = test::tiny_model().open(dir / "model");
  const ModelConfig config = parse_model_config(checkpoint.config(), "c").value();
  QuantSpec spec = default_spec();
  spec.ignore = {"*.q_prj", "re:.*\\.dwn_proj$"};
  spec.only = {"*_proj", "lm_head"};
  const auto selection = select_tensors(checkpoint, config, spec);
  ASSERT_TRUE(selection.ok());
  ASSERT_EQ(selection->warnings.size(), 3u);
  EXPECT_NE(selection->warnings[0].find("did you mean q_proj"), std::string::npos) << selection->warnings[0];
  EXPECT_NE(selection->warnings[1].find("did you mean down_proj"), std::string::npos) << selection->warnings[1];
  EXPECT_NE(selection->warnings[2].find("--lm-head quantizes it"), std::string::npos) << selection->warnings[2];
}

TEST(Selection, NothingLeftIsAnError) {
  TempDir dir;
  const Checkpoint checkpoint = test::tiny_model().open(dir / "model");
  const ModelConfig config = parse_model_config(checkpoint.config(), "c").value();
  QuantSpec spec = default_spec();
  spec.ignore = {"*"};
  const auto all = select_tensors(checkpoint, config, spec);
  ASSERT_FALSE(all.ok());
  EXPECT_NE(all.error().message.find("nothing to quantize"), std::string::npos);
  EXPECT_NE(all.error().message.find("--ignore *"), std::string::npos) << all.error().message;
  spec.ignore = {"re:("};
  EXPECT_EQ(select_tensors(checkpoint, config, spec).error().kind, ErrorKind::kUsage);
}

TEST(Selection, LmHead) {
  TempDir dir;
  QuantSpec spec = default_spec();
  spec.lm_head = true;
  expect_rows({{"lm_head.weight", {8, 8}, true, "--lm-head"}, {"model.layers.0.a.weight", {8, 8}, true, "layer"}},
              spec);
  test::TinyModel tied;
  tied.tied = true;
  const Checkpoint checkpoint = test::tiny_model(tied).open(dir / "model");
  const auto selection = select_tensors(checkpoint, parse_model_config(checkpoint.config(), "c").value(), spec);
  ASSERT_FALSE(selection.ok());
  EXPECT_NE(selection.error().message.find("tied"), std::string::npos);
}

TEST(Selection, FusedFamilies) {
  EXPECT_EQ(fused_key("a.q_proj"), fused_key("a.v_proj"));
  EXPECT_EQ(fused_key("a.experts.3.w1"), fused_key("a.experts.3.w3"));
  EXPECT_NE(fused_key("a.experts.3.w1"), fused_key("a.experts.4.w3"));
  EXPECT_NE(fused_key("layers.0.q_proj"), fused_key("layers.1.q_proj"));
  EXPECT_EQ(fused_key("a.down_proj"), std::nullopt);
  EXPECT_EQ(fused_key("a.w2"), std::nullopt);
}

}  // namespace
}  // namespace octavo::quant
