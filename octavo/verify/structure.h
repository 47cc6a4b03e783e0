// Tensors against the config: which weights are FP8, the scales' names, dtypes and shapes, what is left over, the
// index, and groups that loaders fuse.
#pragma once

#include "octavo/verify/modules.h"
#include "octavo/verify/report.h"

namespace octavo::verify {

// The shape that the scale of a weight [n, k] has in `group`; per tensor it may also be [].
Shape scale_shape(const QuantizationGroup& group, std::uint64_t n, std::uint64_t k);
// Whether the module's scale is there with a dtype and a shape that its group allows: only such are read.
bool has_sound_scale(const Subject& subject, const Module& module);

void check_structure(const Subject& subject, Report& report);

}  // namespace octavo::verify
