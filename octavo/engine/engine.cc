// Requests in and out, and what happens between steps.
#include "octavo/engine/engine.h"

#include <algorithm>
#include <cmath>

#include "octavo/base/workers.h"
#include "octavo/engine/engine_state.h"
#include "octavo/engine/random.h"

namespace octavo::engine {
namespace {

constexpr std::uint64_t kMaxContinuations = 1024;  // each has a copy of the prompt

Status check_ids(std::span<const std::int32_t> ids, std::uint64_t vocab, std::string_view what) {
  for (const std::int32_t id : ids) {
    if (id < 0 || static_cast<std::uint64_t>(id) >= vocab) {
      return failure("token id {} of {} is outside the model's vocabulary of {}", id, what, vocab);
    }
  }
  return {};
}

Status check_top(std::int64_t top, int most, std::string_view name) {
  if (top < 0) return usage_error("{} {}: must be 0 or more", name, top);
  if (most >= 0 && top > most) return usage_error("{} {}: more than max_logprobs, {}", name, top, most);
  return {};
}

}  // namespace

Continuation::Continuation(RequestState& owner, std::uint64_t number, const text::Tokenizer* tokenizer,
                           std::span<const std::int32_t> end_tokens, std::uint64_t limit)
    : request(owner),
      sampler(owner.request.sampling, number, end_tokens),
      output(owner.request, tokenizer, end_tokens, limit) {
  priority = owner.request.priority;
  index = number;
  tokens = owner.request.prompt;
}

PreparedRequest::PreparedRequest(std::unique_ptr<RequestState> state) : state_(std::move(state)) {}
PreparedRequest::PreparedRequest(PreparedRequest&&) noexcept = default;
PreparedRequest& PreparedRequest::operator=(PreparedRequest&&) noexcept = default;
PreparedRequest::~PreparedRequest() = default;
RequestId PreparedRequest::id() const { return state_->id; }

Engine::State::State(Runner opened, const EngineOptions& wanted)
    : options(wanted),
      runner(std::move(opened)),
      vocab(runner.config().vocab),
      dynamic_rope(runner.config().rope.kind == model::RopeConfig::Kind::kDynamic),
      tokenizer(runner.tokenizer),
      end_tokens(runner.end_tokens),
      kv(runner.cache->shape()),
      blocks(kv.blocks),
      scheduler({.max_num_batched_tokens = options.max_num_batched_tokens,
                 .max_num_seqs = options.max_num_seqs,
                 .max_overtakes = options.max_overtakes},
                blocks),
      pool(worker_count(options.sampling_threads)),
      scratch(static_cast<std::size_t>(pool.threads())) {
  version.label = options.weight_version;
  shared_version = version;
  publish_metrics();
}

Engine::Engine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::open(RunnerFolder folder, const RunnerOptions& base,
                                             const EngineOptions& options) {
  OCTAVO_TRY(check_engine_options(options));
  OCTAVO_ASSIGN(Runner runner, open_runner(std::move(folder), runner_options(options, base)));
  OCTAVO_TRY(size_kv_cache(runner, options));
  return create(std::move(runner), options);
}

Result<std::unique_ptr<Engine>> Engine::create(Runner runner, const EngineOptions& options) {
  OCTAVO_TRY(check_engine_options(options));
  if (options.max_num_batched_tokens > runner.step_tokens) {
    return failure("max_num_batched_tokens {}: the model was opened for steps of {} tokens",
                   options.max_num_batched_tokens, runner.step_tokens);
  }
  if (options.max_model_len > runner.context) {
    return failure("max_model_len {}: the model was opened for {}", options.max_model_len, runner.context);
  }
  if (options.max_model_len != 0) runner.context = options.max_model_len;
  const std::uint64_t room = runner.cache->shape().blocks * kKvBlockTokens;
  if (room < runner.context) {
    return failure("a KV cache of {} tokens cannot hold a sequence of {}", room, runner.context);
  }
  runner.cached.clear();  // its blocks are used here
  return std::unique_ptr<Engine>(new Engine(std::make_unique<State>(std::move(runner), options)));
}

// ---- requests

Result<PreparedRequest> Engine::prepare(Request r, EventSink sink) const {
  const State& s = *state_;
  const std::uint64_t context = max_model_len();
  if (r.prompt.empty()) return failure("the prompt is empty: a model needs at least one token to go on from");
  const std::uint64_t room = context - std::min<std::uint64_t>(context, r.prompt.size());
  if (r.prompt.size() > context || (room == 0 && r.max_tokens != 0)) {
    return failure("the prompt has {} tokens, which leaves no room in the context of {}", r.prompt.size(), context);
  }
  OCTAVO_TRY(check_ids(r.prompt, s.vocab, "the prompt"));
  OCTAVO_TRY(check_sampling(r.sampling));
  OCTAVO_TRY(check_ids(r.sampling.stop_token_ids, s.vocab, "stop_token_ids"));
  std::vector<std::int32_t> biased;
  for (const auto& [id, bias] : r.sampling.logit_bias) biased.push_back(id);
  OCTAVO_TRY(check_ids(biased, s.vocab, "logit_bias"));
  std::sort(biased.begin(), biased.end());
  if (const auto twice = std::adjacent_find(biased.begin(), biased.end()); twice != biased.end()) {
    return usage_error("logit_bias: token {} stands there twice", *twice);
  }
  if (r.max_tokens && r.sampling.min_tokens > *r.max_tokens) {
    return usage_error("min_tokens {}: more than max_tokens, {}", r.sampling.min_tokens, *r.max_tokens);
  }
  if (r.n == 0 || r.n > kMaxContinuations) return usage_error("n {}: must be from 1 to {}", r.n, kMaxContinuations);
  if (std::any_of(r.stop.begin(), r.stop.end(), [](const std::string& text) { return text.empty(); })) {
    return usage_error("stop: an empty text would end the output before it begins");
  }
  if (!r.stop.empty() && !s.tokenizer) return failure("stop needs a tokenizer, and the model has none");
  if (!r.stop.empty() && !r.detokenize) return usage_error("stop: without detokenize there is no text to stop at");
  if (r.logprobs) OCTAVO_TRY(check_top(*r.logprobs, s.options.max_logprobs, "logprobs"));
  if (r.prompt_logprobs) {
    OCTAVO_TRY(check_top(r.prompt_logprobs->top, s.options.max_logprobs, "prompt_logprobs"));
    if (r.prompt_logprobs->start > r.prompt.size()) {
      return usage_error("prompt_logprobs from position {}: the prompt has {} tokens", r.prompt_logprobs->start,
                         r.prompt.size());
    }
  }

  auto state = std::make_unique<RequestState>();
  RequestState& p = *state;
  p.id = ++s.ids;
  p.request = std::move(r);
  p.sink = std::move(sink);
  p.arrived = Clock::now();
  Request& own = p.request;
  p.limit = std::min(own.max_tokens.value_or(room), room);
  if (!own.sampling.seed) {
    const PhiloxCounter drawn =
        philox({static_cast<std::uint32_t>(p.id), static_cast<std::uint32_t>(p.id >> 32), 0, 0},
               {static_cast<std::uint32_t>(s.options.seed), static_cast<std::uint32_t>(s.options.seed >> 32)});
    own.sampling.seed = std::uint64_t{drawn[0]} << 32 | drawn[1];
  }
  p.logprobs_mode = reports_raw(own.sampling, own.logprobs_mode) ? LogprobsMode::kRaw : own.logprobs_mode;
  if (own.prompt_logprobs) {
    p.next_scored = std::max<std::uint64_t>(own.prompt_logprobs->start, 1);
    p.prompt_logprobs = PromptLogprobs{.start = p.next_scored, .entries = {}};
  }
  // Blocks are shared where the salt is the same. With dynamic rope keys depend on the prompt's length.
  std::string salt = s.options.enable_prefix_caching ? "salt:" + own.cache_salt : fmt::format("request:{}", p.id);
  if (s.dynamic_rope) salt = fmt::format("length:{} {}", own.prompt.size(), salt);
  const text::Tokenizer* tokenizer = s.tokenizer ? &*s.tokenizer : nullptr;
  for (std::uint64_t i = 0; i < own.n; ++i) {
    p.continuations.push_back(std::make_unique<Continuation>(p, i, tokenizer, s.end_tokens, p.limit));
    p.continuations.back()->chain.salt = salt;
  }
  if (p.scores_prompt()) p.continuations.front()->first_row = p.next_scored - 1;
  p.unfinished = own.n;
  return PreparedRequest(std::move(state));
}

void Engine::add(PreparedRequest request) {
  State& s = *state_;
  std::unique_ptr<RequestState> p = s.take(request);
  const std::uint64_t arrival = s.arrivals++;
  for (const auto& c : p->continuations) {
    c->arrival = arrival;
    c->last_token = p->arrived;
    s.scheduler.add(*c);
  }
  s.requests.emplace(p->id, std::move(p));
  s.publish_metrics();
}

// Aborts what is unfinished of it.
void Engine::State::end_request(RequestState& request, const std::string& why, bool failed) {
  for (std::size_t i = 0; i < request.continuations.size() && request.unfinished > 0; ++i) {
    Continuation& c = *request.continuations[i];
    if (c.state == SequenceState::kFinished) continue;
    Event event;
    event.text = c.output.finish();
    event.finished = true;
    event.reason = FinishReason::kAbort;
    event.error = why;
    event.failed = failed;
    emit(c, std::move(event));
  }
}

void Engine::State::emit(Continuation& c, Event event) {
  RequestState& p = c.request;
  event.id = p.id;
  event.index = c.index;
  event.usage = {.prompt_tokens = p.request.prompt.size(),
                 .cached_tokens = c.cached,
                 .completion_tokens = c.output.count(),
                 .preemptions = c.preemptions};
  event.versions = c.versions;
  if (c.index == 0 && p.prompt_logprobs) {
    event.prompt_logprobs = std::move(p.prompt_logprobs);
    p.prompt_logprobs.reset();
  }
  if (event.finished) {
    scheduler.remove(c);
    event.all_finished = --p.unfinished == 0;
    ++live.finished[static_cast<std::size_t>(event.reason)];
  }
  const bool last = event.all_finished;
  if (p.sink) p.sink(std::move(event));
  if (!last) return;
  live.e2e_latency.observe(std::chrono::duration<double>(Clock::now() - p.arrived).count());
  const auto found = requests.find(p.id);
  ended.push_back(std::move(found->second));
  requests.erase(found);
}

bool Engine::abort(RequestId id, std::string why) {
  State& s = *state_;
  const auto found = s.requests.find(id);
  if (found == s.requests.end()) return false;
  s.end_request(*found->second, why);
  s.ended.clear();
  s.publish_metrics();
  return true;
}

std::uint64_t Engine::abort_all(std::string why) {
  State& s = *state_;
  std::uint64_t count = 0;
  for (; !s.requests.empty(); ++count) s.end_request(*s.requests.begin()->second, why);
  s.ended.clear();
  s.publish_metrics();
  return count;
}

// ---- flow

bool Engine::has_work() const { return !paused_ && state_->runner.cache && state_->scheduler.has_work(); }

Status Engine::step() {
  if (!has_work()) return {};
  const Status status = state_->step();
  state_->ended.clear();
  state_->publish_metrics();
  return status;
}

std::uint64_t Engine::unfinished() const { return state_->requests.size(); }

void Engine::retract_all() {
  state_->live.preemptions += state_->scheduler.running();
  state_->scheduler.retract_all();
  state_->publish_metrics();
}

void Engine::hold_new() {
  state_->hold_from = state_->arrivals;
  state_->scheduler.hold_from(state_->hold_from);
}

void Engine::release_hold() {
  state_->hold_from = ~std::uint64_t{0};
  state_->scheduler.release_hold();
}

std::uint64_t Engine::held_back() const {
  std::uint64_t count = 0;
  for (const auto& [id, request] : state_->requests) {
    if (request->continuations.front()->arrival >= state_->hold_from) ++count;
  }
  return count;
}

std::uint64_t Engine::begun() const {
  const auto& all = state_->requests;
  return static_cast<std::uint64_t>(
      std::count_if(all.begin(), all.end(), [](const auto& e) { return e.second->begun; }));
}

void Engine::flush_prefix_cache() { state_->blocks.reset(); }

// ---- weights

WeightVersion Engine::weight_version() const {
  const std::lock_guard lock(state_->shared_mutex);
  return state_->shared_version;
}

Status Engine::weights_changed(InFlight in_flight, std::string label) {
  State& s = *state_;
  if (in_flight == InFlight::kWait) {
    for (const auto& [id, request] : s.requests) {
      if (request->begun) return failure("request {} has begun with the old weights and is not finished", id);
    }
  }
  if (in_flight == InFlight::kAbort) abort_all("the weights were changed");
  if (in_flight == InFlight::kRecompute) retract_all();
  s.blocks.reset();
  ++s.version.number;
  s.version.label = std::move(label);
  ++s.live.weight_updates;
  s.publish_metrics();
  return {};
}

void Engine::set_weight_label(std::string label) {
  state_->version.label = std::move(label);
  state_->publish_metrics();
}

Runner& Engine::runner() { return state_->runner; }

// ---- memory

void Engine::release_kv_cache() {
  retract_all();
  state_->blocks.reset();
  state_->runner.cache.reset();
}

Status Engine::restore_kv_cache() {
  State& s = *state_;
  if (s.runner.cache) return {};
  OCTAVO_ASSIGN(s.runner.cache, s.runner.decoder->create_kv_cache(s.kv.blocks, s.kv.dtype, s.kv.block_size));
  return {};
}

bool Engine::has_kv_cache() const { return state_->runner.cache != nullptr; }

// ---- facts

const EngineOptions& Engine::options() const { return state_->options; }
std::uint64_t Engine::max_model_len() const { return state_->runner.context; }
std::uint64_t Engine::kv_blocks() const { return state_->kv.blocks; }

EngineMetrics Engine::metrics() const {
  const std::lock_guard lock(state_->shared_mutex);
  return state_->shared_metrics;
}

void Engine::State::publish_metrics() {
  live.running = scheduler.running();
  live.waiting = scheduler.waiting();
  live.kv_blocks = blocks.total();
  live.kv_blocks_used = blocks.used();
  live.prefix_queries = scheduler.prefix_queries();
  live.prefix_hits = scheduler.prefix_hits();
  live.weight_version = version.number;
  const std::lock_guard lock(shared_mutex);
  shared_metrics = live;
  shared_version = version;
}

}  // namespace octavo::engine
