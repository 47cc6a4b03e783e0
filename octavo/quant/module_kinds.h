// What a module is, told from the components of its name ("model", "layers", "3", "mlp", "gate"). Where a list holds
// names of engines' modules, docs/formats.md, "What stays in BF16", gives the sources.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace octavo::quant {

using Names = std::vector<std::string_view>;

inline bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

inline bool any_component(const Names& components, bool (*is)(std::string_view)) {
  return std::any_of(components.begin(), components.end(), is);
}

// GPT-NeoX's embed_out is its output head.
inline bool is_embedding(std::string_view c) {
  return (contains(c, "embed") && c != "embed_out") || one_of(c, {"wte", "wpe", "shared"});
}
inline bool is_other_modality(std::string_view c) {
  return contains(c, "vision") || contains(c, "visual") || contains(c, "audio") || contains(c, "multi_modal") ||
         contains(c, "multimodal") || contains(c, "projector") || contains(c, "image") || contains(c, "speech") ||
         one_of(c, {"vit", "vpm", "apm", "sam_model", "img_processor", "resampler", "aligner", "connector",
                    "patch_merger", "token2wav"});
}
inline bool is_router(std::string_view c) {
  return contains(c, "router") ||
         one_of(c, {"gate", "gating", "shared_expert_gate", "shared_experts_gate", "expert_gate", "moe_gate"});
}
inline bool is_norm(std::string_view c) { return contains(c, "norm") || c == "ln" || c.starts_with("ln_"); }
inline bool is_mtp(std::string_view c) { return one_of(c, {"mtp", "mtp_layers", "nextn", "nextn_layers"}); }
inline bool is_head(std::string_view leaf) {
  return one_of(leaf, {"lm_head", "output", "embed_out", "output_layer", "head"});
}

// What joins a multi-token-prediction layer to the model: plain linears in every engine.
inline bool is_mtp_projection(const Names& components) {
  return components.back() == "eh_proj" || any_component(components, [](auto c) { return c == "shared_head"; }) ||
         (components.back() == "fc" && any_component(components, is_mtp));
}

// Linears whose kernels the engines run in BF16 whatever the file says: state-space gates and convolutions, the
// sparse-attention indexer's weighting, relative position tables.
inline bool is_engine_kept(std::string_view leaf) {
  return one_of(leaf, {"in_proj_a", "in_proj_b", "in_proj_ba", "conv1d", "weights_proj", "relative_attention_bias"});
}

// transformers' Conv1D stores [in, out]: scales along its rows would belong to inputs.
inline bool stores_transposed(std::string_view model_type) {
  return one_of(model_type, {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"});
}

// Architectures whose SGLang loader renames weight_scale_inv, so that fp8 block scales are lost (docs/formats.md).
inline bool sglang_loses_block_scales(std::string_view model_type) {
  return one_of(model_type, {"llama", "mistral", "mistral3", "ministral3", "phi3", "internlm3"});
}

}  // namespace octavo::quant
