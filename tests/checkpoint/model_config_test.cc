// config.json: the keys that count, in text models and multimodal ones; wrong types with their JSON pointer.
#include "octavo/checkpoint/model_config.h"

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

Result<ModelConfig> parse(std::string_view text) {
  auto json = parse_json(text, "config.json");
  EXPECT_TRUE(json.ok()) << text;
  return parse_model_config(*json, "config.json");
}

TEST(ModelConfig, TextModel) {
  const auto config = parse(R"({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM", "Other"],
                                "num_hidden_layers": 36, "torch_dtype": "bfloat16", "tie_word_embeddings": true})");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->model_type, "qwen3");
  EXPECT_EQ(config->architectures, (std::vector<std::string>{"Qwen3ForCausalLM", "Other"}));
  EXPECT_EQ(config->num_hidden_layers, 36u);
  EXPECT_EQ(config->dtype, "bfloat16");
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_FALSE(config->quantized);
}

TEST(ModelConfig, EveryKeyMayBeAbsentOrNull) {
  for (const char* text : {"{}", R"({"model_type": null, "architectures": null, "num_hidden_layers": null,
       "torch_dtype": null, "tie_word_embeddings": null, "quantization_config": null, "text_config": null})"}) {
    const auto config = parse(text);
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(config->model_type, "");
    EXPECT_TRUE(config->architectures.empty());
    EXPECT_FALSE(config->num_hidden_layers);
    EXPECT_EQ(config->dtype, "");
    EXPECT_FALSE(config->tie_word_embeddings);
    EXPECT_FALSE(config->quantized);
  }
}

TEST(ModelConfig, MultimodalModelsKeepThemOneLevelDown) {
  for (const char* key : {"text_config", "llm_config", "language_config"}) {
    const auto config = parse(fmt::format(
        R"({{"model_type": "x", "{}": {{"num_hidden_layers": 5, "dtype": "float16", "tie_word_embeddings": true}},
            "vision_config": {{"num_hidden_layers": 99}}}})",
        key));
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(config->num_hidden_layers, 5u);
    EXPECT_EQ(config->dtype, "float16");
    EXPECT_TRUE(config->tie_word_embeddings);
  }
  // The top level comes first.
  const auto both = parse(R"({"num_hidden_layers": 3, "dtype": "bfloat16", "text_config": {"num_hidden_layers": 5,
                              "dtype": "float32"}})");
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(both->num_hidden_layers, 3u);
  EXPECT_EQ(both->dtype, "bfloat16");
}

TEST(ModelConfig, OtherSpellings) {
  EXPECT_EQ(parse(R"({"n_layer": 12})")->num_hidden_layers, 12u);
  EXPECT_EQ(parse(R"({"num_layers": 28})")->num_hidden_layers, 28u);
  EXPECT_TRUE(parse(R"({"quantization_config": {}})")->quantized);
  EXPECT_EQ(parse(R"({"torch_dtype": {"text_config": "bfloat16"}})")->dtype, "");
}

struct BadCase {
  const char* text;
  const char* message;
};

TEST(ModelConfig, WrongTypesNameTheirPlace) {
  const BadCase cases[] = {
      {"[]", "config.json: must be an object, not a list"},
      {"null", "config.json: must be an object, not null"},
      {R"({"model_type": 1})", "config.json: /model_type must be a string, not an integer"},
      {R"({"architectures": "X"})", "config.json: /architectures must be a list of strings, not a string"},
      {R"({"architectures": [1]})", "config.json: /architectures must be a list of strings, not an integer"},
      {R"({"num_hidden_layers": "12"})", "config.json: /num_hidden_layers must be a whole number, not a string"},
      {R"({"num_hidden_layers": -1})", "config.json: /num_hidden_layers must be a whole number, not an integer"},
      {R"({"num_hidden_layers": 1.5})", "config.json: /num_hidden_layers must be a whole number, not a number"},
      {R"({"num_hidden_layers": []})", "config.json: /num_hidden_layers must be a whole number, not a list"},
      {R"({"text_config": []})", "config.json: /text_config must be an object, not a list"},
      {R"({"text_config": {"n_layer": true}})",
       "config.json: /text_config/n_layer must be a whole number, not a boolean"},
      {R"({"tie_word_embeddings": "yes"})", "config.json: /tie_word_embeddings must be true or false, not a string"},
      {R"({"llm_config": {"tie_word_embeddings": 1}})",
       "config.json: /llm_config/tie_word_embeddings must be true or false, not an integer"},
  };
  for (const BadCase& c : cases) {
    const auto config = parse(c.text);
    ASSERT_FALSE(config.ok()) << c.text;
    EXPECT_EQ(config.error().message, c.message);
  }
}

TEST(ModelConfig, RealConfigsAreRead) {
  const std::filesystem::path root = OCTAVO_SOURCE_DIR "/../shared/data/configs";
  if (!std::filesystem::exists(root)) GTEST_SKIP() << "no " << root;
  std::size_t read = 0;
  for (const auto& item : std::filesystem::recursive_directory_iterator(root)) {
    if (!item.path().string().ends_with("config.json")) continue;
    JsonOptions options;
    options.python_constants = true;
    const auto json = parse_json(test::read_file(item.path()), item.path().string(), options);
    ASSERT_TRUE(json.ok()) << json.error().message;
    const auto config = parse_model_config(*json, item.path().string());
    EXPECT_TRUE(config.ok()) << config.error().message;
    ++read;
  }
  if (read == 0) GTEST_SKIP() << "no config.json in " << root;
}

}  // namespace
}  // namespace octavo
