// vLLM's SamplingParams in JSON to a request of the engine.
#pragma once

#include "octavo/base/json.h"
#include "octavo/engine/request.h"

namespace octavo::capi {

// Everything of a request but its prompt. What is not given has vLLM's default; an unknown name is an error.
Result<engine::Request> read_sampling(const Json& params, engine::LogprobsMode mode);

}  // namespace octavo::capi
