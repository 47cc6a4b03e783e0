// The weights that serve, read back: values as the model computes with them, and checksums of these. On the engine's
// thread, between two steps.
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

// XXH3 (128 bits, hexadecimal) of every linear's and norm's FP32 values, dequantized, by name: two models with the same
// checksums compute with the same weights, whichever codes and scales these are written in. A bias is part of its
// linear's. Takes as long as reading the weights as FP32.
Result<std::map<std::string, std::string>> parameter_checksums(engine::Runner& runner);

}  // namespace octavo::rollout
