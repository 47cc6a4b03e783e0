// The options of octavo_engine_open: JSON to what the rooms below take. The names and defaults are those of `octavo
// serve`.
#pragma once

#include <chrono>
#include <string>

#include "octavo/engine/engine_options.h"
#include "octavo/engine/sampler.h"
#include "octavo/rollout/update_manager.h"

namespace octavo::capi {

struct EngineSettings {
  engine::RunnerOptions runner;
  engine::EngineOptions engine;
  rollout::ManagerOptions updates;
  engine::LogprobsMode logprobs_mode = engine::LogprobsMode::kRaw;
  std::string chat_template;  // "": the model's
};
Result<EngineSettings> read_engine_settings(const Json& options);

}  // namespace octavo::capi
