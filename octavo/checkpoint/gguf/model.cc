// Hyperparameters from metadata, completed from tensor shapes where a writer left a key out.
#include "octavo/checkpoint/gguf/model.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "octavo/base/text.h"
#include "octavo/checkpoint/gguf/rope.h"

namespace octavo {
namespace {

constexpr std::array<std::string_view, 3> kArchitectures = {"llama", "qwen2", "qwen3"};
constexpr std::uint64_t kMaxDimension = std::uint64_t{1} << 32;  // keeps every product below 2^64

// Looks up "ARCH.name" keys.
class Keys {
 public:
  Keys(const GgufFile& file, std::string_view architecture) : file_(file), prefix_(fmt::format("{}.", architecture)) {}

  std::string key(std::string_view name) const { return fmt::format("{}{}", prefix_, name); }
  Result<std::optional<std::uint64_t>> natural(std::string_view name) const { return file_.natural(key(name)); }

  // A dimension: between 1 and 2^32.
  Result<std::uint64_t> dimension(std::string_view name) const {
    OCTAVO_ASSIGN(const auto value, natural(name));
    if (!value) {
      return failure("{}: metadata key '{}' is missing; without it the model cannot be built", file_.origin, key(name));
    }
    return check(name, *value);
  }
  Result<std::uint64_t> check(std::string_view name, std::uint64_t value) const {
    if (value == 0 || value > kMaxDimension) {
      return failure("{}: metadata key '{}' is {}, which no model has", file_.origin, key(name), value);
    }
    return value;
  }

  // A number as config.json should show it; null when absent.
  Result<Json> number(std::string_view name) const {
    OCTAVO_ASSIGN(const auto value, file_.real(key(name)));
    if (!value) return Json();
    if (!std::isfinite(*value)) {
      return failure("{}: metadata key '{}' is not a finite number", file_.origin, key(name));
    }
    const bool single = file_.metadata.find(key(name))->second.type == GgufType::kF32;
    return single ? shortest_float(static_cast<float>(*value)) : Json(*value);
  }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

Result<const GgufTensor*> matrix(const GgufFile& file, std::string_view name) {
  const GgufTensor* tensor = file.find_tensor(name);
  if (tensor == nullptr) return failure("{}: tensor '{}' is missing", file.origin, name);
  if (tensor->shape.size() != 2) {
    return failure("{}: tensor '{}' has shape {}, a matrix is wanted", file.origin, name, shape_string(tensor->shape));
  }
  return tensor;
}

Result<std::string> architecture_of(const GgufFile& file) {
  OCTAVO_ASSIGN(const auto architecture, file.string("general.architecture"));
  if (!architecture) return failure("{}: metadata key 'general.architecture' is missing", file.origin);
  if (std::find(kArchitectures.begin(), kArchitectures.end(), *architecture) == kArchitectures.end()) {
    return failure("{}: architecture '{}' is not supported; Octavo imports {}", file.origin, printable(*architecture),
                   fmt::join(kArchitectures, ", "));
  }
  OCTAVO_ASSIGN(const auto kind, file.string("general.type"));
  if (kind && *kind != "model") {
    return failure("{}: holds a '{}', not a model", file.origin, printable(*kind));
  }
  OCTAVO_ASSIGN(const auto parts, file.natural("split.count"));
  if (parts && *parts > 1) {
    return failure("{}: is one of {} parts; join them first with llama-gguf-split --merge", file.origin, *parts);
  }
  return *architecture;
}

Status read_attention(const GgufFile& file, const Keys& keys, GgufModel& model) {
  OCTAVO_ASSIGN(model.heads, keys.dimension("attention.head_count"));
  OCTAVO_ASSIGN(const auto kv_heads, keys.natural("attention.head_count_kv"));
  OCTAVO_ASSIGN(model.kv_heads, keys.check("attention.head_count_kv", kv_heads.value_or(model.heads)));
  if (model.heads % model.kv_heads != 0) {
    return failure("{}: {} attention heads are not a multiple of {} key-value heads", file.origin, model.heads,
                   model.kv_heads);
  }
  OCTAVO_ASSIGN(const GgufTensor* q, matrix(file, "blk.0.attn_q.weight"));
  OCTAVO_ASSIGN(const auto key_length, keys.natural("attention.key_length"));
  OCTAVO_ASSIGN(model.head_dim, keys.check("attention.key_length", key_length.value_or(q->shape[0] / model.heads)));
  if (model.head_dim % 2 != 0) return failure("{}: head dimension {} is odd", file.origin, model.head_dim);
  OCTAVO_ASSIGN(const auto value_length, keys.natural("attention.value_length"));
  if (value_length.value_or(model.head_dim) != model.head_dim) {
    return failure("{}: keys of {} and values of {} elements a head differ, which architecture {} cannot express",
                   file.origin, model.head_dim, *value_length, model.architecture);
  }
  OCTAVO_ASSIGN(const auto rotated, keys.natural("rope.dimension_count"));
  if (rotated.value_or(model.head_dim) != model.head_dim) {
    return failure(
        "{}: only {} of {} elements a head are rotated (rope.dimension_count), which architecture {} cannot "
        "express",
        file.origin, *rotated, model.head_dim, model.architecture);
  }
  return {};
}

Status read_biases(const GgufFile& file, GgufModel& model) {
  const bool q = file.find_tensor("blk.0.attn_q.bias") != nullptr;
  const bool o = file.find_tensor("blk.0.attn_output.bias") != nullptr;
  model.attention_bias = q || model.architecture == "qwen2";
  model.mlp_bias = file.find_tensor("blk.0.ffn_gate.bias") != nullptr;
  if (model.architecture == "qwen2" && o) {
    return failure("{}: qwen2 with a bias on attn_output has no Hugging Face equivalent", file.origin);
  }
  if (model.architecture != "qwen2" && q != o) {
    return failure("{}: {} with biases on attn_{} but not on attn_{} has no Hugging Face equivalent", file.origin,
                   model.architecture, q ? "q" : "output", q ? "output" : "q");
  }
  if (model.architecture != "llama" && model.mlp_bias) {
    return failure("{}: {} with biases in its MLP has no Hugging Face equivalent", file.origin, model.architecture);
  }
  return {};
}

}  // namespace

Json shortest_float(float value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size() - 1, value).ptr;
  *end = '\0';
  return std::strtod(text.data(), nullptr);
}

Result<GgufModel> describe_gguf_model(const GgufFile& file, const ByteSource& source, std::vector<std::string>& notes) {
  GgufModel model;
  OCTAVO_ASSIGN(model.architecture, architecture_of(file));
  const Keys keys(file, model.architecture);
  OCTAVO_ASSIGN(const auto experts, keys.natural("expert_count"));
  if (experts.value_or(0) > 0) {
    return failure("{}: a mixture of {} experts; Octavo imports dense {} models only", file.origin, *experts,
                   fmt::join(kArchitectures, ", "));
  }
  OCTAVO_ASSIGN(model.layers, keys.dimension("block_count"));
  OCTAVO_ASSIGN(model.hidden, keys.dimension("embedding_length"));
  OCTAVO_ASSIGN(model.context, keys.dimension("context_length"));
  OCTAVO_TRY(read_attention(file, keys, model));

  OCTAVO_ASSIGN(const GgufTensor* gate, matrix(file, "blk.0.ffn_gate.weight"));
  OCTAVO_ASSIGN(const auto intermediate, keys.natural("feed_forward_length"));
  OCTAVO_ASSIGN(model.intermediate, keys.check("feed_forward_length", intermediate.value_or(gate->shape[0])));

  // The embedding decides: {arch}.vocab_size is often absent, and tokens may be fewer than rows.
  OCTAVO_ASSIGN(const GgufTensor* embedding, matrix(file, "token_embd.weight"));
  model.vocab = embedding->shape[0];
  model.tied = file.find_tensor("output.weight") == nullptr;
  OCTAVO_TRY(read_biases(file, model));

  OCTAVO_ASSIGN(model.rms_norm_eps, keys.number("attention.layer_norm_rms_epsilon"));
  if (model.rms_norm_eps.is_null()) {
    return failure("{}: metadata key '{}' is missing; without it the model cannot be built", file.origin,
                   keys.key("attention.layer_norm_rms_epsilon"));
  }
  OCTAVO_ASSIGN(model.rope_theta, keys.number("rope.freq_base"));
  if (model.rope_theta.is_null()) model.rope_theta = 10000.0;  // what llama.cpp takes then
  OCTAVO_ASSIGN(model.rope_scaling, read_rope_scaling(file, source, model, notes));

  OCTAVO_ASSIGN(model.bos, file.natural("tokenizer.ggml.bos_token_id"));
  OCTAVO_ASSIGN(model.eos, file.natural("tokenizer.ggml.eos_token_id"));
  OCTAVO_ASSIGN(model.pad, file.natural("tokenizer.ggml.padding_token_id"));
  for (const auto& [name, id] : {std::pair("bos", &model.bos), {"eos", &model.eos}, {"padding", &model.pad}}) {
    if (!*id || **id < model.vocab) continue;
    // llama.cpp's converters write 0xFFFFFFFF and the like for "none".
    notes.push_back(fmt::format("{}_token_id is {}, beyond the vocabulary of {}; left out", name, **id, model.vocab));
    id->reset();
  }
  return model;
}

Json make_config(const GgufModel& model, DType dtype) {
  const bool llama = model.architecture == "llama";
  const bool qwen2 = model.architecture == "qwen2";
  const auto id = [](const std::optional<std::uint64_t>& value) { return value ? Json(*value) : Json(); };
  Json config;
  config["architectures"] = Json::array({llama ? "LlamaForCausalLM" : qwen2 ? "Qwen2ForCausalLM" : "Qwen3ForCausalLM"});
  config["attention_bias"] = model.attention_bias;
  config["attention_dropout"] = 0.0;
  config["bos_token_id"] = id(model.bos);
  config["eos_token_id"] = id(model.eos);
  // Qwen2's own configs have no head_dim; its code takes hidden_size / num_attention_heads.
  if (!qwen2 || model.head_dim * model.heads != model.hidden) config["head_dim"] = model.head_dim;
  config["hidden_act"] = "silu";
  config["hidden_size"] = model.hidden;
  config["initializer_range"] = 0.02;
  config["intermediate_size"] = model.intermediate;
  config["max_position_embeddings"] = model.context;
  if (!llama) config["max_window_layers"] = model.layers;
  if (llama) config["mlp_bias"] = model.mlp_bias;
  config["model_type"] = model.architecture;
  config["num_attention_heads"] = model.heads;
  config["num_hidden_layers"] = model.layers;
  config["num_key_value_heads"] = model.kv_heads;
  if (model.pad) config["pad_token_id"] = id(model.pad);
  if (llama) config["pretraining_tp"] = 1;
  config["rms_norm_eps"] = model.rms_norm_eps;
  config["rope_scaling"] = model.rope_scaling;
  config["rope_theta"] = model.rope_theta;
  if (!llama) config["sliding_window"] = nullptr;
  config["tie_word_embeddings"] = model.tied;
  config["torch_dtype"] = dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF16 ? "float16" : "float32";
  config["use_cache"] = true;
  if (!llama) config["use_sliding_window"] = false;
  config["vocab_size"] = model.vocab;
  return config;
}

Json make_generation_config(const GgufFile& file, const GgufModel& model) {
  Json config = {{"_from_model_config", true}};
  if (model.bos) config["bos_token_id"] = *model.bos;
  // A chat model ends its turn with eot or eom where they differ from eos.
  std::vector<std::uint64_t> ends;
  if (model.eos) ends.push_back(*model.eos);
  for (const std::string_view key : {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    const auto end = file.natural(key);
    if (!end.ok() || !end.value() || **end >= model.vocab) continue;
    if (std::find(ends.begin(), ends.end(), **end) == ends.end()) ends.push_back(**end);
  }
  if (ends.size() == 1) config["eos_token_id"] = ends.front();
  if (ends.size() > 1) config["eos_token_id"] = ends;
  if (model.pad) config["pad_token_id"] = *model.pad;
  return config;
}

}  // namespace octavo
