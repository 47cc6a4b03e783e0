// A queue of what others want done between steps, and the loop that does it.
#include "octavo/engine/engine_thread.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace octavo::engine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kShuttingDown = "the engine is shutting down";

// Something to be done between steps that somebody waits for.
struct Act {
  bool after_those_before = false;  // InFlight::kWait: first the requests that were submitted before it
  std::function<Status(Engine&)> work;
  std::promise<Status> done;
};

}  // namespace

struct EngineThread::State {
  explicit State(std::unique_ptr<Engine> owned) : engine(std::move(owned)) {}

  Status wait_for(bool after_those_before, std::function<Status(Engine&)> work);
  bool post(std::function<void()> command);
  bool in_engine_thread() const { return std::this_thread::get_id() == owner; }
  void loop();
  void begin(std::shared_ptr<Act> act);
  void run_acts();
  void finish(Act& act);
  void fail_acts();

  const std::unique_ptr<Engine> engine;
  std::atomic<bool> paused{false};

  std::mutex mutex;
  std::condition_variable wake;
  std::vector<std::function<void()>> commands;  // guarded by mutex; run on the engine's thread, in order
  bool stopping = false;                        // guarded by mutex
  Clock::time_point deadline;                   // guarded by mutex; of draining

  std::deque<std::shared_ptr<Act>> acts;  // the engine's thread's own: those that wait for requests to finish
  std::thread thread;
  std::thread::id owner;  // set before the loop begins
  std::once_flag joined;
};

bool EngineThread::State::post(std::function<void()> command) {
  {
    const std::lock_guard lock(mutex);
    if (stopping) return false;
    commands.push_back(std::move(command));
  }
  wake.notify_one();
  return true;
}

Status EngineThread::State::wait_for(bool after_those_before, std::function<Status(Engine&)> work) {
  if (in_engine_thread()) return failure("the engine's own thread cannot wait for itself");
  auto act = std::make_shared<Act>();
  act->after_those_before = after_those_before;
  act->work = std::move(work);
  std::future<Status> done = act->done.get_future();
  if (!post([this, act] { begin(act); })) return failure("{}", kShuttingDown);
  return done.get();
}

void EngineThread::State::finish(Act& act) {
  const Status status = act.work(*engine);
  paused = engine->paused();
  act.done.set_value(status);
}

void EngineThread::State::begin(std::shared_ptr<Act> act) {
  if (!act->after_those_before) return finish(*act);
  if (engine->paused()) {
    if (const std::uint64_t begun = engine->begun(); begun > 0) {
      act->done.set_value(
          failure("the engine is paused with {} requests that have begun: they cannot be waited for", begun));
      return;
    }
    return finish(*act);
  }
  // Acts that wait go one after the other; requests that come between two of them belong to the second.
  if (acts.empty()) engine->hold_new();
  acts.push_back(std::move(act));
}

void EngineThread::State::run_acts() {
  while (!acts.empty() && engine->unfinished() == engine->held_back()) {
    finish(*acts.front());
    acts.pop_front();
    engine->release_hold();
    if (!acts.empty()) engine->hold_new();
  }
}

void EngineThread::State::fail_acts() {
  for (const auto& act : acts) act->done.set_value(failure("{}", kShuttingDown));
  acts.clear();
  engine->release_hold();
}

void EngineThread::State::loop() {
  std::vector<std::function<void()>> now;
  for (;;) {
    const bool work = engine->has_work();
    bool stop = false;
    Clock::time_point drain_until;
    {
      std::unique_lock lock(mutex);
      if (!work) wake.wait(lock, [&] { return !commands.empty() || stopping; });
      now.swap(commands);
      stop = stopping;
      drain_until = deadline;
    }
    for (const auto& command : now) command();
    now.clear();
    run_acts();
    if (stop) {
      fail_acts();
      if (!engine->has_work() || Clock::now() >= drain_until) {
        engine->abort_all(kShuttingDown);
        return;
      }
    }
    // A failed step has told its requests; the others go on.
    static_cast<void>(engine->step());
    run_acts();
  }
}

EngineThread::EngineThread(std::unique_ptr<Engine> engine) : state_(std::make_unique<State>(std::move(engine))) {
  state_->paused = state_->engine->paused();
  // Under the lock, so that the loop begins when `owner` is set.
  const std::lock_guard lock(state_->mutex);
  state_->thread = std::thread([state = state_.get()] {
    { const std::lock_guard wait(state->mutex); }
    state->loop();
  });
  state_->owner = state_->thread.get_id();
}

EngineThread::~EngineThread() { shutdown(std::chrono::milliseconds(0)); }

Result<RequestId> EngineThread::submit(Request request, EventSink sink) {
  OCTAVO_ASSIGN(PreparedRequest prepared, state_->engine->prepare(std::move(request), std::move(sink)));
  const RequestId id = prepared.id();
  const auto shared = std::make_shared<PreparedRequest>(std::move(prepared));  // std::function must be copyable
  if (!state_->post([state = state_.get(), shared] { state->engine->add(std::move(*shared)); })) {
    return failure("{}", kShuttingDown);
  }
  return id;
}

void EngineThread::abort(RequestId id, std::string why) {
  state_->post([state = state_.get(), id, why = std::move(why)] { state->engine->abort(id, why); });
}

void EngineThread::abort_all(std::string why) {
  state_->post([state = state_.get(), why = std::move(why)] { state->engine->abort_all(why); });
}

Status EngineThread::pause(InFlight mode) {
  return state_->wait_for(mode == InFlight::kWait, [mode](Engine& engine) -> Status {
    if (mode == InFlight::kAbort) engine.abort_all("the engine was paused");
    if (mode == InFlight::kRecompute) engine.retract_all();
    engine.set_paused(true);
    return {};
  });
}

void EngineThread::resume() {
  const Status status = state_->wait_for(false, [](Engine& engine) -> Status {
    engine.set_paused(false);
    return {};
  });
  static_cast<void>(status);  // it fails only where nothing can be resumed any more
}

bool EngineThread::paused() const { return state_->paused; }

Status EngineThread::run_exclusive(std::function<Status(Engine&)> work) {
  return state_->wait_for(false, std::move(work));
}

Status EngineThread::update_weights(InFlight mode, std::string label, std::function<Status(Engine&)> write) {
  return state_->wait_for(mode == InFlight::kWait,
                          [mode, label = std::move(label), write = std::move(write)](Engine& engine) -> Status {
                            if (mode == InFlight::kAbort) engine.abort_all("the weights are being changed");
                            OCTAVO_TRY(write(engine));
                            return engine.weights_changed(mode, label);
                          });
}

EngineMetrics EngineThread::metrics() const { return state_->engine->metrics(); }
const Engine& EngineThread::engine() const { return *state_->engine; }

void EngineThread::shutdown(std::chrono::milliseconds drain) {
  {
    const std::lock_guard lock(state_->mutex);
    const auto deadline = Clock::now() + drain;
    state_->deadline = state_->stopping ? std::min(state_->deadline, deadline) : deadline;
    state_->stopping = true;
  }
  state_->wake.notify_one();
  std::call_once(state_->joined, [this] { state_->thread.join(); });
}

}  // namespace octavo::engine
