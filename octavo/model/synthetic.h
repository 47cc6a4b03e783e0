// Models without a folder: random weights in a published model's shape, made directly in a backend's memory. For
// benchmarks: their speed is that of the real model, what they say is noise.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/model/weights.h"

namespace octavo::model {

std::vector<std::string> synthetic_names();  // "qwen3-0.6b", ...
// The shape of a name: layers, sizes, rope, as the model's authors published them. A usage error names an unknown one,
// with a suggestion.
Result<DecoderConfig> synthetic_config(std::string_view name);

// Weights of that shape: BF16 values about N(0, 0.02), norms of 1, no biases; the same values whatever the number of
// threads. options.quantize encodes the linears of the layers as online quantization would (embedding and head stay
// BF16; options.head as of a folder), but that all tensors share one scale where it is per tensor. options.extra_bytes
// and check_memory hold; QuantSpecs that name modules (ignore, only, keep_first, keep_last) or divide edges are
// refused: there are no names.
Result<LoadedModel> make_synthetic_model(const DecoderConfig& config, backend::Backend& backend,
                                         const LoadOptions& options);

}  // namespace octavo::model
