// Weight updates, pauses and memory over HTTP, as SGLang's and vLLM's trainers ask for them (docs/rollout.md).
//
// SGLang: /begin_weight_update, /update_weights_from_tensor, /end_weight_update, /update_weights_from_disk,
//   /get_weights_by_name, /weights_checker, /update_weight_version, /pause_generation, /continue_generation,
//   /release_memory_occupation, /resume_memory_occupation
// vLLM: /start_weight_update, /update_weights, /finish_weight_update, /weight_info, /weight_checker, /get_world_size,
//   /pause, /resume, /is_paused, /sleep, /wake_up, /is_sleeping, /release_kv_cache_memory, /reset_prefix_cache
// Ours: /weight_update (the state), /abort_weight_update, /weight_parameters
//
// Tensors come as a safetensors body (chunked or with a length) or as {"path": ...} of a file, which may be in shared
// memory, or a folder. Both dialects drive the same transaction.
#pragma once

#include "octavo/rollout/update_manager.h"
#include "octavo/serve/router.h"
#include "octavo/serve/serve_context.h"

namespace octavo::serve {

struct UpdateRouteOptions {
  rollout::ManagerOptions manager;
  engine::InFlight policy = engine::InFlight::kAbort;  // --update-policy: where the request does not say
};

// The routes own the manager; the context's engine must outlive the table.
void add_update_routes(RouteTable& table, ServeContext& context, const UpdateRouteOptions& options);
// Instead of them: each answers 404 and says that `flag` turned it off.
void add_absent_update_routes(RouteTable& table, std::string_view flag);

}  // namespace octavo::serve
