// Folders that contradict themselves are refused in one sentence, before any data is read; what loads is as small as
// the file.
#include <gtest/gtest.h>

#include <functional>

#include "octavo/backend/cpu/cpu_backend.h"
#include "octavo/model/weights.h"
#include "octavo/quant/online.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"

namespace octavo::model {
namespace {

using test::CheckpointBuilder;

Result<LoadedModel> load(const CheckpointBuilder& builder, const LoadOptions& options = {}) {
  const test::TempDir dir;
  const Checkpoint checkpoint = builder.open(dir.path());
  const auto backend = cpu::create_cpu_backend({});
  return load_model(checkpoint, *backend, options);
}

struct Mistake {
  const char* name;
  std::function<void(CheckpointBuilder&)> make;
  const char* says;
};

TEST(LoadModel, EveryContradictionIsNamed) {
  const Mistake mistakes[] = {
      {"missing tensor", [](auto& b) { b.remove("model.layers.1.mlp.up_proj.weight"); },
       "tensor \"model.layers.1.mlp.up_proj.weight\" is missing (Qwen3ForCausalLM needs it, of shape [192, 128])"},
      {"missing head", [](auto& b) { b.remove("lm_head.weight"); },
       "tensor \"lm_head.weight\" is missing; config.json does not say that the embeddings are tied"},
      {"wrong shape", [](auto& b) { b.config()["intermediate_size"] = 256; },
       "has shape [192, 128], but config.json makes it [256, 128]"},
      {"wrong vocabulary", [](auto& b) { b.config()["vocab_size"] = 321; },
       "tensor \"model.embed_tokens.weight\" in model.safetensors: has shape [320, 128], but config.json makes it "
       "[321, 128]"},
      {"more layers than config.json says", [](auto& b) { b.config()["num_hidden_layers"] = 1; },
       "belongs to layer 1, but config.json says num_hidden_layers 1"},
      {"fewer layers", [](auto& b) { b.config()["num_hidden_layers"] = 3; },
       "tensor \"model.layers.2.input_layernorm.weight\" is missing"},
      {"a bias that config.json denies",
       [](auto& b) { b.add_random("model.layers.0.self_attn.q_proj.bias", DType::kBF16, {128}, 1); },
       "tensor \"model.layers.0.self_attn.q_proj.bias\" exists, but by config.json Qwen3ForCausalLM has no bias there"},
      {"a bias that is not there", [](auto& b) { b.config()["attention_bias"] = true; },
       "tensor \"model.layers.0.self_attn.q_proj.bias\" is missing"},
      {"integer weights",
       [](auto& b) {
         auto& tensor = b.at("lm_head.weight");
         tensor.dtype = DType::kI16;
       },
       "tensor \"lm_head.weight\" in model.safetensors: is I16, not BF16, F16, F32 or FP8"},
      {"FP8 without quantization_config",
       [](auto& b) {
         auto& tensor = b.at("model.layers.0.mlp.up_proj.weight");
         tensor.dtype = DType::kF8E4M3;
         tensor.bytes.resize(tensor.bytes.size() / 2);
       },
       "is F8_E4M3, but config.json has no quantization_config"},
      {"FP8 without a scale",
       [](auto& b) {
         auto& tensor = b.at("model.layers.0.mlp.up_proj.weight");
         tensor.dtype = DType::kF8E4M3;
         tensor.bytes.resize(tensor.bytes.size() / 2);
         b.config()["quantization_config"] = {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}};
       },
       "has no scale (\"model.layers.0.mlp.up_proj.weight_scale\" or"},
      {"a quantized config over plain tensors",
       [](auto& b) {
         b.config()["quantization_config"] = {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}};
       },
       "config.json says that the model is quantized (fp8 e4m3, per tensor"},
      {"a scale of another granularity",
       [](auto& b) {
         auto& tensor = b.at("model.layers.0.mlp.up_proj.weight");
         tensor.dtype = DType::kF8E4M3;
         tensor.bytes.assign(192 * 128, std::byte{0x38});
         b.add_f32("model.layers.0.mlp.up_proj.weight_scale", {192, 1}, std::vector<float>(192, 1.0f));
         const Json weights = {{"num_bits", 8}, {"type", "float"}, {"strategy", "tensor"}};
         b.config()["quantization_config"] = {
             {"quant_method", "compressed-tensors"},
             {"format", "naive-quantized"},
             {"config_groups", {{"group_0", {{"targets", Json::array({"Linear"})}, {"weights", weights}}}}}};
       },
       "has shape [192, 1], which is one scale a channel, but config.json says one a tensor"},
      {"an architecture nobody runs", [](auto& b) { b.config()["architectures"] = {"MambaForCausalLM"}; },
       "which Octavo does not run yet"},
  };
  for (const Mistake& mistake : mistakes) {
    CheckpointBuilder builder = test::tiny_decoder();
    mistake.make(builder);
    const auto loaded = load(builder);
    ASSERT_FALSE(loaded.ok()) << mistake.name;
    EXPECT_NE(loaded.error().message.find(mistake.says), std::string::npos)
        << mistake.name << " gives: " << loaded.error().message;
  }
}

// An FP8 checkpoint of one damaged linear.
CheckpointBuilder damaged(std::byte code, float scale) {
  CheckpointBuilder builder = test::tiny_decoder();
  auto& tensor = builder.at("model.layers.0.mlp.up_proj.weight");
  tensor.dtype = DType::kF8E4M3;
  tensor.bytes.assign(192 * 128, std::byte{0x38});
  tensor.bytes[5 * 128 + 7] = code;
  builder.add_f32("model.layers.0.mlp.up_proj.weight_scale", {}, std::vector<float>{scale});
  builder.config()["quantization_config"] = {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}};
  return builder;
}

TEST(LoadModel, DamageIsFound) {
  EXPECT_TRUE(load(damaged(std::byte{0x38}, 1)).ok());
  const auto nan_code = load(damaged(std::byte{0xFF}, 1));
  ASSERT_FALSE(nan_code.ok());
  EXPECT_NE(nan_code.error().message.find("NaN at [5, 7]"), std::string::npos) << nan_code.error().message;
  const auto nan_scale = load(damaged(std::byte{0x38}, NAN));
  ASSERT_FALSE(nan_scale.ok());
  EXPECT_NE(nan_scale.error().message.find("the scale at index 0 is nan"), std::string::npos)
      << nan_scale.error().message;
}

TEST(LoadModel, MemoryIsAskedForBeforeLoading) {
  LoadOptions options;
  options.extra_bytes = 1ull << 60;
  const auto loaded = load(test::tiny_decoder(), options);
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(loaded.error().message.find("needs 1.2 EB of memory"), std::string::npos) << loaded.error().message;
  EXPECT_NE(loaded.error().message.find("are available"), std::string::npos) << loaded.error().message;
}

TEST(LoadModel, UnusedTensorsAreNamed) {
  CheckpointBuilder builder = test::tiny_decoder();
  builder.add_random("model.visual.patch_embed.weight", DType::kBF16, {4, 4}, 1);
  builder.add_f32("model.layers.0.self_attn.rotary_emb.inv_freq", {16}, std::vector<float>(16, 1.0f));
  const auto loaded = load(builder);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->report.warnings,
            (std::vector<std::string>{"1 tensor of the folder is not used: model.visual.patch_embed.weight"}));
}

TEST(LoadModel, ATiedHeadThatDiffersIsUsedAndSaid) {
  CheckpointBuilder same = test::tiny_decoder({.tied = true});
  same.add("lm_head.weight", DType::kBF16, {320, 128}, same.at("model.embed_tokens.weight").bytes);
  const auto tied = load(same);
  ASSERT_TRUE(tied.ok()) << tied.error().message;
  EXPECT_EQ(tied->weights.head, nullptr);
  EXPECT_TRUE(tied->report.warnings.empty());
  same.at("lm_head.weight").bytes[77] ^= std::byte{1};
  const auto other = load(same);
  ASSERT_TRUE(other.ok()) << other.error().message;
  EXPECT_NE(other->weights.head, nullptr);
  ASSERT_EQ(other->report.warnings.size(), 1u);
  EXPECT_NE(other->report.warnings[0].find("the head is used as it stands"), std::string::npos);
}

TEST(LoadModel, ReportsWhatIsResident) {
  const auto loaded = load(test::tiny_decoder());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->report.weights, "BF16");
  std::uint64_t elements = 0;
  for (const auto& t : test::tiny_decoder().tensors()) {
    if (t.shape.size() == 2) elements += *element_count(t.shape);
  }
  EXPECT_EQ(loaded->report.resident.at("BF16"), 2 * elements);  // not a byte more than the file holds
}

TEST(LoadModel, OnlineQuantizationOfAnFp8FolderIsRefused) {
  LoadOptions options;
  options.quantize = *quant::online_spec("fp8_channel");
  const auto loaded = load(damaged(std::byte{0x38}, 1), options);
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(loaded.error().message.find("is already quantized"), std::string::npos) << loaded.error().message;
}

}  // namespace
}  // namespace octavo::model
