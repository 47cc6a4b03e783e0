// Places, and the encoding of values that come in another dtype than the checkpoint's.
#include "octavo/model/parameters.h"

#include "octavo/model/weights.h"

namespace octavo::model {

template <typename T>
std::unique_ptr<T>& Place<T>::in(ModelWeights& weights) const {
  return outside != nullptr ? weights.*outside : weights.layers[layer].*in_layer;
}
template <typename T>
const std::unique_ptr<T>& Place<T>::in(const ModelWeights& weights) const {
  return outside != nullptr ? weights.*outside : weights.layers[layer].*in_layer;
}
template struct Place<LinearWeight>;
template struct Place<Buffer>;

quant::WeightEncoding encoding_of(const LinearParameter& parameter, DType source) {
  quant::WeightEncoding e = *parameter.encoding;
  e.via_bf16 = source == DType::kF32 && !parameter.direct;
  if (source == DType::kF16) e.scale_dtype = parameter.f16_scale_dtype;
  return e;
}

}  // namespace octavo::model
