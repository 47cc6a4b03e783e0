// What SGLang's and vLLM's routes share, and our own.
#include "octavo/serve/update_routes.h"

#include "octavo/base/text.h"
#include "octavo/serve/update_state.h"

namespace octavo::serve {
namespace {

using engine::InFlight;
using rollout::CommitResult;
using rollout::UpdateManager;

constexpr std::size_t kRead = 1 << 20;
constexpr std::size_t kLongestJson = 64 << 10;  // of a body that names a path
constexpr std::size_t kLengthBytes = 8;         // that a safetensors file begins with
constexpr const char* kPaused = "the engine is paused; /resume ends that";
constexpr const char* kAsleep = "the engine is asleep; /wake_up ends that";

// Whether a body that begins so is a JSON object: the client says it, or its first bytes do, as safetensors has its '{'
// behind eight bytes of length.
bool is_json(const RequestHead& head, std::span<const std::byte> first) {
  const std::string* type = head.header("content-type");
  if (type != nullptr && type->starts_with("application/json")) return true;
  if (type != nullptr && type->starts_with("application/octet-stream")) return false;
  const auto is = [&](std::size_t at, char c) { return first.size() > at && first[at] == static_cast<std::byte>(c); };
  return is(0, '{') && !is(kLengthBytes, '{');
}

// {"path": ...}, also within vLLM's "update_info".
Result<std::string> path_of(std::string_view text) {
  OCTAVO_ASSIGN(const Json body, parse_json(text, "body"));
  const Json* named = body.is_object() && body.contains("update_info") ? &body["update_info"] : &body;
  if (named->is_object() && named->contains("path") && (*named)["path"].is_string()) {
    return (*named)["path"].get<std::string>();
  }
  return failure(
      "tensors come as a safetensors body (Content-Type: application/octet-stream) or as {{\"path\": ...}} of a "
      "safetensors file; pickled tensors, NCCL and CUDA IPC are not read");
}

Status receive_body(Exchange& x, const rollout::TensorReceiver& to) {
  std::vector<std::byte> buffer(kRead);
  std::size_t filled = 0;
  const auto read = [&]() -> Result<std::size_t> {
    OCTAVO_ASSIGN(const std::size_t count, x.body().read(std::span(buffer).subspan(filled)));
    filled += count;
    return count;
  };
  bool ended = false;
  while (!ended && filled <= kLengthBytes) {
    OCTAVO_ASSIGN(const std::size_t count, read());
    ended = count == 0;
  }
  if (is_json(x.head(), std::span(buffer).first(filled))) {
    while (!ended && filled <= kLongestJson) {
      OCTAVO_ASSIGN(const std::size_t count, read());
      ended = count == 0;
    }
    if (!ended) return failure("the body is JSON of more than {} bytes", kLongestJson);
    OCTAVO_ASSIGN(const std::string path, path_of({reinterpret_cast<const char*>(buffer.data()), filled}));
    return rollout::send_path(path, to);
  }
  rollout::SafetensorsStream stream(to, "body");
  while (filled > 0) {
    OCTAVO_TRY(stream.push(std::span(buffer).first(filled)));
    filled = 0;
    if (!ended) OCTAVO_TRY(read());
  }
  return stream.finish();
}

Json state_json(UpdateRoutes& routes) {
  const engine::WeightVersion version = routes.updates.version();
  const std::string failed = routes.updates.last_failure();
  return {{"state", std::string(rollout::state_name(routes.updates.state()))},
          {"weight_version", version.label},
          {"weight_version_number", version.number},
          {"last_failure", failed.empty() ? Json() : Json(failed)},
          {"policy", std::string(rollout::policy_name(routes.options.policy))},
          {"timeout_seconds", std::chrono::duration<double>(routes.options.manager.timeout).count()}};
}

Json parameters_json(UpdateRoutes& routes) {
  Json out = Json::array();
  for (const rollout::TensorInfo& p : routes.updates.parameters()) {
    out.push_back({{"name", p.name}, {"dtype", std::string(dtype_name(p.dtype))}, {"shape", p.shape}});
  }
  return {{"parameters", std::move(out)}};
}

// No handler is called here, so that `routes` may be null where only the paths are wanted.
void add_all(RouteTable& table, const std::shared_ptr<UpdateRoutes>& routes) {
  add_sglang_update_routes(table, routes);
  add_vllm_update_routes(table, routes);
  table.add("GET", "/weight_update",
            [routes](Exchange& x) { static_cast<void>(x.reply(Reply::json(state_json(*routes)))); });
  table.add("GET", "/weight_parameters",
            [routes](Exchange& x) { static_cast<void>(x.reply(Reply::json(parameters_json(*routes)))); });
  table.add("POST", "/abort_weight_update", [routes](Exchange& x) {
    const auto id = routes->updates.open();
    const bool ended = id && routes->updates.abort_waiting(*id, "a client aborted it");
    Json reply = state_json(*routes);
    reply["aborted"] = ended;
    static_cast<void>(x.reply(Reply::json(reply)));
  });
}

}  // namespace

Status UpdateRoutes::receive(Exchange& x, UpdateManager::Transaction id) {
  const Status status = receive_body(x, updates.receiver(id));
  if (!status.ok()) updates.abort(id, status.error().message);
  return status;
}

Result<InFlight> UpdateRoutes::policy(const AskedPolicy& asked) const {
  if (!asked.name.empty()) return rollout::find_policy(asked.name);
  {
    const std::lock_guard lock(mutex);
    if (paused_for == InFlight::kInPlace || paused_for == InFlight::kRecompute) return *paused_for;
  }
  return asked.keep ? InFlight::kRecompute : options.policy;
}

Result<CommitResult> UpdateRoutes::commit(const AskedPolicy& asked, std::optional<std::string> label) {
  const auto id = updates.open();
  if (!id) return none_open("no weight update is open");
  return commit(*id, asked, std::move(label));
}

Result<CommitResult> UpdateRoutes::commit(UpdateManager::Transaction id, const AskedPolicy& asked,
                                          std::optional<std::string> label) {
  OCTAVO_ASSIGN(const InFlight in_flight, policy(asked));
  return updates.commit(id, in_flight, std::move(label));
}

Error UpdateRoutes::none_open(std::string_view sentence) const {
  const std::string last = updates.last_failure();
  return last.empty() ? failure("{}", sentence) : failure("{}; {}", sentence, last);
}

// The gate closes first, so that no request comes between.
Status UpdateRoutes::hold(InFlight mode, bool refuse_new, std::string why) {
  const std::optional<std::string> before = context.refusal();
  if (refuse_new) context.refuse_new(std::move(why));
  Status status = context.engine.pause(mode);
  if (status.ok()) {
    const std::lock_guard lock(mutex);
    paused_for = mode;
  } else if (refuse_new && before) {
    context.refuse_new(*before);
  } else if (refuse_new) {
    context.accept_new();
  }
  return status;
}

Status UpdateRoutes::pause(InFlight mode, bool refuse_new) {
  bool asleep = false;
  {
    const std::lock_guard lock(mutex);
    asleep = sleeping;
  }
  return hold(mode, refuse_new, asleep ? kAsleep : kPaused);
}

Status UpdateRoutes::resume() {
  {
    const std::lock_guard lock(mutex);
    if (sleeping) return failure("{}", kAsleep);
  }
  context.engine.resume();
  {
    const std::lock_guard lock(mutex);
    paused_for.reset();
  }
  context.accept_new();
  return {};
}

Status UpdateRoutes::release_memory() {
  OCTAVO_TRY(updates.release_memory());
  const std::lock_guard lock(mutex);
  // Keys and values went with the cache, so that nothing can be kept in place.
  if (paused_for == InFlight::kInPlace) paused_for = InFlight::kRecompute;
  return {};
}

Status UpdateRoutes::sleep(std::uint64_t level, InFlight mode) {
  // Before requests are aborted for a sleep that cannot be.
  if (const auto id = updates.open(); id && level > 0) {
    return failure("weight update {} is open: end or abort it first", *id);
  }
  const bool was_paused = context.engine.paused();
  OCTAVO_TRY(hold(mode, mode != InFlight::kInPlace, kAsleep));
  if (level > 0) {
    if (Status released = release_memory(); !released.ok()) {
      if (!was_paused) static_cast<void>(resume());
      return released;
    }
  }
  const std::lock_guard lock(mutex);
  sleeping = true;
  return {};
}

Status UpdateRoutes::wake() {
  OCTAVO_TRY(updates.resume_memory());
  {
    const std::lock_guard lock(mutex);
    sleeping = false;
  }
  return resume();
}

std::vector<std::string> memory_tags(FieldReader& f) {
  std::vector<std::string> tags;
  f.strings("tags", tags);
  for (const std::string& tag : tags) {
    if (tag != "weights" && tag != "kv_cache" && tag != "cuda_graph") {
      f.fail("tags", fmt::format("\"{}\" is none of weights, kv_cache, cuda_graph", printable(tag)));
    }
  }
  return tags;
}

Json commit_json(const CommitResult& r) {
  return {{"weight_version", r.version.label},
          {"weight_version_number", r.version.number},
          {"in_flight", std::string(rollout::policy_name(r.policy))},
          {"parameters", r.summary.parameters},
          {"kept", r.summary.kept},
          {"bytes", r.summary.source_bytes},
          {"seconds", r.seconds},
          {"commit_seconds", r.commit_seconds}};
}

std::string commit_sentence(const CommitResult& r) {
  return fmt::format("weight version {} ({}) serves: {} parameters from {} in {:.2f} s; requests in flight: {}",
                     r.version.number, printable(r.version.label), r.summary.parameters,
                     human_bytes(r.summary.source_bytes), r.seconds, rollout::policy_name(r.policy));
}

Json query_parameters(const RequestHead& head) {
  Json out = Json::object();
  for (const auto& [name, value] : head.query) {
    const auto json = parse_json(value, "query");
    const bool plain = json.ok() && (json->is_number() || json->is_boolean() || json->is_null());
    // Of a name that repeats (tags=weights&tags=kv_cache) a list.
    const Json one = plain ? *json : Json(value);
    if (!out.contains(name)) {
      out[name] = one;
    } else if (out[name].is_array()) {
      out[name].push_back(one);
    } else {
      out[name] = Json::array({out[name], one});
    }
  }
  return out;
}

std::optional<Json> read_parameters(Exchange& x) {
  std::optional<Json> body = read_json_object(x, /*may_be_empty=*/true);
  if (body && body->empty()) return query_parameters(x.head());
  return body;
}

void add_update_routes(RouteTable& table, ServeContext& context, const UpdateRouteOptions& options) {
  add_all(table, std::make_shared<UpdateRoutes>(context, options));
}

void add_absent_update_routes(RouteTable& table, std::string_view flag) {
  RouteTable all;
  add_all(all, nullptr);  // for its paths
  for (const std::string& path : all.paths()) {
    const std::string why =
        fmt::format("there is no route {}: {} turned off those of weight updates, pauses and memory", path, flag);
    const Handler refuse = [why](Exchange& x) { static_cast<void>(x.reply(Reply::error(404, why))); };
    table.add_both(path, refuse, {.body_limit = kUnlimitedBody});  // the sentence, not that a body is long
  }
}

}  // namespace octavo::serve
