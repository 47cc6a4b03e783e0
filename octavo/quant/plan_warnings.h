// What a plan warns of: what loaders will refuse, misread or not know of it.
#pragma once

#include "octavo/checkpoint/model_config.h"
#include "octavo/quant/plan.h"
#include "octavo/quant/selection.h"

namespace octavo::quant {

// Whether a weight is whole regions.
bool divides(const WeightEncoding& encoding, const Shape& weight);

// "model.layers.3.mlp.experts" of a module inside it.
std::optional<std::string_view> experts_block(std::string_view module);

// `expert_bytes`: of experts in 3-D tensors that are kept as they are.
void add_warnings(const Checkpoint& checkpoint, const ModelConfig& config, const Selection& selection,
                  std::uint64_t expert_bytes, Plan& plan);

}  // namespace octavo::quant
