// Which tensors are quantized, and why: decided from names, shapes and dtypes alone, so that an architecture nobody
// has heard of is handled by what its modules are.
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/string_pool.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/model_config.h"
#include "octavo/quant/spec.h"

namespace octavo::quant {

struct Decision {
  bool quantize = false;
  bool head = false;    // the output head (quantized only with QuantSpec::lm_head)
  bool linear = false;  // a 2-D weight that loaders hold in a linear layer: listed as ignored when kept
  // "linear of layer 3", "embedding", "--ignore re:.*o_proj", ...: in Selection::reasons
  std::string_view why;
};

struct Selection {
  std::vector<Decision> decisions;  // one per Checkpoint::tensors(), same order
  std::vector<std::string> warnings;
  std::shared_ptr<StringPool> reasons = std::make_shared<StringPool>();
};

// An error when a pattern is malformed or nothing is left to quantize. `convert`: the source is FP8; what is FP8 stays
// so (Decision::quantize), but for what the patterns and layers of the spec name, and nothing else becomes FP8.
Result<Selection> select_tensors(const Checkpoint& checkpoint, const ModelConfig& config, const QuantSpec& spec,
                                 bool convert = false);

// "model.layers.3.self_attn.q_proj" from "model.layers.3.self_attn.q_proj.weight"; other names unchanged.
std::string_view module_name(std::string_view tensor);
// The last component: "q_proj". Kinds of layers in tables are named by it.
std::string_view module_leaf(std::string_view module);

// Modules that engines load into one fused parameter (q/k/v, gate/up, w1/w3, ...) have the same key, so a per-tensor
// scale can be shared among them. nullopt for a module that is fused with nothing.
std::optional<std::string> fused_key(std::string_view module);
// The key as its two parts, "model.layers.3.self_attn." and "qkv_proj": nothing is copied.
struct FusedName {
  std::string_view parent, leaf;
  auto operator<=>(const FusedName&) const = default;
};
std::optional<FusedName> fused_name(std::string_view module);

}  // namespace octavo::quant
