// The tensors a decoder needs, found in a checkpoint and checked against its config before any data is read.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/quantization.h"
#include "octavo/model/weights.h"

namespace octavo::model {

// One linear layer: its tensors in the checkpoint and its place in ModelWeights.
struct LinearSlot {
  const CheckpointTensor* weight = nullptr;
  const CheckpointTensor* scale = nullptr;  // of an FP8 weight
  const CheckpointTensor* bias = nullptr;
  backend::LinearSpec spec;
  Granularity granularity = Granularity::kTensor;  // of an FP8 weight's scales: one scale says the same in several
  std::unique_ptr<LinearWeight>* place = nullptr;
};

// One vector: a norm's weight.
struct VectorSlot {
  const CheckpointTensor* tensor = nullptr;
  std::unique_ptr<Buffer>* place = nullptr;
};

struct Slots {
  std::vector<LinearSlot> linears;
  // HeadMode::kFp8: the one of `linears` whose spec is FP8 while its tensor is not, to be encoded. Tied: a slot of its
  // own for the embedding's tensor, which then has two.
  std::optional<std::size_t> fp8_head;
  std::vector<VectorSlot> vectors;
  std::vector<const CheckpointTensor*> k_scales, v_scales;  // one a layer; null where the checkpoint has none
  std::vector<std::string> unused;                          // tensors that nothing reads, sorted
  std::vector<std::string> warnings;
};

// `weights` gets config.layers layers; the slots point into it. `quantization` is the checkpoint's own, if any.
// Failures, one sentence each: a missing tensor, a wrong shape or dtype, a tensor that contradicts the config (a bias
// or a layer that config.json denies), an FP8 weight without a scale, HeadMode::kFp8 of a head that is FP8.
Result<Slots> find_slots(const Checkpoint& checkpoint, const DecoderConfig& config,
                         const std::optional<QuantizationInfo>& quantization, ActivationMode activations, HeadMode head,
                         ModelWeights& weights);

// The same, without the checkpoint. `slots` point into `weights`; `plan` is that of online quantization, or null;
// `pow2_scales`: all scales of an FP8 checkpoint are powers of two, so new ones are made so.
Parameters find_parameters(const Checkpoint& checkpoint, const DecoderConfig& config,
                           const std::optional<QuantizationInfo>& quantization, const Slots& slots,
                           const quant::Plan* plan, bool pow2_scales, ModelWeights& weights);

}  // namespace octavo::model
