// Names and shapes of tensors by architecture, and the header-only files.
#include "tests/support/published_model.h"

#include <array>
#include <map>

#include "octavo/base/ceil_div.h"
#include "octavo/base/file.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo::test {
namespace {

class Model {
 public:
  explicit Model(const Json& config) : config_(config) {}

  Result<std::vector<PublishedTensor>> tensors() {
    const std::string type = config_.value("model_type", "");
    if (type == "opt") {
      opt();
    } else if (type == "llama" || type == "qwen2" || type == "qwen3" || type == "qwen3_moe" || type == "mixtral" ||
               type == "deepseek_v3" || type == "glm_moe_dsa") {
      decoder(type);
    } else {
      return failure("config.json: model_type {}: its tensors are not known", type);
    }
    if (!missing_.empty()) return failure("config.json: {} is missing", missing_);
    return std::move(out_);
  }

 private:
  std::uint64_t number(const char* key) {
    const auto it = config_.find(key);
    if (it != config_.end() && it->is_number_unsigned()) return it->get<std::uint64_t>();
    missing_ = key;
    return 1;
  }
  std::uint64_t number_or(const char* key, std::uint64_t otherwise) {
    return config_.contains(key) ? number(key) : otherwise;
  }

  void add(std::string name, Shape shape, PublishedKind kind, DType dtype) {
    out_.push_back({std::move(name), std::move(shape), dtype, kind});
  }
  void add(std::string name, Shape shape, PublishedKind kind = PublishedKind::kOther) {
    add(std::move(name), std::move(shape), kind, dtype_);
  }
  void linear(const std::string& module, std::uint64_t out, std::uint64_t in, bool bias = false) {
    add(module + ".weight", {out, in}, PublishedKind::kLinear);
    if (bias) add(module + ".bias", {out});
  }

  void decoder(const std::string& type) {
    const std::uint64_t hidden = number("hidden_size"), layers = number("num_hidden_layers");
    const std::uint64_t predictors = number_or("num_nextn_predict_layers", 0);
    const bool latent = type == "deepseek_v3" || type == "glm_moe_dsa";
    add("model.embed_tokens.weight", {number("vocab_size"), hidden}, PublishedKind::kEmbedding);
    for (std::uint64_t i = 0; i < layers + predictors; ++i) {
      const std::string layer = fmt::format("model.layers.{}.", i);
      add(layer + "input_layernorm.weight", {hidden});
      add(layer + "post_attention_layernorm.weight", {hidden});
      latent ? latent_attention(layer + "self_attn.") : attention(type, layer + "self_attn.");
      if (type == "mixtral") {
        experts(layer + "block_sparse_moe.", "num_local_experts", "intermediate_size", {"w1", "w3", "w2"});
      } else if (type == "qwen3_moe") {
        experts(layer + "mlp.", "num_experts", "moe_intermediate_size", {"gate_proj", "up_proj", "down_proj"});
      } else if (latent && i >= number("first_k_dense_replace")) {
        experts(layer + "mlp.", "n_routed_experts", "moe_intermediate_size", {"gate_proj", "up_proj", "down_proj"});
        add(layer + "mlp.gate.e_score_correction_bias", {number("n_routed_experts")}, PublishedKind::kOther,
            DType::kF32);
        gated(layer + "mlp.shared_experts.", number("n_shared_experts") * number("moe_intermediate_size"),
              {"gate_proj", "up_proj", "down_proj"});
      } else {
        gated(layer + "mlp.", number("intermediate_size"), {"gate_proj", "up_proj", "down_proj"});
      }
      if (i >= layers) predictor(type, layer);
    }
    add("model.norm.weight", {hidden});
    // Qwen3-0.6B has its tied head in the file all the same.
    add("lm_head.weight", {number("vocab_size"), hidden}, PublishedKind::kHead);
  }

  void attention(const std::string& type, const std::string& at) {
    const std::uint64_t hidden = number("hidden_size"), heads = number("num_attention_heads");
    const std::uint64_t kv_heads = number("num_key_value_heads"), dim = number_or("head_dim", hidden / heads);
    const bool bias = type == "qwen2";
    linear(at + "q_proj", heads * dim, hidden, bias);
    linear(at + "k_proj", kv_heads * dim, hidden, bias);
    linear(at + "v_proj", kv_heads * dim, hidden, bias);
    linear(at + "o_proj", hidden, heads * dim);
    if (!type.starts_with("qwen3")) return;
    add(at + "q_norm.weight", {dim});
    add(at + "k_norm.weight", {dim});
  }

  void latent_attention(const std::string& at) {
    const std::uint64_t hidden = number("hidden_size"), heads = number("num_attention_heads");
    const std::uint64_t q_rank = number("q_lora_rank"), kv_rank = number("kv_lora_rank");
    const std::uint64_t nope = number("qk_nope_head_dim"), rope = number("qk_rope_head_dim");
    const std::uint64_t value = number("v_head_dim");
    linear(at + "q_a_proj", q_rank, hidden);
    add(at + "q_a_layernorm.weight", {q_rank});
    linear(at + "q_b_proj", heads * (nope + rope), q_rank);
    linear(at + "kv_a_proj_with_mqa", kv_rank + rope, hidden);
    add(at + "kv_a_layernorm.weight", {kv_rank});
    linear(at + "kv_b_proj", heads * (nope + value), kv_rank);
    linear(at + "o_proj", hidden, heads * value);
    if (!config_.contains("index_n_heads")) return;
    const std::uint64_t index_heads = number("index_n_heads"), index_dim = number("index_head_dim");
    linear(at + "indexer.wq_b", index_heads * index_dim, q_rank);
    linear(at + "indexer.wk", index_dim, hidden);
    add(at + "indexer.k_norm.weight", {index_dim});
    add(at + "indexer.k_norm.bias", {index_dim});
    linear(at + "indexer.weights_proj", index_heads, hidden);
  }

  using Projections = std::array<const char*, 3>;  // gate, up, down

  void gated(const std::string& at, std::uint64_t inner, const Projections& names) {
    const std::uint64_t hidden = number("hidden_size");
    linear(at + names[0], inner, hidden);
    linear(at + names[1], inner, hidden);
    linear(at + names[2], hidden, inner);
  }

  void experts(const std::string& at, const char* count, const char* inner, const Projections& names) {
    add(at + "gate.weight", {number(count), number("hidden_size")}, PublishedKind::kRouter);
    for (std::uint64_t e = 0; e < number(count); ++e) {
      gated(fmt::format("{}experts.{}.", at, e), number(inner), names);
    }
  }

  void predictor(const std::string& type, const std::string& layer) {
    const std::uint64_t hidden = number("hidden_size"), vocab = number("vocab_size");
    add(layer + "enorm.weight", {hidden});
    add(layer + "hnorm.weight", {hidden});
    add(layer + "eh_proj.weight", {hidden, 2 * hidden}, PublishedKind::kMtpLinear);
    add(layer + "shared_head.norm.weight", {hidden});
    if (type != "deepseek_v3") return;  // GLM-5 shares them without a copy
    add(layer + "embed_tokens.weight", {vocab, hidden}, PublishedKind::kEmbedding);
    add(layer + "shared_head.head.weight", {vocab, hidden}, PublishedKind::kMtpLinear);
  }

  void norm(const std::string& module, std::uint64_t size) {
    add(module + ".weight", {size});
    add(module + ".bias", {size});
  }

  void opt() {
    dtype_ = DType::kF16;
    const std::uint64_t hidden = number("hidden_size"), inner = number("ffn_dim");
    const std::string decoder = "decoder.";
    add(decoder + "embed_tokens.weight", {number("vocab_size"), hidden}, PublishedKind::kEmbedding);
    // Positions are counted from 2.
    add(decoder + "embed_positions.weight", {number("max_position_embeddings") + 2, hidden}, PublishedKind::kEmbedding);
    norm(decoder + "final_layer_norm", hidden);
    for (std::uint64_t i = 0; i < number("num_hidden_layers"); ++i) {
      const std::string layer = fmt::format("{}layers.{}.", decoder, i);
      for (const char* name : {"k_proj", "v_proj", "q_proj", "out_proj"}) {
        linear(layer + "self_attn." + name, hidden, hidden, /*bias=*/true);
      }
      norm(layer + "self_attn_layer_norm", hidden);
      linear(layer + "fc1", inner, hidden, true);
      linear(layer + "fc2", hidden, inner, true);
      norm(layer + "final_layer_norm", hidden);
    }
  }

  const Json& config_;
  DType dtype_ = DType::kBF16;
  std::string missing_;
  std::vector<PublishedTensor> out_;
};

}  // namespace

Result<std::vector<PublishedTensor>> published_tensors(const Json& config) { return Model(config).tensors(); }

std::vector<PublishedTensor> as_block_fp8(const std::vector<PublishedTensor>& tensors) {
  std::vector<PublishedTensor> out;
  for (const PublishedTensor& tensor : tensors) {
    out.push_back(tensor);
    if (tensor.kind != PublishedKind::kLinear) continue;
    out.back().dtype = DType::kF8E4M3;
    const Shape scale = {ceil_div(tensor.shape[0], std::uint64_t{128}), ceil_div(tensor.shape[1], std::uint64_t{128})};
    out.push_back({tensor.name + "_scale_inv", scale, DType::kF32, PublishedKind::kOther});
  }
  return out;
}

Status write_header_only(const std::filesystem::path& dir, const Json& config,
                         const std::vector<PublishedTensor>& tensors, std::size_t shards) {
  std::uint64_t total = 0;
  for (const PublishedTensor& tensor : tensors) total += byte_count(tensor.dtype, tensor.shape).value_or(0);
  std::vector<std::vector<TensorEntry>> files(1);
  std::uint64_t placed = 0;
  for (const PublishedTensor& tensor : tensors) {
    if (placed > total / shards * files.size()) files.emplace_back();
    placed += byte_count(tensor.dtype, tensor.shape).value_or(0);
    files.back().push_back({tensor.name, tensor.dtype, tensor.shape, 0, 0});
  }
  std::error_code error;
  if (!std::filesystem::create_directories(dir, error)) return failure("{}: exists or cannot be made", dir.string());
  std::map<std::string, std::string> weight_map;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string name = files.size() == 1 ? std::string("model.safetensors")
                                               : fmt::format("model-{:05}-of-{:06}.safetensors", i + 1, files.size());
    OCTAVO_ASSIGN(const std::string header, lay_out_safetensors(files[i], {{"format", "pt"}}));
    OCTAVO_ASSIGN(File file, File::create(dir / name));
    OCTAVO_TRY(file.write_at(0, as_bytes(header)));
    OCTAVO_TRY(file.close());
    // A hole: as long as the data, and nothing on the disk.
    std::filesystem::resize_file(dir / name, header.size() + files[i].back().end, error);
    if (error) return failure("{}: {}", (dir / name).string(), error.message());
    for (const TensorEntry& entry : files[i]) weight_map.emplace(entry.name, name);
  }
  if (files.size() > 1) {
    OCTAVO_TRY(write_text_file(dir / "model.safetensors.index.json", format_shard_index(total, weight_map)));
  }
  return write_text_file(dir / "config.json", config.dump(2) + "\n");
}

}  // namespace octavo::test
