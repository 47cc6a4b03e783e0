// vLLM's routes of weight updates (entrypoints/rl/online/api_router.py of 0.33): 400 with {"error"} where they fail.
#include <algorithm>

#include "octavo/serve/update_state.h"

namespace octavo::serve {
namespace {

using engine::InFlight;
using Routes = std::shared_ptr<UpdateRoutes>;

void refuse(Exchange& x, const Error& error) {
  if (x.answered()) return;
  static_cast<void>(x.reply(Reply::json({{"error", error.message}}, 400)));
}
void answer(Exchange& x, const Json& value) { static_cast<void>(x.reply(Reply::json(value))); }

void start(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  bool partial = false;
  f.read("partial", partial);
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  const auto id = r.updates.begin(partial);
  if (!id.ok()) return refuse(x, id.error());
  answer(x, {{"message", "Weight update started"}, {"transaction", *id}});
}

void update(Exchange& x, UpdateRoutes& r) {
  const auto id = r.updates.open();
  if (!id) return refuse(x, r.none_open("no weight update is open: /start_weight_update begins one"));
  if (const Status status = r.receive(x, *id); !status.ok()) return refuse(x, status.error());
  answer(x, {{"message", "Weights updated"}});
}

void finish(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  std::optional<std::string> label;
  std::string policy;
  f.read("weight_version", label);
  f.read("policy", policy);
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  const auto done = r.commit({.name = policy}, label);
  if (!done.ok()) return refuse(x, done.error());
  Json out = {{"message", "Weight update finished"}};
  out.update(commit_json(*done));
  answer(x, out);
}

// vLLM's keep goes on with the keys and values that are there.
Result<InFlight> mode_of(FieldReader& f, std::string mode) {
  f.read("mode", mode);
  if (mode == "keep") return InFlight::kInPlace;
  if (mode == "abort") return InFlight::kAbort;
  if (mode == "wait") return InFlight::kWait;
  return failure("mode: must be abort, wait or keep");
}

void pause(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  bool clear = true;
  f.read("clear_cache", clear);
  const auto mode = mode_of(f, "abort");
  if (!mode.ok()) return refuse(x, mode.error());
  Status status = f.finish();
  if (status.ok()) status = r.pause(*mode, /*refuse_new=*/*mode != InFlight::kInPlace);
  if (status.ok() && clear) {
    status =
        r.context.engine.run_exclusive([](engine::Engine& e) -> Status { return e.flush_prefix_cache(), Status(); });
  }
  if (!status.ok()) return refuse(x, status.error());
  answer(x, {{"status", "paused"}});
}

void resume(Exchange& x, UpdateRoutes& r) {
  if (const Status status = r.resume(); !status.ok()) return refuse(x, status.error());
  answer(x, {{"status", "resumed"}});
}

void sleep(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  std::uint64_t level = 1;
  f.read("level", level);
  const auto mode = mode_of(f, "abort");
  if (level > 2) f.fail("level", "must be 0, 1 or 2");
  Status status = f.finish();
  if (status.ok() && !mode.ok()) status = mode.error();
  if (status.ok()) status = r.sleep(level, *mode);
  if (!status.ok()) return refuse(x, status.error());
  answer(x, {{"status", "sleeping"}, {"level", level}});
}

void wake_up(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  const std::vector<std::string> tags = memory_tags(f);
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  // Weights were never gone: what sleeps is the cache.
  const bool all = tags.empty() || std::find(tags.begin(), tags.end(), "kv_cache") != tags.end();
  if (all) {
    if (const Status status = r.wake(); !status.ok()) return refuse(x, status.error());
  }
  const std::lock_guard lock(r.mutex);
  answer(x, {{"status", r.sleeping ? "sleeping" : "awake"}, {"tags", tags}});
}

void release_cache(Exchange& x, UpdateRoutes& r) {
  if (const Status status = r.release_memory(); !status.ok()) return refuse(x, status.error());
  {
    const std::lock_guard lock(r.mutex);
    r.sleeping = true;
  }
  answer(x, {{"status", "released"}});
}

void checker(Exchange& x, UpdateRoutes& r) {
  const auto body = read_parameters(x);
  if (!body) return;
  FieldReader f(*body);
  std::string action;
  f.read("action", action);
  const Json* baseline = f.get("baseline");
  if (action != "checksum" && action != "compare") {
    f.fail("action", action == "reset" ? "reset would destroy the weights that serve" : "must be checksum or compare");
  } else if (action == "compare" && (baseline == nullptr || !baseline->is_object())) {
    f.fail("baseline", "is missing: the checksums to compare with");
  }
  if (const Status status = f.finish(); !status.ok()) return refuse(x, status.error());
  const auto sums = r.updates.checksums();
  if (!sums.ok()) return refuse(x, sums.error());
  if (action == "checksum") return answer(x, {{"checksums", *sums}});
  Json mismatches = Json::array();
  for (const auto& [name, sum] : *sums) {
    if (!baseline->contains(name) || (*baseline)[name] != sum) mismatches.push_back(name);
  }
  for (const auto& [name, sum] : baseline->items()) {
    if (!sums->contains(name)) mismatches.push_back(name);
  }
  answer(x, {{"match", mismatches.empty()}, {"mismatches", mismatches}});
}

void reset_prefix_cache(Exchange& x, UpdateRoutes& r) {
  const Status status =
      r.context.engine.run_exclusive([](engine::Engine& e) -> Status { return e.flush_prefix_cache(), Status(); });
  if (!status.ok()) return refuse(x, status.error());
  static_cast<void>(x.reply(Reply::empty()));
}

}  // namespace

void add_vllm_update_routes(RouteTable& table, const Routes& routes) {
  const auto handler = [&](void (*handle)(Exchange&, UpdateRoutes&)) -> Handler {
    return [routes, handle](Exchange& x) { handle(x, *routes); };
  };
  table.add("POST", "/start_weight_update", handler(start));
  table.add("POST", "/update_weights", handler(update), {.body_limit = kUnlimitedBody});
  table.add("POST", "/finish_weight_update", handler(finish));
  table.add("POST", "/weight_checker", handler(checker));
  table.add("POST", "/pause", handler(pause));
  table.add("POST", "/resume", handler(resume));
  table.add("POST", "/sleep", handler(sleep));
  table.add("POST", "/wake_up", handler(wake_up));
  table.add("POST", "/release_kv_cache_memory", handler(release_cache));
  table.add("POST", "/reset_prefix_cache", handler(reset_prefix_cache));
  table.add("POST", "/collective_rpc", [](Exchange& x) { refuse(x, failure("{}", kNoTransfer)); });
  table.add("GET", "/is_paused", [routes](Exchange& x) {
    answer(x, {{"is_paused", routes->context.engine.paused()}});
  });
  table.add("GET", "/is_sleeping", [routes](Exchange& x) {
    const std::lock_guard lock(routes->mutex);
    answer(x, {{"is_sleeping", routes->sleeping}});
  });
  table.add("GET", "/weight_info", [routes](Exchange& x) {
    answer(x, {{"weight_version", routes->updates.version().label}});
  });
  table.add("GET", "/get_world_size", [](Exchange& x) { answer(x, {{"world_size", 1}}); });
  for (const char* path :
       {"/init_weight_transfer_engine", "/shutdown_weight_transfer_engine", "/start_draft_weight_update"}) {
    table.add("POST", path, [](Exchange& x) {
      refuse(x, failure("there is no transfer engine and no draft model here; send safetensors to /update_weights "
                        "(docs/rollout.md)"));
    });
  }
}

}  // namespace octavo::serve
