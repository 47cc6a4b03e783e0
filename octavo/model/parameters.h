// What a model in memory is made of, under the names of its checkpoint: all that is needed to write its tensors anew
// when the checkpoint is closed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/quant/plan.h"

namespace octavo::model {

struct LayerWeights;
struct ModelWeights;

// A member of ModelWeights or of one of its layers. It holds for any ModelWeights of the same model.
template <typename T>
struct Place {
  std::unique_ptr<T> ModelWeights::*outside = nullptr;  // null: in a layer
  std::unique_ptr<T> LayerWeights::*in_layer = nullptr;
  std::uint64_t layer = 0;

  std::unique_ptr<T>& in(ModelWeights& weights) const;
  const std::unique_ptr<T>& in(const ModelWeights& weights) const;
};

// A linear layer, the embedding or the head.
struct LinearParameter {
  std::string name;   // of its tensor: "model.layers.0.self_attn.q_proj.weight"
  std::string scale;  // FP8: of its scales' tensor, as the checkpoint has it or as `octavo quantize` would name it
  std::string bias;   // "": it has none
  backend::LinearSpec spec;
  // FP8: how values become codes, as `octavo quantize` makes this checkpoint's. Of BF16 values: encoding_of() knows the
  // others. nullopt: it is not FP8, or in a format that Octavo only reads.
  std::optional<quant::WeightEncoding> encoding;
  fp8::ScaleDType f16_scale_dtype = fp8::ScaleDType::kF32;  // of F16 values
  bool direct = false;                                      // F32 values are not rounded to BF16 first
  std::optional<std::uint32_t> shared;                      // per tensor: those with the same number share their scale
  DType bias_dtype = DType::kF32;                           // of the checkpoint's; the backend has it in F32
  bool made_fp8 = false;                                    // HeadMode::kFp8: its values are never sent as codes
  Place<backend::LinearWeight> place;
};

// A norm's weight.
struct VectorParameter {
  std::string name;
  std::uint64_t size = 0;
  Place<backend::Buffer> place;
  DType dtype = DType::kF32;  // of the checkpoint's; the backend has it in F32
};

struct Parameters {
  std::vector<LinearParameter> linears;  // of a tied embedding with an FP8 head both, under one name
  std::vector<VectorParameter> vectors;
  // Scales of an FP8 cache, by layer; "": the checkpoint has none there.
  std::vector<std::string> k_scales, v_scales;
  DType cache_scale_dtype = DType::kF32;
  std::vector<std::string> attention;  // what stands before "k_proj" in a layer: "model.layers.0.self_attn."
  std::string embedding, head;         // tensor names of the family
  bool tied = false;                   // the head is the embedding
  quant::NonFinite nonfinite = quant::NonFinite::kError;
};

// Of values of `source`: BF16, F16 or F32. `parameter` has an encoding.
quant::WeightEncoding encoding_of(const LinearParameter& parameter, DType source);

}  // namespace octavo::model
