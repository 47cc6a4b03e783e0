// Tensors against the config: which weights are FP8, the scales' names, dtypes and shapes, what is left over, the
// index, and groups that loaders fuse.
#pragma once

#include "octavo/verify/modules.h"
#include "octavo/verify/report.h"

namespace octavo::verify {

// The shapes that the scale of a 2-D weight [n, k] may have in a group of the dialect, the usual one first.
std::vector<Shape> scale_shapes(Dialect dialect, const QuantizationGroup& group, std::uint64_t n, std::uint64_t k);
// Whether the module's scale is there with a dtype and a shape that its group allows: only such are read.
bool has_sound_scale(const Subject& subject, const Module& module);

void check_structure(const Subject& subject, Report& report);

}  // namespace octavo::verify
