// Where the outputs of a plan lie in their files.
#pragma once

#include "octavo/quant/plan.h"

namespace octavo::quant {

// Gives the outputs [first, first + count) of `shard` their bytes and offsets, and the shard its sizes.
Status lay_out_shard(Plan& plan, PlannedShard& shard);

}  // namespace octavo::quant
