// The checkpoint beside its source: the same tensors, kept ones byte for byte, the same config and files otherwise.
#pragma once

#include "octavo/verify/modules.h"
#include "octavo/verify/report.h"
#include "octavo/verify/verify.h"

namespace octavo::verify {

// An Error is one of reading.
Status check_source(const Subject& subject, const Checkpoint& source, const Options& options, Report& report);

}  // namespace octavo::verify
