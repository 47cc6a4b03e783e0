// Inside the engine: requests on their way, and what a step needs. For engine*.cc only.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "octavo/base/thread_pool.h"
#include "octavo/engine/block_manager.h"
#include "octavo/engine/engine.h"
#include "octavo/engine/output.h"
#include "octavo/engine/scheduler.h"

namespace octavo::engine {

using Clock = std::chrono::steady_clock;

struct Continuation : Sequence {
  Continuation(RequestState& owner, std::uint64_t number, const text::Tokenizer* tokenizer,
               std::span<const std::int32_t> end_tokens, std::uint64_t limit);

  RequestState& request;
  Sampler sampler;
  Output output;
  std::vector<VersionSpan> versions;
  Clock::time_point last_token;  // or the arrival
};

// A request from prepare() to its last event.
struct RequestState {
  RequestId id = 0;
  Request request;
  EventSink sink;
  std::vector<std::unique_ptr<Continuation>> continuations;  // n
  std::uint64_t unfinished = 0;
  std::uint64_t limit = 0;                          // output tokens of each
  LogprobsMode logprobs_mode = LogprobsMode::kRaw;  // kRaw where both are the same
  // Of continuation 0: the next position whose logprob is wanted, and those that are there.
  std::uint64_t next_scored = 0;
  std::optional<PromptLogprobs> prompt_logprobs;
  Clock::time_point arrived;
  bool begun = false;

  bool scores_prompt() const { return request.prompt_logprobs && next_scored < request.prompt.size(); }
};

// A row of the step whose logits are wanted.
struct LogitRow {
  Continuation* continuation = nullptr;
  std::uint64_t target = 0;  // the position that it predicts: of the prompt, or the next of the output
};

// What was made of such a row.
struct Drawn {
  Sample sample;
  std::string error;
};

struct Engine::State {
  State(Runner runner, const EngineOptions& options);

  // ---- requests (engine.cc)
  std::unique_ptr<RequestState> take(PreparedRequest& request) { return std::move(request.state_); }
  void end_request(RequestState& request, const std::string& why, bool failed = false);
  // Delivers the event; where it is finished, takes the continuation out.
  void emit(Continuation& continuation, Event event);
  void publish_metrics();

  // ---- the step (engine_step.cc)
  Status step();
  void build(const StepPlan& plan);
  void add_rows(const Slice& slice);
  void add_logit_rows(const Slice& slice, std::uint64_t first_row);
  Status read_rows();
  Status read_tile(std::size_t begin, std::size_t count);
  void sample_row(const LogitRow& row, std::span<const float> row_logits, int worker, Drawn& out);
  void accept(const LogitRow& row, Sample sample);
  void accept_prompt(const LogitRow& row, Sample sample);
  void note_version(Continuation& continuation) const;
  void fail_step(const StepPlan& plan, const Error& error);

  const EngineOptions options;
  Runner runner;
  const std::uint64_t vocab;
  const bool dynamic_rope;
  const std::optional<text::Tokenizer> tokenizer;  // a copy that any thread may use
  const std::vector<std::int32_t> end_tokens;
  backend::KvShape kv;  // of the cache, also while it is released
  BlockManager blocks;
  Scheduler scheduler;
  std::map<RequestId, std::unique_ptr<RequestState>> requests;
  std::vector<std::unique_ptr<RequestState>> ended;  // in this step: its rows may still name them
  std::uint64_t arrivals = 0;
  std::uint64_t hold_from = ~std::uint64_t{0};
  mutable std::atomic<RequestId> ids{0};

  model::BatchPlan batch;
  std::vector<LogitRow> rows;
  ThreadPool pool;                                 // samples rows beside each other
  std::vector<SamplerScratch> scratch;             // one a thread
  std::vector<float> logits;                       // [kLogitRows, vocab]
  std::unique_ptr<backend::Buffer> device_logits;  // the same, to ask the backend for logprobs

  EngineMetrics live;
  WeightVersion version;
  mutable std::mutex shared_mutex;
  EngineMetrics shared_metrics;  // guarded by shared_mutex
  WeightVersion shared_version;  // guarded by shared_mutex
};

}  // namespace octavo::engine
