// config.json of every family: spellings, defaults, windows, lengths, and every mistake in one sentence.
#include "octavo/model/decoder_config.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace octavo::model {
namespace {

Json llama() {
  return Json::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
                         "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
                         "vocab_size": 100})");
}
Json of_type(const char* architecture, const char* model_type) {
  Json config = llama();
  config["architectures"] = {architecture};
  config["model_type"] = model_type;
  return config;
}

DecoderConfig parse(const Json& config) {
  auto result = parse_decoder_config(config, "config.json");
  EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
  return result.ok() ? std::move(result).value() : DecoderConfig();
}
std::string error_of(const Json& config) {
  auto result = parse_decoder_config(config, "config.json");
  EXPECT_FALSE(result.ok());
  return result.ok() ? "" : result.error().message;
}

TEST(DecoderConfig, LlamaDefaults) {
  const DecoderConfig c = parse(llama());
  EXPECT_EQ(c.kv_heads, 4u);
  EXPECT_EQ(c.head_dim, 16u);
  EXPECT_EQ(c.max_positions, 2048u);
  EXPECT_FLOAT_EQ(c.norm_eps, 1e-6f);
  EXPECT_EQ(c.rope.kind, RopeConfig::Kind::kDefault);
  EXPECT_EQ(c.rope.theta, 10000);
  EXPECT_FALSE(c.tie_word_embeddings || c.qkv_bias || c.o_bias || c.mlp_bias);
  EXPECT_EQ(c.windows, (std::vector<std::uint64_t>{0, 0, 0}));
}

TEST(DecoderConfig, ModelTypeAloneIsEnough) {
  Json config = llama();
  config.erase("architectures");
  EXPECT_EQ(parse(config).architecture->name, "LlamaForCausalLM");
}

TEST(DecoderConfig, BiasesByFamily) {
  Json config = llama();
  config["attention_bias"] = true;
  config["mlp_bias"] = true;
  const DecoderConfig c = parse(config);
  EXPECT_TRUE(c.qkv_bias && c.o_bias && c.mlp_bias);
  Json qwen2_config = of_type("Qwen2ForCausalLM", "qwen2");
  qwen2_config["num_key_value_heads"] = 4;
  const DecoderConfig qwen2 = parse(qwen2_config);
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.o_bias || qwen2.mlp_bias);
}

TEST(DecoderConfig, HeadDimensionAndNullKvHeads) {
  Json qwen3 = of_type("Qwen3ForCausalLM", "qwen3");
  qwen3["num_key_value_heads"] = 2;
  EXPECT_EQ(parse(qwen3).head_dim, 128u);  // the family's default, not hidden / heads
  qwen3["num_key_value_heads"] = nullptr;
  EXPECT_EQ(parse(qwen3).kv_heads, 4u);
  Json llama_config = llama();
  llama_config["head_dim"] = nullptr;
  EXPECT_EQ(parse(llama_config).head_dim, 16u);
}

TEST(DecoderConfig, BothSpellingsOfRope) {
  Json four = llama();
  four["rope_theta"] = 500000.0;
  four["rope_scaling"] = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 8192}};
  Json five = llama();
  five["rope_parameters"] = four["rope_scaling"];
  five["rope_parameters"]["rope_theta"] = 500000.0;
  for (const Json& config : {four, five}) {
    const DecoderConfig c = parse(config);
    EXPECT_EQ(c.rope.kind, RopeConfig::Kind::kLlama3);
    EXPECT_EQ(c.rope.theta, 500000);
    EXPECT_EQ(c.rope.factor, 8);
    EXPECT_EQ(c.rope.original_max_position, 8192u);
    EXPECT_EQ(c.max_positions, 2048u);  // llama3's length is already the scaled one
  }
}

TEST(DecoderConfig, ScaledLengths) {
  Json config = llama();
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(parse(config).max_positions, 8192u);
  config["rope_scaling"] = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 1024}};
  EXPECT_EQ(parse(config).max_positions, 4096u);
  config["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2.0}};
  EXPECT_EQ(parse(config).max_positions, 4096u);
  EXPECT_EQ(parse(config).rope.trained_positions, 2048u);
}

TEST(DecoderConfig, Windows) {
  using Windows = std::vector<std::uint64_t>;
  Json mistral = of_type("MistralForCausalLM", "mistral");
  mistral["num_key_value_heads"] = 2;
  EXPECT_EQ(parse(mistral).windows, (Windows{4096, 4096, 4096}));  // the family's default
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(parse(mistral).windows, (Windows{0, 0, 0}));
  mistral["sliding_window"] = 32;
  EXPECT_EQ(parse(mistral).windows, (Windows{32, 32, 32}));

  Json qwen = of_type("Qwen2ForCausalLM", "qwen2");
  qwen["num_key_value_heads"] = 2;
  qwen["sliding_window"] = 32;
  qwen["max_window_layers"] = 1;
  EXPECT_EQ(parse(qwen).windows, (Windows{0, 0, 0}));  // use_sliding_window is off
  qwen["use_sliding_window"] = true;
  EXPECT_EQ(parse(qwen).windows, (Windows{0, 32, 32}));
  qwen["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(parse(qwen).windows, (Windows{32, 0, 32}));
  Json with_window = llama();
  with_window["sliding_window"] = 32;
  EXPECT_EQ(parse(with_window).windows, (Windows{0, 0, 0}));  // Llama has none
}

TEST(DecoderConfig, EndTokens) {
  Json config = llama();
  config["eos_token_id"] = {7, 9};
  EXPECT_EQ(parse(config).eos_token_ids, (std::vector<std::int32_t>{7, 9}));
  config["eos_token_id"] = 7;
  EXPECT_EQ(parse(config).eos_token_ids, (std::vector<std::int32_t>{7}));
}

struct Mistake {
  const char* patch;  // merged into the Llama config
  const char* says;
};
TEST(DecoderConfig, EveryMistakeIsNamed) {
  const Mistake mistakes[] = {
      {R"({"architectures": ["MambaForCausalLM"]})", "/architectures names \"MambaForCausalLM\""},
      {R"({"architectures": "LlamaForCausalLM"})", "/architectures must be a list of strings"},
      {R"({"architectures": null, "model_type": "mamba"})", "/model_type is \"mamba\""},
      {R"({"architectures": null, "model_type": null})", "neither /architectures nor /model_type"},
      {R"({"hidden_size": null})", "/hidden_size is missing"},
      {R"({"hidden_size": "64"})", "/hidden_size must be a whole number from 1 to 16777216, not \"64\""},
      {R"({"hidden_size": -1})", "/hidden_size must be a whole number"},
      {R"({"num_hidden_layers": 0})", "/num_hidden_layers must be a whole number"},
      {R"({"num_key_value_heads": 3})", "(4) must be a multiple of /num_key_value_heads (3)"},
      {R"({"num_attention_heads": 3})", "must be a multiple of /num_attention_heads (3)"},
      {R"({"head_dim": 15})", "the head dimension (15) must be even"},
      {R"({"rms_norm_eps": 0})", "/rms_norm_eps must be a number above 0"},
      {R"({"hidden_act": "relu"})", "/hidden_act is \"relu\""},
      {R"({"tie_word_embeddings": "no"})", "/tie_word_embeddings must be true or false"},
      {R"({"rope_theta": -1.0})", "/rope_theta must be a number above 0"},
      {R"({"rope_scaling": {"rope_type": "longrope"}})", "/rope_scaling/rope_type is \"longrope\""},
      {R"({"rope_scaling": {"type": "linear"}})", "/rope_scaling/factor is missing"},
      {R"({"rope_parameters": {"rope_type": "llama3", "factor": 2}})", "/rope_parameters/low_freq_factor is missing"},
      {R"({"rope_scaling": {"type": "linear", "factor": "2"}})", "/rope_scaling/factor must be a number"},
      {R"({"rope_scaling": [1]})", "/rope_scaling must be an object"},
      {R"({"eos_token_id": "</s>"})", "/eos_token_id must be a token id or a list of token ids"},
      {R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor 0.5"},
  };
  for (const Mistake& mistake : mistakes) {
    Json config = llama();
    config.merge_patch(Json::parse(mistake.patch));
    const std::string message = error_of(config);
    EXPECT_NE(message.find(mistake.says), message.npos) << mistake.patch << "\n  gives " << message;
    EXPECT_EQ(message.rfind("config.json: ", 0), 0u) << message;
  }
  Json qwen = of_type("Qwen2ForCausalLM", "qwen2");
  qwen["num_key_value_heads"] = 2;
  qwen["layer_types"] = {"full_attention"};
  EXPECT_NE(error_of(qwen).find("/layer_types must be a list of 3 names"), std::string::npos);
  qwen["layer_types"] = {"full_attention", "full_attention", "linear_attention"};
  EXPECT_NE(error_of(qwen).find("/layer_types/2 must be"), std::string::npos);
}

TEST(GenerationDefaults, ReadsWhatStandsThere) {
  const test::TempDir dir;
  EXPECT_TRUE(read_generation_defaults(dir.path())->eos_token_ids.empty());
  std::ofstream(dir.path() / "generation_config.json")
      << R"({"eos_token_id": [1, 2], "do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95})";
  const auto defaults = read_generation_defaults(dir.path());
  ASSERT_TRUE(defaults.ok());
  EXPECT_EQ(defaults->eos_token_ids, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(defaults->temperature, 0.6);
  EXPECT_EQ(defaults->top_k, 20);
  EXPECT_FALSE(defaults->min_p);
  std::ofstream(dir.path() / "generation_config.json") << R"({"temperature": "hot"})";
  const auto broken = read_generation_defaults(dir.path());
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.error().message.find("/temperature must be a number"), std::string::npos);
}

}  // namespace
}  // namespace octavo::model
