// SGLang's small routes: what the server is, its load, its cache, the end of requests.
#include <chrono>
#include <thread>

#include "octavo/base/text.h"
#include "octavo/base/version.h"
#include "octavo/engine/kv_blocks.h"
#include "octavo/serve/generation.h"
#include "octavo/serve/json_reader.h"
#include "octavo/serve/openai_json.h"
#include "octavo/serve/routes.h"

namespace octavo::serve {
namespace {

constexpr double kMostFlushSeconds = 600;

Json model_info(const ServeContext& context) {
  const ServedModel& m = context.model;
  return {{"model_path", m.path},
          {"tokenizer_path", m.path},
          {"is_generation", true},
          {"preferred_sampling_params", nullptr},
          {"weight_version", context.engine.engine().weight_version().label},
          {"weight_version_number", context.engine.engine().weight_version().number},
          {"has_image_understanding", false},
          {"has_audio_understanding", false},
          {"model_type", m.model_type},
          {"architectures", m.architectures}};
}

Json server_info(const ServeContext& context) {
  const engine::EngineMetrics metrics = context.engine.metrics();
  const engine::EngineOptions& options = context.engine.engine().options();
  return {{"version", version()},
          {"model_path", context.model.path},
          {"served_model_name", context.model.names.front()},
          {"precision", context.model.description},
          {"weight_version", context.engine.engine().weight_version().label},
          {"max_model_len", context.engine.engine().max_model_len()},
          {"max_running_requests", options.max_num_seqs},
          {"chunked_prefill_size", options.max_num_batched_tokens},
          {"max_total_num_tokens", metrics.kv_blocks * engine::kKvBlockTokens},
          {"random_seed", options.seed},
          {"paused", context.engine.paused()}};
}

Json loads(const ServeContext& context) {
  const engine::EngineMetrics m = context.engine.metrics();
  const Json load = {{"dp_rank", 0},
                     {"num_running_reqs", m.running},
                     {"num_waiting_reqs", m.waiting},
                     {"num_used_tokens", m.kv_blocks_used * engine::kKvBlockTokens},
                     {"max_total_num_tokens", m.kv_blocks * engine::kKvBlockTokens},
                     {"token_usage", m.kv_usage()}};
  return {{"version", version()},
          {"dp_rank_count", 1},
          {"loads", Json::array({load})},
          {"aggregate", {{"total_running_reqs", m.running}, {"total_waiting_reqs", m.waiting}}}};
}

// 200 once the cache is forgotten; 400 while requests run, after `timeout` seconds of waiting for them.
Reply flush_cache(Exchange& x, ServeContext& context) {
  double seconds = 0;
  if (const std::string* timeout = x.head().parameter("timeout")) {
    const Result<Json> value = parse_json(*timeout, "timeout");
    if (!value.ok() || !value->is_number() || !(value->get<double>() >= 0)) {
      return Reply::error(400, "timeout: must be seconds");
    }
    seconds = std::min(value->get<double>(), kMostFlushSeconds);
  }
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (;;) {
    std::uint64_t running = 0, waiting = 0;
    const Status status = context.engine.run_exclusive([&](engine::Engine& e) -> Status {
      const engine::EngineMetrics m = e.metrics();
      running = m.running;
      // Requests that wait in a paused engine hold nothing of the cache.
      waiting = e.paused() ? 0 : m.waiting;
      if (running + waiting == 0) e.flush_prefix_cache();
      return {};
    });
    if (!status.ok()) return Reply::error(503, status.error());
    if (running + waiting == 0) return Reply::text("Cache flushed.\n");
    if (std::chrono::steady_clock::now() >= until || context.refusal()) {
      return Reply::text(
          fmt::format("Flush cache failed: {} requests are running and {} are waiting.\n", running, waiting), 400);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

// A rid stands for all that begin with it.
void abort_request(Exchange& x, ServeContext& context) {
  const std::optional<Json> body = read_json_object(x, /*may_be_empty=*/true);
  if (!body) return;
  std::string rid, message;
  bool all = false;
  FieldReader f(*body);
  f.read("rid", rid);
  f.read("abort_all", all);
  f.read("abort_message", message);
  f.ignore({"finished_reason"});
  if (const Status status = f.finish(); !status.ok()) {
    static_cast<void>(x.reply(Reply::error(400, status.error())));
    return;
  }
  if (message.empty()) message = "the request was aborted";
  if (all) {
    context.engine.abort_all(message);
  } else if (!rid.empty()) {
    for (const engine::RequestId id : context.names.with_prefix(rid)) context.engine.abort(id, message);
  }
  static_cast<void>(x.reply(Reply::empty()));
}

// One token, computed.
void health_generate(Exchange& x, ServeContext& context) {
  const auto refuse = [&](std::string_view why) { static_cast<void>(x.reply(Reply::error(503, why))); };
  if (const auto why = context.refusal()) return refuse(*why);
  if (context.engine.paused()) return refuse("generation is paused");
  engine::Request request;
  request.prompt = {0};
  request.max_tokens = 1;
  request.sampling.temperature = 0;
  request.priority = std::numeric_limits<int>::min();
  Generation generation(context, Generation::Wait::kAll);
  const Status status = generation.submit(std::move(request), {"HEALTH_CHECK_" + x.head().id});
  if (!status.ok()) return refuse(status.error().message);
  const auto events = generation.next(x);
  if (!events || events->empty()) return;
  const engine::Event& event = events->front().event;
  if (event.reason == engine::FinishReason::kAbort) return refuse(event.error);
  static_cast<void>(x.reply(Reply::empty()));
}

}  // namespace

void add_sglang_routes(RouteTable& table, ServeContext& context) {
  const auto get = [&](std::string_view path, Json (*answer)(const ServeContext&)) {
    table.add("GET", path,
              [&context, answer](Exchange& x) { static_cast<void>(x.reply(Reply::json(answer(context)))); });
  };
  get("/get_model_info", model_info);
  get("/model_info", model_info);
  get("/server_info", server_info);
  get("/get_server_info", server_info);
  get("/v1/loads", loads);
  table.add_both("/flush_cache", [&context](Exchange& x) { static_cast<void>(x.reply(flush_cache(x, context))); });
  table.add("POST", "/abort_request", [&context](Exchange& x) { abort_request(x, context); });
  table.add("GET", "/health_generate", [&context](Exchange& x) { health_generate(x, context); }, {.without_key = true});
  // slime's own patch of SGLang has it.
  table.add_both("/get_weight_version", [&context](Exchange& x) {
    static_cast<void>(x.reply(Reply::json({{"weight_version", context.engine.engine().weight_version().label}})));
  });
}

}  // namespace octavo::serve
