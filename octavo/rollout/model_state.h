// The weights that serve, read back: values as the model computes with them, and checksums of codes and scales. On the
// engine's thread, between two steps.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/engine/runner.h"
#include "octavo/rollout/tensor_info.h"

namespace octavo::rollout {

// What an update has to send: the checkpoint's names, with the dtype and shape that the model has them in (FP8 weights
// may come in BF16, F16 or F32 as well, then without their scales).
std::vector<TensorInfo> list_parameters(const model::LoadedModel& model);

struct ParameterValues {
  Shape shape;                // of the whole tensor
  std::vector<float> values;  // the first rows of it, row-major: dequantized
  std::uint64_t columns = 1;
};
// The first `rows` rows of a weight, or elements of a vector, under any name that an update would take it by (not a
// fused one). Biases and scales have no values of their own here.
Result<ParameterValues> read_parameter(engine::Runner& runner, const std::string& name, std::uint64_t rows);

// XXH3 (128 bits, hexadecimal: xxhash.xxh3_128_hexdigest) of every tensor by name: of FP8 weights the codes and, apart,
// the scales, read out of the layout that the kernels read. They are the checksums of the tensors' bytes in the folder
// that `octavo quantize` makes of the same weights with the same scheme (or, where nothing is quantized, in the
// checkpoint). Scales, norms and biases are summed in the checkpoint's dtype, or in FP32 where that would round them; a
// tensor that the backend holds in another dtype (of F16 and F32 checkpoints) as it is held. Scales of static
// activations, which no update changes, are not among them. An error: copies of one scale differ.
Result<std::map<std::string, std::string>> parameter_checksums(const model::LoadedModel& model,
                                                               backend::Backend& backend, int threads);

}  // namespace octavo::rollout
