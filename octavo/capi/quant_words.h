// Options of quantization in JSON: scheme, format, ignore ... by the names of `octavo quantize`.
#pragma once

#include "octavo/capi/option_reader.h"
#include "octavo/quant/spec_options.h"

namespace octavo::capi {

void read_kept(FieldReader& f, quant::KeepOptions& out);  // ignore, keep_first, keep_last
// scheme, format, loader (or for), dtype, arith, scale_dtype, block_size, edge, nonfinite, pow2_scales, direct.
void read_spec(FieldReader& f, quant::SpecOptions& out);

}  // namespace octavo::capi
