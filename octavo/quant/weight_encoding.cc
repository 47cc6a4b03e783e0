// The encoding of a weight, and dtypes and shape of what comes of it.
#include "octavo/quant/weight_encoding.h"

#include "octavo/base/ceil_div.h"

namespace octavo::quant {

DType fp8_dtype(fp8::Format format) { return format == fp8::Format::kE5M2 ? DType::kF8E5M2 : DType::kF8E4M3; }

DType stored_dtype(fp8::ScaleDType dtype) {
  switch (dtype) {
    case fp8::ScaleDType::kBF16: return DType::kBF16;
    case fp8::ScaleDType::kE8M0: return DType::kU8;  // SGLang refuses F8_E8M0, and vLLM would convert the values
    default: return DType::kF32;
  }
}

Shape scalar_shape(OutputFormat format) { return format == OutputFormat::kCompressedTensors ? Shape{1} : Shape{}; }
Shape scale_shape(const Shape& weight, const WeightEncoding& e, OutputFormat format) {
  if (e.granularity == Granularity::kTensor) return scalar_shape(format);
  const std::uint64_t n = ceil_div(weight[0], e.block_n), k = ceil_div(weight[1], e.block_k);
  if (format != OutputFormat::kModelOpt || e.granularity == Granularity::kGroup) return {n, k};
  return e.granularity == Granularity::kChannel ? Shape{n} : Shape{n, 1, k, 1};
}

WeightEncoding weight_encoding(const QuantSpec& spec, DType source, const Shape& shape, Granularity granularity) {
  WeightEncoding e;
  e.granularity = granularity;
  e.format = spec.dtype;
  e.scale_dtype = spec.scale_dtype_for(source == DType::kF16, granularity);
  e.pow2_scales = spec.pow2_scales;
  e.via_bf16 = source == DType::kF32 && !spec.direct;
  e.bf16_arithmetic = spec.bf16_arithmetic;
  const std::uint64_t n = shape[0], k = shape[1];
  switch (granularity) {
    case Granularity::kTensor: e.block_n = n, e.block_k = k; break;
    case Granularity::kChannel: e.block_n = 1, e.block_k = k; break;
    case Granularity::kBlock: e.block_n = spec.scheme.block_n, e.block_k = spec.scheme.block_k; break;
    case Granularity::kGroup: e.block_n = 1, e.block_k = spec.scheme.block_k; break;
  }
  return e;
}

}  // namespace octavo::quant
