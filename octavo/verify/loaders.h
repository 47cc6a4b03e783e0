// What each serving engine's loader would refuse or silently misread, as far as names, shapes and the config tell:
// the table of docs/formats.md, "What a loader accepts". Violations carry the loader's name.
#pragma once

#include "octavo/verify/modules.h"
#include "octavo/verify/report.h"
#include "octavo/verify/verify.h"

namespace octavo::verify {

void check_loader(const Subject& subject, Loader loader, Report& report);

}  // namespace octavo::verify
