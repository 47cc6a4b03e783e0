// The name table, and the check that a file holds exactly the tensors its metadata promises.
#include "octavo/checkpoint/gguf/tensor_map.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "octavo/base/text.h"

namespace octavo {
namespace {

enum class Dim { kHidden, kIntermediate, kQuery, kKeyValue, kHead, kVocab, kNone };
enum class When { kAlways, kQkvBias, kOutputBias, kMlpBias, kQkNorm, kUntied };
enum class Rows { kInOrder, kQueryHeads, kKeyHeads };  // kXHeads: interleaved in architecture llama

struct Row {
  std::string_view gguf;
  std::string_view hf;
  Dim rows;
  Dim columns = Dim::kNone;
  When when = When::kAlways;
  Rows order = Rows::kInOrder;
};

constexpr auto kGlobal = std::to_array<Row>({
    {"token_embd.weight", "model.embed_tokens.weight", Dim::kVocab, Dim::kHidden},
    {"output_norm.weight", "model.norm.weight", Dim::kHidden},
    {"output.weight", "lm_head.weight", Dim::kVocab, Dim::kHidden, When::kUntied},
});

// Behind "blk.N." and "model.layers.N.".
constexpr auto kLayer = std::to_array<Row>({
    {"attn_norm.weight", "input_layernorm.weight", Dim::kHidden},
    {"attn_q.weight", "self_attn.q_proj.weight", Dim::kQuery, Dim::kHidden, When::kAlways, Rows::kQueryHeads},
    {"attn_k.weight", "self_attn.k_proj.weight", Dim::kKeyValue, Dim::kHidden, When::kAlways, Rows::kKeyHeads},
    {"attn_v.weight", "self_attn.v_proj.weight", Dim::kKeyValue, Dim::kHidden},
    {"attn_output.weight", "self_attn.o_proj.weight", Dim::kHidden, Dim::kQuery},
    {"attn_q.bias", "self_attn.q_proj.bias", Dim::kQuery, Dim::kNone, When::kQkvBias, Rows::kQueryHeads},
    {"attn_k.bias", "self_attn.k_proj.bias", Dim::kKeyValue, Dim::kNone, When::kQkvBias, Rows::kKeyHeads},
    {"attn_v.bias", "self_attn.v_proj.bias", Dim::kKeyValue, Dim::kNone, When::kQkvBias},
    {"attn_output.bias", "self_attn.o_proj.bias", Dim::kHidden, Dim::kNone, When::kOutputBias},
    {"attn_q_norm.weight", "self_attn.q_norm.weight", Dim::kHead, Dim::kNone, When::kQkNorm},
    {"attn_k_norm.weight", "self_attn.k_norm.weight", Dim::kHead, Dim::kNone, When::kQkNorm},
    {"ffn_norm.weight", "post_attention_layernorm.weight", Dim::kHidden},
    {"ffn_gate.weight", "mlp.gate_proj.weight", Dim::kIntermediate, Dim::kHidden},
    {"ffn_up.weight", "mlp.up_proj.weight", Dim::kIntermediate, Dim::kHidden},
    {"ffn_down.weight", "mlp.down_proj.weight", Dim::kHidden, Dim::kIntermediate},
    {"ffn_gate.bias", "mlp.gate_proj.bias", Dim::kIntermediate, Dim::kNone, When::kMlpBias},
    {"ffn_up.bias", "mlp.up_proj.bias", Dim::kIntermediate, Dim::kNone, When::kMlpBias},
    {"ffn_down.bias", "mlp.down_proj.bias", Dim::kHidden, Dim::kNone, When::kMlpBias},
});

std::uint64_t extent(const GgufModel& model, Dim dim) {
  switch (dim) {
    case Dim::kHidden: return model.hidden;
    case Dim::kIntermediate: return model.intermediate;
    case Dim::kQuery: return model.heads * model.head_dim;
    case Dim::kKeyValue: return model.kv_heads * model.head_dim;
    case Dim::kHead: return model.head_dim;
    case Dim::kVocab: return model.vocab;
    case Dim::kNone: break;
  }
  return 0;
}

bool present(const GgufModel& model, When when) {
  switch (when) {
    case When::kAlways: return true;
    case When::kQkvBias: return model.attention_bias;
    case When::kOutputBias: return model.attention_bias && model.architecture != "qwen2";
    case When::kMlpBias: return model.mlp_bias;
    case When::kQkNorm: return model.architecture == "qwen3";
    case When::kUntied: return !model.tied;
  }
  return false;
}

// Tensors that carry no weights: derived from the config (rope) by every reader.
bool is_derived(std::string_view name) {
  return name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd.weight") || name.ends_with(".rope_freqs.weight");
}

class Mapper {
 public:
  Mapper(const GgufFile& file, const GgufModel& model)
      : file_(file), model_(model), mapped_(file.tensors.size()), used_(file.tensors.size(), false) {
    for (std::size_t i = 0; i < file.tensors.size(); ++i) by_name_.emplace(file.tensors[i].name, i);
  }

  Result<std::vector<MappedTensor>> map() {
    for (const Row& row : kGlobal) OCTAVO_TRY(take(row, "", ""));
    for (std::uint64_t layer = 0; layer < model_.layers; ++layer) {
      const std::string from = fmt::format("blk.{}.", layer);
      const std::string to = fmt::format("model.layers.{}.", layer);
      for (const Row& row : kLayer) OCTAVO_TRY(take(row, from, to));
    }
    std::vector<MappedTensor> result;
    for (std::size_t i = 0; i < mapped_.size(); ++i) {
      if (used_[i]) {
        result.push_back(std::move(mapped_[i]));
      } else if (const std::string& name = file_.tensors[i].name; !is_derived(name)) {
        return failure("{}: tensor '{}' has no place in a {} model of {} layers", file_.origin, printable(name),
                       model_.architecture, model_.layers);
      }
    }
    return result;
  }

 private:
  Status take(const Row& row, std::string_view from, std::string_view to) {
    if (!present(model_, row.when)) return {};
    const std::string name = fmt::format("{}{}", from, row.gguf);
    const auto found = by_name_.find(name);
    if (found == by_name_.end()) {
      return failure("{}: tensor '{}' is missing; a {} model of {} layers needs it", file_.origin, name,
                     model_.architecture, model_.layers);
    }
    const GgufTensor& tensor = file_.tensors[found->second];
    Shape wanted = {extent(model_, row.rows)};
    if (row.columns != Dim::kNone) wanted.push_back(extent(model_, row.columns));
    if (tensor.shape != wanted) {
      return failure("{}: tensor '{}' has shape {}, the metadata says {}", file_.origin, name,
                     shape_string(tensor.shape), shape_string(wanted));
    }
    if (tensor.type->decode == nullptr) {
      return failure("{}: tensor '{}' is of type {}, which Octavo cannot decode; it decodes {}", file_.origin, name,
                     tensor.type->name, decodable_ggml_types());
    }
    const bool interleaved = model_.architecture == "llama" && row.order != Rows::kInOrder;
    if (interleaved && tensor.shape.size() == 1 && tensor.type->block_elements != 1) {
      return failure("{}: bias '{}' is of the block type {}, whose elements cannot be reordered", file_.origin, name,
                     tensor.type->name);
    }
    used_[found->second] = true;
    mapped_[found->second] = {&tensor, fmt::format("{}{}", to, row.hf),
                              !interleaved                     ? 0
                              : row.order == Rows::kQueryHeads ? model_.heads
                                                               : model_.kv_heads};
    return {};
  }

  const GgufFile& file_;
  const GgufModel& model_;
  std::unordered_map<std::string_view, std::size_t> by_name_;  // into file_.tensors
  std::vector<MappedTensor> mapped_;
  std::vector<bool> used_;
};

}  // namespace

Result<std::vector<MappedTensor>> map_gguf_tensors(const GgufFile& file, const GgufModel& model) {
  return Mapper(file, model).map();
}

}  // namespace octavo
