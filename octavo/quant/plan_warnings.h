// What a plan warns of: what loaders will refuse, misread or not know of it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "octavo/checkpoint/model_config.h"
#include "octavo/quant/plan.h"
#include "octavo/quant/selection.h"

namespace octavo::quant {

// Whether a weight is whole regions.
bool divides(const WeightEncoding& encoding, const Shape& weight);

// "model.layers.3.mlp.experts" of a module inside it.
std::optional<std::string_view> experts_block(std::string_view module);

// `joined`: bytes of experts in 3-D tensors that are kept as they are, by Checkpoint::why_joined().
void add_warnings(const Checkpoint& checkpoint, const ModelConfig& config, const Selection& selection,
                  const std::map<std::string, std::uint64_t>& joined, Plan& plan);

}  // namespace octavo::quant
