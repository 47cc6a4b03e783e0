// Quantization on the way into memory: the same plan, the same encode, the same bytes as `octavo quantize`, into a
// TensorSink instead of a folder.
#pragma once

#include <string_view>
#include <vector>

#include "octavo/quant/execute.h"
#include "octavo/quant/spec.h"
#include "octavo/quant/tensor_sink.h"

namespace octavo::quant {

// The spec of a name that users of vLLM and SGLang type: "fp8" and "fp8_per_tensor", "fp8_channel" and
// "fp8_per_channel", "fp8_block" and "fp8_per_block". A usage error with a suggestion otherwise.
Result<QuantSpec> online_spec(std::string_view name);
std::vector<std::string> online_names();

// Reads, encodes and hands every output of the plan to `sink`; nothing is written to disk.
Result<Summary> encode_tensors(const Checkpoint& checkpoint, const Plan& plan, TensorSink& sink,
                               const ExecuteOptions& options);

}  // namespace octavo::quant
