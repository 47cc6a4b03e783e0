// The engine: continuous batching over a Runner, one step() at a time. CONTRACT.md says what it promises.
//
//   Engine engine = ...;  auto prepared = engine.prepare(request, sink);  engine.add(std::move(*prepared));
//   while (engine.has_work()) engine.step();          // events arrive in `sink`
//
// One thread owns it. A server uses EngineThread (engine_thread.h), which is that thread. Only what says so here may be
// called from others. A sink must not call the Engine that called it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "octavo/engine/engine_metrics.h"
#include "octavo/engine/engine_options.h"
#include "octavo/engine/request.h"

namespace octavo::engine {

// What becomes of requests in flight when the weights change or the engine pauses.
enum class InFlight : std::uint8_t {
  kAbort,      // they end, with what they have (vLLM abort, SGLang abort)
  kWait,       // those submitted before are finished first; later ones queue (vLLM wait)
  kRecompute,  // they go on: tokens stay, keys and values are computed again (SGLang retract)
  kInPlace,    // they go on with their keys and values as they are (vLLM keep, SGLang in_place)
};

struct WeightVersion {
  std::uint64_t number = 1;  // + 1 with every update
  std::string label = "default";
};

struct RequestState;

// A request that was checked and is ready to be added. Movable; made by Engine::prepare.
class PreparedRequest {
 public:
  PreparedRequest(PreparedRequest&&) noexcept;
  PreparedRequest& operator=(PreparedRequest&&) noexcept;
  ~PreparedRequest();
  RequestId id() const;

 private:
  friend class Engine;
  explicit PreparedRequest(std::unique_ptr<RequestState> state);
  std::unique_ptr<RequestState> state_;
};

class Engine {
 public:
  // Opens the folder with a cache of the size that fits.
  static Result<std::unique_ptr<Engine>> open(RunnerFolder folder, const RunnerOptions& runner,
                                              const EngineOptions& options);
  // Takes a runner that is open, with the cache it has: it must hold a sequence of max_model_len (0: runner.context).
  static Result<std::unique_ptr<Engine>> create(Runner runner, const EngineOptions& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // ---- requests
  // Any thread. Checks the request and does what takes long (its prompt goes through the detokenizer). Refused, each
  // with one sentence: an empty prompt, one that leaves no room in the context, ids outside the vocabulary, sampling
  // parameters out of range, n = 0 or more than max_num_seqs... whatever could not run.
  Result<PreparedRequest> prepare(Request request, EventSink sink) const;
  void add(PreparedRequest request);
  // Ends a request with FinishReason::kAbort and `why` as the event's error. False: no such request (it has ended).
  bool abort(RequestId id, std::string why = "the request was aborted");
  std::uint64_t abort_all(std::string why = "the request was aborted");  // how many

  // ---- steps
  bool has_work() const;  // step() would compute something
  // One step: plan, compute, sample, events. A failure of the model ends the requests that were in the step with the
  // failure as their error, and is returned; the engine goes on with the others.
  Status step();
  std::uint64_t unfinished() const;  // requests

  // ---- flow
  void set_paused(bool paused) { paused_ = paused; }  // paused: no steps; requests queue
  bool paused() const { return paused_; }
  // Running requests go back to the queue and give their blocks back; their tokens stay.
  void retract_all();
  // From now on only requests that were added before this call are admitted, until release_hold().
  void hold_new();
  void release_hold();
  std::uint64_t held_back() const;  // requests that wait because of hold_new()
  std::uint64_t begun() const;      // requests that have been admitted and are not finished
  // Forgets every cached prefix; running requests keep their blocks. Texts do not change by it.
  void flush_prefix_cache();

  // ---- weights
  WeightVersion weight_version() const;  // any thread
  // To be called when the weights have been changed: the version is number + 1 with this label, and no cached prefix of
  // the old one is used again. What runs is treated as `in_flight` says; kWait is refused while something runs.
  Status weights_changed(InFlight in_flight, std::string label);
  // Renames the version that serves; nothing else changes.
  void set_weight_label(std::string label);
  // Between steps the owner may read and write the weights through it. Not its cache.
  Runner& runner();

  // ---- memory
  // Gives the KV cache's memory back; running requests go to the queue. No steps until restore_kv_cache().
  void release_kv_cache();
  Status restore_kv_cache();
  bool has_kv_cache() const;

  // ---- facts; any thread
  const EngineOptions& options() const;
  std::uint64_t max_model_len() const;
  std::uint64_t kv_blocks() const;
  EngineMetrics metrics() const;

 private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);
  bool paused_ = false;
  std::unique_ptr<State> state_;
};

}  // namespace octavo::engine
