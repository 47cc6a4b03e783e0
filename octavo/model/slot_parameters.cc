// Slots as parameters: names instead of a checkpoint's tensors, places instead of addresses.
#include <map>

#include "octavo/model/fp8_head.h"
#include "octavo/model/slots.h"
#include "octavo/quant/selection.h"

namespace octavo::model {
namespace {

using LinearPlaces = std::map<const void*, Place<LinearWeight>>;
using VectorPlaces = std::map<const void*, Place<Buffer>>;

LinearPlaces linear_places(ModelWeights& weights) {
  LinearPlaces out;
  out[&weights.embedding] = {.outside = &ModelWeights::embedding};
  out[&weights.head] = {.outside = &ModelWeights::head};
  for (std::uint64_t i = 0; i < weights.layers.size(); ++i) {
    for (const auto member : {&LayerWeights::q, &LayerWeights::k, &LayerWeights::v, &LayerWeights::o,
                              &LayerWeights::gate, &LayerWeights::up, &LayerWeights::down}) {
      out[&(weights.layers[i].*member)] = {.in_layer = member, .layer = i};
    }
  }
  return out;
}

VectorPlaces vector_places(ModelWeights& weights) {
  VectorPlaces out;
  out[&weights.final_norm] = {.outside = &ModelWeights::final_norm};
  for (std::uint64_t i = 0; i < weights.layers.size(); ++i) {
    for (const auto member : {&LayerWeights::input_norm, &LayerWeights::post_attention_norm, &LayerWeights::q_norm,
                              &LayerWeights::k_norm}) {
      out[&(weights.layers[i].*member)] = {.in_layer = member, .layer = i};
    }
  }
  return out;
}

// How an FP8 checkpoint's weight was encoded, by its scales.
std::optional<quant::WeightEncoding> stored_encoding(const LinearSlot& slot, bool pow2_scales) {
  const backend::LinearSpec& spec = slot.spec;
  if (spec.dtype != DType::kF8E4M3 && spec.dtype != DType::kF8E5M2) return std::nullopt;
  quant::WeightEncoding e;
  e.block_n = spec.block_n;
  e.block_k = spec.block_k;
  switch (slot.granularity) {
    case Granularity::kTensor: e.granularity = quant::Granularity::kTensor; break;
    case Granularity::kChannel: e.granularity = quant::Granularity::kChannel; break;
    case Granularity::kBlock: e.granularity = quant::Granularity::kBlock; break;
    case Granularity::kGroup: e.granularity = quant::Granularity::kGroup; break;
  }
  e.format = code_format(spec.dtype);
  const DType scales = slot.scale->dtype;
  e.scale_dtype = scales == DType::kBF16                             ? fp8::ScaleDType::kBF16
                  : scales == DType::kU8 || scales == DType::kF8E8M0 ? fp8::ScaleDType::kE8M0
                                                                     : fp8::ScaleDType::kF32;
  e.pow2_scales = pow2_scales;
  return e;
}

}  // namespace

Parameters find_parameters(const Checkpoint& checkpoint, const DecoderConfig& config,
                           const std::optional<QuantizationInfo>& quantization, const Slots& slots,
                           const quant::Plan* plan, bool pow2_scales, ModelWeights& weights) {
  Parameters out;
  out.embedding = config.architecture->names.embedding;
  out.head = config.architecture->names.head;
  const LinearPlaces linears = linear_places(weights);
  const VectorPlaces vectors = vector_places(weights);
  std::map<std::string, std::uint32_t> sharing;
  bool head_tensor = false;
  for (std::size_t i = 0; i < slots.linears.size(); ++i) {
    const LinearSlot& slot = slots.linears[i];
    LinearParameter p;
    p.name = slot.weight->name;
    head_tensor |= p.name == out.head;
    if (slot.bias != nullptr) {
      p.bias = slot.bias->name;
      p.bias_dtype = slot.bias->dtype;
    }
    p.spec = slot.spec;
    p.place = linears.at(slot.place);
    const quant::PlannedTensor* planned = plan == nullptr ? nullptr : find_planned(checkpoint, *plan, p.name);
    if (slots.fp8_head == i) {
      backend::LinearSpec stored = slot.spec;
      stored.dtype = DType::kF16;
      p.f16_scale_dtype = fp8_head_encoding(stored).scale_dtype;
      stored.dtype = DType::kBF16;
      p.encoding = fp8_head_encoding(stored);
      p.made_fp8 = true;
    } else if (slot.scale != nullptr) {
      p.scale = slot.scale->name;
      p.encoding = stored_encoding(slot, quantization->pow2_scales || pow2_scales);
      if (p.encoding) p.f16_scale_dtype = p.encoding->scale_dtype;
    } else if (planned != nullptr && planned->encodes()) {
      p.scale = plan->outputs[*planned->scale].name;
      p.encoding = planned->encoding;
      p.direct = plan->spec.direct;
      p.encoding->scale_dtype = plan->spec.scale_dtype_for(/*f16_source=*/false, p.encoding->granularity);
      p.f16_scale_dtype = plan->spec.scale_dtype_for(/*f16_source=*/true, p.encoding->granularity);
    }
    if (p.encoding && p.encoding->granularity == quant::Granularity::kTensor) {
      const std::string module(quant::module_name(p.name));
      const std::string key = quant::fused_key(module).value_or(module);
      p.shared = sharing.try_emplace(key, static_cast<std::uint32_t>(sharing.size())).first->second;
    }
    if (p.place.in_layer == &LayerWeights::k) {
      const std::string_view module = quant::module_name(p.name);
      out.attention.emplace_back(module.substr(0, module.rfind('.') + 1));
    }
    out.linears.push_back(std::move(p));
  }
  for (const VectorSlot& slot : slots.vectors) {
    out.vectors.push_back({slot.tensor->name, slot.tensor->shape[0], vectors.at(slot.place), slot.tensor->dtype});
  }
  const auto name_of = [](const CheckpointTensor* tensor) { return tensor == nullptr ? std::string() : tensor->name; };
  for (const CheckpointTensor* tensor : slots.k_scales) out.k_scales.push_back(name_of(tensor));
  for (const CheckpointTensor* tensor : slots.v_scales) out.v_scales.push_back(name_of(tensor));
  for (const CheckpointTensor* tensor : slots.k_scales) {
    if (tensor != nullptr) out.cache_scale_dtype = tensor->dtype;
  }
  out.tied = config.tie_word_embeddings && !head_tensor;
  if (plan != nullptr) out.nonfinite = plan->spec.nonfinite;
  return out;
}

}  // namespace octavo::model
