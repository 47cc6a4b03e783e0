// Rules of quantization_config itself, before any tensor is looked at: unknown keys, values and lists that a loader
// would refuse or misread.
#pragma once

#include "octavo/verify/modules.h"
#include "octavo/verify/report.h"

namespace octavo::verify {

void check_config(const Subject& subject, Report& report);

}  // namespace octavo::verify
