// One pass over the bytes of every FP8 weight: codes that are no numbers; with a source, whether each code is the one
// that w / scale gives, and the error. Streams pieces of bounded size.
#pragma once

#include <vector>

#include "octavo/verify/modules.h"
#include "octavo/verify/report.h"
#include "octavo/verify/scales.h"
#include "octavo/verify/verify.h"

namespace octavo::verify {

// Fills Report::errors and Report::rules when there is a source. `ranges` is what check_scales returned. An Error is
// one of reading.
Status check_weights(const Subject& subject, const std::vector<ScaleRange>& ranges, const Checkpoint* source,
                     const Options& options, Report& report);

}  // namespace octavo::verify
