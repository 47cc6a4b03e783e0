// Builds runnable decoders.
#include "tests/support/tiny_decoder.h"

#include <fmt/format.h>

#include <cmath>

#include "octavo/fp8/half.h"
#include "tests/support/random_tensor.h"

namespace octavo::test {
namespace {

std::vector<std::byte> as_dtype(const std::vector<float>& values, DType dtype) {
  if (dtype == DType::kF32) return bytes_of(values);
  std::vector<std::uint16_t> bits;
  for (const float v : values) bits.push_back(dtype == DType::kBF16 ? fp8::float_to_bf16(v) : fp8::float_to_f16(v));
  return bytes_of(bits);
}

}  // namespace

CheckpointBuilder tiny_decoder(const TinyDecoder& m) {
  CheckpointBuilder out;
  Random random(m.seed * 1'000'003);
  const auto tensor = [&](const std::string& name, Shape shape, double mean, double deviation) {
    std::vector<float> values(*element_count(shape));
    for (float& v : values) v = static_cast<float>(mean + deviation * random.normal());
    out.add(name, m.dtype, std::move(shape), as_dtype(values, m.dtype));
  };
  const auto linear = [&](const std::string& name, std::uint64_t n, std::uint64_t k, double gain, bool bias) {
    tensor(name + ".weight", {n, k}, 0, gain / std::sqrt(static_cast<double>(k)));
    if (bias) tensor(name + ".bias", {n}, 0, 0.3);
  };
  constexpr double kPeaked = 3;  // heads that attend to few tokens, logits some units apart
  const bool qkv_bias = m.model_type == "qwen2", qk_norm = m.model_type == "qwen3";
  tensor("model.embed_tokens.weight", {m.vocab, m.hidden}, 0, 1);
  for (std::uint64_t i = 0; i < m.layers; ++i) {
    const std::string p = fmt::format("model.layers.{}.", i);
    tensor(p + "input_layernorm.weight", {m.hidden}, 1, 0.1);
    linear(p + "self_attn.q_proj", m.heads * m.head_dim, m.hidden, kPeaked, qkv_bias);
    linear(p + "self_attn.k_proj", m.kv_heads * m.head_dim, m.hidden, 1, qkv_bias);
    linear(p + "self_attn.v_proj", m.kv_heads * m.head_dim, m.hidden, 1, qkv_bias);
    linear(p + "self_attn.o_proj", m.hidden, m.heads * m.head_dim, 1, false);
    if (qk_norm) {
      tensor(p + "self_attn.q_norm.weight", {m.head_dim}, kPeaked, 0.1);
      tensor(p + "self_attn.k_norm.weight", {m.head_dim}, 1, 0.1);
    }
    tensor(p + "post_attention_layernorm.weight", {m.hidden}, 1, 0.1);
    linear(p + "mlp.gate_proj", m.intermediate, m.hidden, 1, false);
    linear(p + "mlp.up_proj", m.intermediate, m.hidden, 1, false);
    linear(p + "mlp.down_proj", m.hidden, m.intermediate, 1, false);
  }
  tensor("model.norm.weight", {m.hidden}, 1, 0.1);
  if (!m.tied) linear("lm_head", m.vocab, m.hidden, kPeaked, false);

  const std::string name = m.model_type == "llama"     ? "Llama"
                           : m.model_type == "mistral" ? "Mistral"
                           : m.model_type == "qwen2"   ? "Qwen2"
                                                       : "Qwen3";
  const char* dtype = m.dtype == DType::kF32 ? "float32" : m.dtype == DType::kF16 ? "float16" : "bfloat16";
  out.config() = {{"architectures", {name + "ForCausalLM"}},
                  {"model_type", m.model_type},
                  {"hidden_size", m.hidden},
                  {"intermediate_size", m.intermediate},
                  {"num_hidden_layers", m.layers},
                  {"num_attention_heads", m.heads},
                  {"num_key_value_heads", m.kv_heads},
                  {"head_dim", m.head_dim},
                  {"vocab_size", m.vocab},
                  {"max_position_embeddings", m.max_positions},
                  {"rms_norm_eps", 1e-6},
                  {"tie_word_embeddings", m.tied},
                  {"torch_dtype", dtype}};
  return out;
}

}  // namespace octavo::test
