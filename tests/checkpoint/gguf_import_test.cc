// Import of whole small models: names, order of rows, numbers, config.json, and what is refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "octavo/base/file.h"
#include "octavo/base/json.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/gguf/import.h"
#include "octavo/checkpoint/gguf/model.h"
#include "octavo/checkpoint/gguf/rope.h"
#include "octavo/fp8/half.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::GgufBuilder;
using test::tiny_gguf;
using test::tiny_value;
using test::TinyGguf;
namespace fs = std::filesystem;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

class GgufImport : public testing::Test {
 protected:
  Result<ImportSummary> import(const GgufBuilder& builder, GgufImportOptions options = {}) {
    test::write_file(dir_ / "m.gguf", builder.build());
    fs::remove_all(out());
    fs::remove_all(dir_ / "out.partial");
    options.threads = options.threads == 0 ? 2 : options.threads;
    return import_gguf(dir_ / "m.gguf", out(), options);
  }
  // The sentence of an import that must fail. Where the metadata are to blame nothing may be left behind; where a value
  // is, what was done is kept to be gone on with.
  std::string error_of(const GgufBuilder& builder, GgufImportOptions options = {}) {
    const auto result = import(builder, options);
    EXPECT_FALSE(fs::exists(out()));
    const bool value = !result.ok() && result.error().message.find(" at element ") != std::string::npos;
    EXPECT_EQ(fs::exists(dir_ / "out.partial"), value);
    if (result.ok()) return "no error";
    EXPECT_SAYS(result.error().message, "m.gguf");
    EXPECT_EQ(result.error().message.find('\n'), std::string::npos);
    return result.error().message;
  }
  fs::path out() const { return dir_ / "out"; }
  Json json(const std::string& name) const {
    const std::string text = test::read_file(out() / name);
    auto parsed = parse_json(text, name);
    EXPECT_TRUE(parsed.ok()) << name;
    return parsed.ok() ? std::move(parsed).value() : Json();
  }
  // A tensor of the folder as floats.
  std::vector<float> floats(const Checkpoint& checkpoint, std::string_view name) const {
    const CheckpointTensor* tensor = checkpoint.find(name);
    EXPECT_NE(tensor, nullptr) << name;
    if (tensor == nullptr) return {};
    std::vector<std::byte> bytes(tensor->bytes);
    EXPECT_TRUE(checkpoint.read(*tensor, 0, bytes).ok());
    const std::size_t width = dtype_bytes(tensor->dtype);
    std::vector<float> values(bytes.size() / width);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (width == 4) {
        std::memcpy(&values[i], bytes.data() + 4 * i, 4);
        continue;
      }
      std::uint16_t half = 0;
      std::memcpy(&half, bytes.data() + 2 * i, 2);
      values[i] = tensor->dtype == DType::kBF16 ? fp8::bf16_to_float(half) : fp8::f16_to_float(half);
    }
    return values;
  }
  // Checks a tensor against tiny_value; `heads` > 0: its rows stood interleaved in the GGUF file.
  void expect_tensor(const Checkpoint& checkpoint, const std::string& hf, const std::string& gguf, Shape shape,
                     std::uint64_t heads = 0) {
    const std::vector<float> values = floats(checkpoint, hf);
    ASSERT_NE(checkpoint.find(hf), nullptr);
    EXPECT_EQ(checkpoint.find(hf)->shape, shape) << hf;
    const std::uint64_t columns = shape.size() == 2 ? shape[1] : 1;
    const std::uint64_t d = heads == 0 ? 1 : shape[0] / heads;
    for (std::uint64_t row = 0; row < shape[0]; ++row) {
      std::uint64_t from = row;
      if (heads != 0) {
        // hf[h*d + j*d/2 + i] = gguf[h*d + 2i + j]
        const std::uint64_t h = row / d, j = row % d / (d / 2), i = row % (d / 2);
        from = h * d + 2 * i + j;
      }
      for (std::uint64_t column = 0; column < columns; ++column) {
        ASSERT_EQ(values[row * columns + column], tiny_value(gguf, from * columns + column))
            << hf << " row " << row << " column " << column;
      }
    }
  }
  void expect_model(const TinyGguf& m) {
    const auto checkpoint = Checkpoint::open(out());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    const bool llama = m.architecture == "llama";
    const std::uint64_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim;
    std::size_t count = m.tied ? 2 : 3;
    expect_tensor(*checkpoint, "model.embed_tokens.weight", "token_embd.weight", {m.vocab, m.hidden});
    expect_tensor(*checkpoint, "model.norm.weight", "output_norm.weight", {m.hidden});
    if (!m.tied) expect_tensor(*checkpoint, "lm_head.weight", "output.weight", {m.vocab, m.hidden});
    for (std::uint64_t layer = 0; layer < m.layers; ++layer) {
      const std::string hf = "model.layers." + std::to_string(layer) + ".";
      const std::string gguf = "blk." + std::to_string(layer) + ".";
      const auto check = [&](const std::string& to, const std::string& from, Shape shape, std::uint64_t heads = 0) {
        expect_tensor(*checkpoint, hf + to, gguf + from, std::move(shape), heads);
        ++count;
      };
      check("input_layernorm.weight", "attn_norm.weight", {m.hidden});
      check("self_attn.q_proj.weight", "attn_q.weight", {q, m.hidden}, llama ? m.heads : 0);
      check("self_attn.k_proj.weight", "attn_k.weight", {kv, m.hidden}, llama ? m.kv_heads : 0);
      check("self_attn.v_proj.weight", "attn_v.weight", {kv, m.hidden});
      check("self_attn.o_proj.weight", "attn_output.weight", {m.hidden, q});
      if (m.bias) {
        check("self_attn.q_proj.bias", "attn_q.bias", {q}, llama ? m.heads : 0);
        check("self_attn.k_proj.bias", "attn_k.bias", {kv}, llama ? m.kv_heads : 0);
        check("self_attn.v_proj.bias", "attn_v.bias", {kv});
        if (m.architecture != "qwen2") check("self_attn.o_proj.bias", "attn_output.bias", {m.hidden});
      }
      if (m.architecture == "qwen3") {
        check("self_attn.q_norm.weight", "attn_q_norm.weight", {m.head_dim});
        check("self_attn.k_norm.weight", "attn_k_norm.weight", {m.head_dim});
      }
      check("post_attention_layernorm.weight", "ffn_norm.weight", {m.hidden});
      check("mlp.gate_proj.weight", "ffn_gate.weight", {m.intermediate, m.hidden});
      check("mlp.up_proj.weight", "ffn_up.weight", {m.intermediate, m.hidden});
      check("mlp.down_proj.weight", "ffn_down.weight", {m.hidden, m.intermediate});
    }
    EXPECT_EQ(checkpoint->tensors().size(), count);
    EXPECT_EQ(checkpoint->shards().front().metadata.at("format"), "pt");
  }

  test::TempDir dir_;
};

TEST_F(GgufImport, EveryArchitectureVersionAndDtype) {
  for (const std::string architecture : {"llama", "qwen2", "qwen3"}) {
    for (const bool tied : {true, false}) {
      for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
        TinyGguf model{.architecture = architecture, .tied = tied, .bias = architecture == "qwen2" || tied};
        if (architecture == "qwen3") model.head_dim = 16;  // not hidden / heads
        GgufBuilder builder = tiny_gguf(model);
        builder.version = tied ? 2 : 3;
        GgufImportOptions options;
        options.dtype = dtype;
        const auto summary = import(builder, options);
        ASSERT_TRUE(summary.ok()) << summary.error().message;
        expect_model(model);
        EXPECT_EQ(summary->architecture, architecture);
        EXPECT_EQ(summary->name, "Tiny");
        EXPECT_EQ(summary->types, (std::map<std::string, std::size_t>{{"F32", summary->tensors}}));
        EXPECT_EQ(summary->output_bytes, fs::file_size(out() / "model.safetensors"));
        EXPECT_EQ(json("config.json")["tie_word_embeddings"], tied);
        EXPECT_EQ(json("config.json")["attention_bias"], model.bias);
      }
    }
  }
}

// Pieces smaller than a head take the row-by-row way; the result is the same bytes.
TEST_F(GgufImport, WindowsDoNotShow) {
  const GgufBuilder builder = tiny_gguf({.hidden = 512, .heads = 2, .kv_heads = 1, .head_dim = 256, .bias = true});
  ASSERT_TRUE(import(builder).ok());
  const std::string whole = test::read_file(out() / "model.safetensors");
  for (const std::uint64_t window : {1u, 700u, 4096u, 300000u}) {
    GgufImportOptions options;
    options.window_bytes = window;
    options.threads = 3;
    ASSERT_TRUE(import(builder, options).ok());
    EXPECT_TRUE(test::read_file(out() / "model.safetensors") == whole) << window;
  }
}

// Large models come in shards, which parts divide: the same tensors, and the same bytes however they were made.
TEST_F(GgufImport, ShardsAndParts) {
  const GgufBuilder builder = tiny_gguf();
  ASSERT_TRUE(import(builder).ok());
  const auto whole = Checkpoint::open(out());
  ASSERT_TRUE(whole.ok());
  GgufImportOptions options;
  options.threads = 2;
  options.shard_bytes = whole->data_bytes() / 4;
  fs::rename(out(), dir_ / "whole");
  ASSERT_TRUE(import(builder, options).ok());
  const auto sharded = Checkpoint::open(out());
  ASSERT_TRUE(sharded.ok()) << sharded.error().message;
  EXPECT_GE(sharded->shards().size(), 4u);
  EXPECT_TRUE(sharded->has_index());
  EXPECT_EQ(sharded->index()->total_size, whole->data_bytes());
  ASSERT_EQ(sharded->tensors().size(), whole->tensors().size());
  const auto still = Checkpoint::open(dir_ / "whole");
  for (const CheckpointTensor& tensor : still->tensors()) {
    EXPECT_EQ(floats(*sharded, tensor.name), floats(*still, tensor.name)) << tensor.name;
  }
  fs::rename(out(), dir_ / "sharded");
  for (std::uint32_t part = 1; part <= 3; ++part) {
    options.job.folder.part = part;
    options.job.folder.parts = 3;
    const auto result = import_gguf(dir_ / "m.gguf", out(), options);
    ASSERT_TRUE(result.ok()) << result.error().message;
    EXPECT_EQ(result->missing_parts.size(), 3 - part);
    EXPECT_EQ(fs::exists(out()), part == 3);
  }
  for (const auto& entry : fs::directory_iterator(dir_ / "sharded")) {
    const std::string name = entry.path().filename();
    if (name == "octavo.json") continue;
    EXPECT_TRUE(test::read_file(out() / name) == test::read_file(entry.path())) << name;
  }
}

TEST_F(GgufImport, QuantizedTensorsKeepTheirOrder) {
  // Q8_0 with scale 1: value = stored byte. Rows of q name themselves.
  GgufBuilder builder = tiny_gguf();
  std::string data;
  for (int row = 0; row < 32; ++row) data += std::string("\x00\x3c", 2) + std::string(32, static_cast<char>(row));
  builder.tensor("blk.0.attn_q.weight", 8, {32, 32}, data);
  const auto summary = import(builder);
  ASSERT_TRUE(summary.ok()) << summary.error().message;
  EXPECT_EQ(summary->types.at("Q8_0"), 1u);
  const auto checkpoint = Checkpoint::open(out());
  ASSERT_TRUE(checkpoint.ok());
  const std::vector<float> q = floats(*checkpoint, "model.layers.0.self_attn.q_proj.weight");
  // Head dim 8: even rows first, then odd ones.
  const int expected[] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
  for (std::size_t row = 0; row < 16; ++row) EXPECT_EQ(q[row * 32 + 5], static_cast<float>(expected[row])) << row;
}

TEST_F(GgufImport, ConfigHasShortestNumbers) {
  GgufBuilder builder = tiny_gguf();
  builder.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  builder.u32("tokenizer.ggml.eot_token_id", 5);
  builder.f32("llama.rope.freq_base", 500000.0f);
  ASSERT_TRUE(import(builder).ok());
  const std::string text = test::read_file(out() / "config.json");
  EXPECT_EQ(text, R"({
  "architectures": [
    "LlamaForCausalLM"
  ],
  "attention_bias": false,
  "attention_dropout": 0.0,
  "bos_token_id": 1,
  "eos_token_id": 2,
  "head_dim": 8,
  "hidden_act": "silu",
  "hidden_size": 32,
  "initializer_range": 0.02,
  "intermediate_size": 48,
  "max_position_embeddings": 128,
  "mlp_bias": false,
  "model_type": "llama",
  "num_attention_heads": 4,
  "num_hidden_layers": 2,
  "num_key_value_heads": 2,
  "pretraining_tp": 1,
  "rms_norm_eps": 1e-05,
  "rope_scaling": null,
  "rope_theta": 500000.0,
  "tie_word_embeddings": true,
  "torch_dtype": "bfloat16",
  "use_cache": true,
  "vocab_size": 40
}
)");
  EXPECT_EQ(json("generation_config.json"),
            Json::parse(R"({"_from_model_config": true, "bos_token_id": 1, "eos_token_id": [2, 5]})"));
  EXPECT_EQ(shortest_float(1e-6f).dump(), "1e-06");
  EXPECT_EQ(shortest_float(9.99999975e-6f).dump(), "1e-05");
  EXPECT_EQ(shortest_float(1e6f).dump(), "1000000.0");
}

TEST_F(GgufImport, QwenConfigs) {
  ASSERT_TRUE(import(tiny_gguf({.architecture = "qwen2", .tied = false, .bias = true})).ok());
  Json config = json("config.json");
  EXPECT_EQ(config["architectures"][0], "Qwen2ForCausalLM");
  EXPECT_EQ(config["attention_bias"], true);
  EXPECT_FALSE(config.contains("head_dim"));
  EXPECT_EQ(config["tie_word_embeddings"], false);
  EXPECT_EQ(config["use_sliding_window"], false);
  ASSERT_TRUE(import(tiny_gguf({.architecture = "qwen3", .head_dim = 16})).ok());
  config = json("config.json");
  EXPECT_EQ(config["architectures"][0], "Qwen3ForCausalLM");
  EXPECT_EQ(config["head_dim"], 16);
  EXPECT_EQ(config["attention_bias"], false);
}

TEST_F(GgufImport, TakesFromTensorsWhatMetadataLeavesOut) {
  GgufBuilder builder = tiny_gguf({.heads = 4, .kv_heads = 4, .head_dim = 16});
  builder.remove_key("llama.attention.key_length").remove_key("llama.attention.head_count_kv");
  builder.remove_key("llama.feed_forward_length").remove_key("llama.rope.freq_base");
  ASSERT_TRUE(import(builder).ok());
  const Json config = json("config.json");
  EXPECT_EQ(config["head_dim"], 16);
  EXPECT_EQ(config["num_key_value_heads"], 4);
  EXPECT_EQ(config["intermediate_size"], 48);
  EXPECT_EQ(config["rope_theta"], 10000.0);
  EXPECT_EQ(config["vocab_size"], 40);
}

TEST_F(GgufImport, RopeScaling) {
  GgufBuilder builder = tiny_gguf();
  builder.string("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 4.0f);
  ASSERT_TRUE(import(builder).ok());
  EXPECT_EQ(json("config.json")["rope_scaling"], Json::parse(R"({"rope_type": "linear", "factor": 4.0})"));
  builder.string("llama.rope.scaling.type", "yarn").u32("llama.rope.scaling.original_context_length", 64);
  ASSERT_TRUE(import(builder).ok());
  EXPECT_EQ(json("config.json")["rope_scaling"],
            Json::parse(R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64})"));
  builder.string("llama.rope.scaling.type", "longrope");
  EXPECT_SAYS(error_of(builder), "rope scaling 'longrope' is not supported");
  builder.string("llama.rope.scaling.type", "none");
  ASSERT_TRUE(import(builder).ok());
  EXPECT_TRUE(json("config.json")["rope_scaling"].is_null());
}

TEST_F(GgufImport, LlamaThreeFactorsBecomeRopeScaling) {
  // Llama 3.2: head dim 64, theta 500000, factor 32 from 8192. The stored factors as llama.cpp's converter has them;
  // 1 and 32 at the ends and a bend between.
  GgufBuilder builder = tiny_gguf({.hidden = 64, .heads = 1, .kv_heads = 1, .head_dim = 64});
  builder.f32("llama.rope.freq_base", 500000.0f);
  const std::vector<double> factors = llama3_factors(64, 500000.0, 32.0, 1.0, 4.0, 8192.0);
  EXPECT_EQ(factors.front(), 1.0);
  EXPECT_EQ(factors.back(), 32.0);
  // Element 16: frequency 500000^-0.5, wavelength 4442.88; smooth = (8192 / 4442.88 - 1) / 3 = 0.281282.
  EXPECT_NEAR(factors[16], 1.0 / ((1.0 - 0.281282) / 32.0 + 0.281282), 1e-4);
  builder.tensor_f32("rope_freqs.weight", {32}, {factors.begin(), factors.end()});
  const auto summary = import(builder);
  ASSERT_TRUE(summary.ok()) << summary.error().message;
  EXPECT_EQ(json("config.json")["rope_scaling"], Json::parse(R"({
      "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
      "original_max_position_embeddings": 8192, "rope_type": "llama3"})"));
  const auto checkpoint = Checkpoint::open(out());
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_EQ(checkpoint->find("rope_freqs.weight"), nullptr);
  ASSERT_FALSE(summary->notes.empty());
  EXPECT_SAYS(summary->notes.front(), "llama3 scaling by 32.0 from a context of 8192");

  builder.tensor_f32("rope_freqs.weight", {32}, std::vector<float>(32, 1.0f));  // no scaling at all
  ASSERT_TRUE(import(builder).ok());
  EXPECT_TRUE(json("config.json")["rope_scaling"].is_null());
  std::vector<float> strange(factors.begin(), factors.end());
  strange[20] *= 1.01f;
  builder.tensor_f32("rope_freqs.weight", {32}, strange);
  EXPECT_SAYS(error_of(builder), "do not follow the llama3 rule");
}

TEST_F(GgufImport, RoundsToNearestEvenAndRefusesWhatDoesNotFit) {
  GgufBuilder builder = tiny_gguf();
  std::vector<float> norm(32, 0.0f);
  norm[0] = std::bit_cast<float>(0x3F808000u);  // a tie of BF16: down to even
  norm[1] = std::bit_cast<float>(0x3F818000u);  // a tie: up to even
  norm[2] = std::bit_cast<float>(0x3F808001u);
  norm[3] = -0.0f;
  builder.tensor_f32("output_norm.weight", {32}, norm);
  ASSERT_TRUE(import(builder).ok());
  auto checkpoint = Checkpoint::open(out());
  ASSERT_TRUE(checkpoint.ok());
  const std::vector<float> got = floats(*checkpoint, "model.norm.weight");
  EXPECT_EQ(std::bit_cast<std::uint32_t>(got[0]), 0x3F800000u);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(got[1]), 0x3F820000u);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(got[2]), 0x3F810000u);
  EXPECT_TRUE(std::signbit(got[3]));

  GgufImportOptions half;
  half.dtype = DType::kF16;
  norm[7] = 65519.996f;  // the last below halfway: rounds to 65504
  builder.tensor_f32("output_norm.weight", {32}, norm);
  ASSERT_TRUE(import(builder, half).ok());
  norm[7] = 65520.0f;
  builder.tensor_f32("output_norm.weight", {32}, norm);
  EXPECT_SAYS(error_of(builder, half),
              "tensor 'output_norm.weight' holds 65520 at element 7, which F16 cannot express");
  ASSERT_TRUE(import(builder).ok());
  norm[7] = 3.4e38f;
  builder.tensor_f32("output_norm.weight", {32}, norm);
  EXPECT_SAYS(error_of(builder), "which BF16 cannot express; import as f32");
  GgufImportOptions full;
  full.dtype = DType::kF32;
  ASSERT_TRUE(import(builder, full).ok());
  norm[7] = -std::numeric_limits<float>::quiet_NaN();
  builder.tensor_f32("output_norm.weight", {32}, norm);
  EXPECT_SAYS(error_of(builder, full), "nan at element 7");
  norm[7] = -std::numeric_limits<float>::infinity();
  builder.tensor_f32("output_norm.weight", {32}, norm);
  EXPECT_SAYS(error_of(builder), "-inf at element 7");
}

TEST_F(GgufImport, NamesWhatIsMissingOrStrange) {
  const GgufBuilder good = tiny_gguf();
  GgufBuilder b = good;
  b.string("general.architecture", "gemma3");
  EXPECT_SAYS(error_of(b), "architecture 'gemma3' is not supported; Octavo imports llama, qwen2, qwen3");
  b = good;
  b.remove_key("general.architecture");
  EXPECT_SAYS(error_of(b), "'general.architecture' is missing");
  for (const std::string key : {"block_count", "embedding_length", "context_length", "attention.head_count",
                                "attention.layer_norm_rms_epsilon"}) {
    b = good;
    b.remove_key("llama." + key);
    EXPECT_SAYS(error_of(b), "metadata key 'llama." + key + "' is missing");
  }
  b = good;
  b.u32("llama.expert_count", 8);
  EXPECT_SAYS(error_of(b), "a mixture of 8 experts");
  b = good;
  b.u32("split.count", 3);
  EXPECT_SAYS(error_of(b), "one of 3 parts");
  b = good;
  b.u32("llama.rope.dimension_count", 4);
  EXPECT_SAYS(error_of(b), "only 4 of 8 elements a head are rotated");
  b = good;
  b.u32("llama.attention.value_length", 4);
  EXPECT_SAYS(error_of(b), "keys of 8 and values of 4");
  b = good;
  b.u32("llama.attention.head_count_kv", 3);
  EXPECT_SAYS(error_of(b), "not a multiple");
  b = good;
  b.u32("llama.attention.head_count", 0);
  EXPECT_SAYS(error_of(b), "'llama.attention.head_count' is 0");
  b = good;
  b.u32("llama.block_count", 3);
  EXPECT_SAYS(error_of(b), "tensor 'blk.2.attn_norm.weight' is missing");
  b = good;
  b.u32("llama.block_count", 1);
  EXPECT_SAYS(error_of(b), "tensor 'blk.1.attn_norm.weight' has no place in a llama model of 1 layers");
  b = good;
  b.remove_tensor("blk.1.ffn_up.weight");
  EXPECT_SAYS(error_of(b), "tensor 'blk.1.ffn_up.weight' is missing");
  b = good;
  b.tensor_f32("blk.0.ffn_gate_inp.weight", {4}, {1, 2, 3, 4});
  EXPECT_SAYS(error_of(b), "tensor 'blk.0.ffn_gate_inp.weight' has no place");
  b = good;
  b.u32("llama.feed_forward_length", 49);
  EXPECT_SAYS(error_of(b), "tensor 'blk.0.ffn_gate.weight' has shape [48, 32], the metadata says [49, 32]");
  b = good;
  b.tensor("blk.0.attn_v.weight", 20, {16, 32}, std::string(16 * 18, '\0'));
  EXPECT_SAYS(error_of(b), "tensor 'blk.0.attn_v.weight' is of type IQ4_NL, which Octavo cannot decode");
  b = good;
  b.tensor_f32("blk.0.attn_q.bias", {32}, std::vector<float>(32));
  EXPECT_SAYS(error_of(b), "biases on attn_q but not on attn_output");
  b = tiny_gguf({.architecture = "qwen2"});
  EXPECT_SAYS(error_of(b), "tensor 'blk.0.attn_q.bias' is missing");
  b = good;
  b.f32("llama.attention.layer_norm_rms_epsilon", std::numeric_limits<float>::infinity());
  EXPECT_SAYS(error_of(b), "not a finite number");
}

TEST_F(GgufImport, LeavesWhatStandsThere) {
  test::write_file(dir_ / "m.gguf", tiny_gguf().build());
  test::write_file(out() / "mine", "text");
  auto result = import_gguf(dir_ / "m.gguf", out(), {});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().kind, ErrorKind::kFailure);
  EXPECT_SAYS(result.error().message, "exists already");
  EXPECT_EQ(test::read_file(out() / "mine"), "text");

  fs::remove_all(out());
  test::write_file(dir_ / "out.partial/mine", "text");
  result = import_gguf(dir_ / "m.gguf", out(), {});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(test::read_file(dir_ / "out.partial/mine"), "text");
  EXPECT_FALSE(import_gguf(dir_ / "absent.gguf", dir_ / "other", {}).ok());
  EXPECT_FALSE(fs::exists(dir_ / "other.partial"));
}

}  // namespace
}  // namespace octavo
