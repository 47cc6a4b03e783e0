// How a spec encodes a weight, and dtypes and shape of what is stored of it: for plans, and for weights in memory.
#pragma once

#include "octavo/quant/plan.h"

namespace octavo::quant {

// `shape` is [out, in]; `source` BF16, F16 or F32.
WeightEncoding weight_encoding(const QuantSpec& spec, DType source, const Shape& shape, Granularity granularity);

DType fp8_dtype(fp8::Format format);
DType stored_dtype(fp8::ScaleDType dtype);
Shape scalar_shape(OutputFormat format);  // of a scale of a whole tensor
// docs/formats.md, "Which name and shape".
Shape scale_shape(const Shape& weight, const WeightEncoding& encoding, OutputFormat format);

}  // namespace octavo::quant
