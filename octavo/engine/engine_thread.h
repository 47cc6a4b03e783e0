// An Engine with the one thread that owns it. Everything here may be called from any thread but the engine's own, where
// (in an EventSink or a function given to run_exclusive) only submit, abort, abort_all and metrics may be called; the
// others fail there, as they would wait for themselves.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "octavo/engine/engine.h"

namespace octavo::engine {

class EngineThread {
 public:
  explicit EngineThread(std::unique_ptr<Engine> engine);  // starts
  ~EngineThread();                                        // shutdown(0)
  EngineThread(const EngineThread&) = delete;
  EngineThread& operator=(const EngineThread&) = delete;

  // The request is checked here, in the caller's thread, and queued; the sink's first call may come before this
  // returns. Refused after shutdown() began.
  Result<RequestId> submit(Request request, EventSink sink);
  // Takes effect between two steps. An id that is unknown or has ended is ignored.
  void abort(RequestId id, std::string why = "the request was aborted");
  void abort_all(std::string why = "the request was aborted");  // all that were submitted before

  // Returns when no step runs any more and what is in flight is as the mode says. New requests queue until resume().
  // kWait fails in an engine that is paused already with requests that have begun: they would never finish.
  Status pause(InFlight mode);
  void resume();
  bool paused() const;

  // Calls `work` on the engine's thread between two steps, and returns what it returned. Paused or not.
  Status run_exclusive(std::function<Status(Engine&)> work);
  // New weights as one act: requests in flight are treated as `mode` says, `write` is called, and, if it succeeded,
  // Engine::weights_changed(mode, label). Its failure leaves version and caches as they were and is returned; with
  // kAbort the aborted requests stay aborted. An engine that was paused stays paused.
  Status update_weights(InFlight mode, std::string label, std::function<Status(Engine&)> write);

  EngineMetrics metrics() const;
  const Engine& engine() const;  // for what Engine says any thread may call

  // Accepts nothing more; finishes what is in flight for at most `drain`, aborts the rest, ends the thread. Idempotent.
  // Pending pauses and updates fail. A paused engine does not drain: its requests are aborted.
  void shutdown(std::chrono::milliseconds drain);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace octavo::engine
