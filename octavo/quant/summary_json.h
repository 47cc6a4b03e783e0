// What a run did, as `octavo quantize --json` prints it and the C ABI and Python return it.
#pragma once

#include <string>

#include "octavo/base/json.h"
#include "octavo/quant/execute.h"

namespace octavo::quant {

double sqnr_db(const Distortion& distortion);  // nothing lost is infinite
double gb_per_second(const Summary& summary);  // read by this run, not by one before it
Json summary_json(const std::string& out_folder, const Plan& plan, const Summary& summary, bool with_sqnr);

}  // namespace octavo::quant
