// Scales of the key/value cache: their names, shapes and pairs against what the config says of the cache.
#pragma once

#include "octavo/verify/modules.h"
#include "octavo/verify/report.h"

namespace octavo::verify {

// Values are checked with all others (scales.h).
void check_kv_scales(const Subject& subject, Report& report);

}  // namespace octavo::verify
