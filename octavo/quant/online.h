// Quantization on the way into memory: the same plan, the same encode, the same bytes as `octavo quantize`, into a
// TensorSink (encode_tensors) instead of a folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/quant/execute.h"
#include "octavo/quant/plan.h"
#include "octavo/quant/spec.h"
#include "octavo/quant/tensor_sink.h"

namespace octavo::quant {

// The spec of a name that users of vLLM and SGLang type, and the scheme of `octavo quantize` whose defaults it has, so
// that codes and scales are those of that folder:
//   fp8, fp8_per_tensor           --scheme tensor: q/k/v share a scale, so do gate/up
//   fp8_channel, fp8_per_channel  --scheme dynamic
//   fp8_block, fp8_per_block      --scheme block; with Edge::kChannel it is the folder that can hold two schemes:
//                                 --format compressed-tensors, whose scales are BF16 (F32 for F16 sources)
// The rest of the spec (ignore, keep_first, ...) is the caller's to set. `edge` stands here because it decides the
// dtype of the scales. A usage error names an unknown name, with a suggestion, and an edge where there are no blocks.
Result<QuantSpec> online_spec(std::string_view name, Edge edge = Edge::kPartial);
std::vector<std::string> online_names();

// How a W8A8 run rounds what goes into a linear so encoded: per token, or in groups as wide as a block; what the
// folder's config.json would say.
backend::InputRounding input_rounding(const QuantSpec& spec, const WeightEncoding& encoding);

}  // namespace octavo::quant
