// The values of scales: finite, positive, powers of two where the config says so, equal where loaders fuse.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/verify/modules.h"
#include "octavo/verify/report.h"
#include "octavo/verify/verify.h"

namespace octavo::verify {

// What the scales of one module are like.
struct ScaleRange {
  bool readable = false;            // sound by header (structure.h), and every value finite and positive
  float smallest = 0, largest = 0;  // of the good values
};

// One entry a module of `subject`. Reads every scale once, in pieces; an Error is one of reading.
Result<std::vector<ScaleRange>> check_scales(const Subject& subject, const Options& options, Report& report);

}  // namespace octavo::verify
