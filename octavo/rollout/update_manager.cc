// The state machine around a WeightUpdate, and what is asked of the engine's thread.
#include "octavo/rollout/update_manager.h"

#include <array>

#include "octavo/base/text.h"

namespace octavo::rollout {
namespace {

using Clock = std::chrono::steady_clock;
using engine::Engine;
using engine::InFlight;

struct PolicyName {
  std::string_view name;
  InFlight policy;
};
// The first name of a policy is its own.
constexpr std::array<PolicyName, 6> kPolicies{{{"abort", InFlight::kAbort},
                                               {"wait", InFlight::kWait},
                                               {"recompute", InFlight::kRecompute},
                                               {"in_place", InFlight::kInPlace},
                                               {"keep", InFlight::kRecompute},
                                               {"retract", InFlight::kRecompute}}};

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

bool is_fp8(backend::KvDType dtype) {
  return dtype == backend::KvDType::kFp8E4M3 || dtype == backend::KvDType::kFp8E5M2;
}

}  // namespace

Result<InFlight> find_policy(std::string_view name) {
  std::vector<std::string> names;
  for (const PolicyName& entry : kPolicies) {
    if (entry.name == name) return entry.policy;
    names.emplace_back(entry.name);
  }
  return usage_error("\"{}\" is no policy for requests in flight: abort, wait, keep, recompute, retract or in_place{}",
                     printable(name), did_you_mean(name, names, 1));
}

std::string_view policy_name(InFlight policy) {
  for (const PolicyName& entry : kPolicies) {
    if (entry.policy == policy) return entry.name;
  }
  return "";
}

std::string_view state_name(UpdateState state) {
  switch (state) {
    case UpdateState::kIdle: return "idle";
    case UpdateState::kUpdating: return "updating";
    case UpdateState::kCommitting: return "committing";
  }
  return "";
}

UpdateManager::UpdateManager(engine::EngineThread& engine, const ManagerOptions& options)
    : engine_(engine), options_(options) {
  const Status listed = engine_.run_exclusive([&](Engine& owned) -> Status {
    parameters_ = list_parameters(*owned.runner().model);
    return {};
  });
  static_cast<void>(listed);  // an engine that shuts down has none
  watcher_ = std::thread([this] { watch(); });
}

UpdateManager::~UpdateManager() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !open_ || !open_->committing; });
    stopping_ = true;
    if (open_) end("the server ends");
  }
  changed_.notify_all();
  watcher_.join();
}

// ---- a transaction

void UpdateManager::watch() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (!open_ || open_->committing) {
      changed_.wait(lock);
      continue;
    }
    const Clock::time_point deadline = open_->deadline;
    if (Clock::now() < deadline) {
      changed_.wait_until(lock, deadline);
      continue;
    }
    end(fmt::format("nothing came for {} seconds",
                    std::chrono::duration_cast<std::chrono::seconds>(options_.timeout).count()));
  }
}

void UpdateManager::end(std::string why, bool committed) {
  last_failure_ = committed ? "" : fmt::format("weight update {} was aborted: {}", last_, why);
  why_ended_ = std::move(why);
  open_.reset();
  if (!options_.keep_shadow) shadow_.release();
  state_ = UpdateState::kIdle;
  changed_.notify_all();
}

Result<UpdateManager::Transaction> UpdateManager::begin(bool partial) {
  const std::lock_guard lock(mutex_);
  if (open_) {
    return failure("weight update {} is {}", open_->id,
                   open_->committing ? "being committed: wait for its end" : "open: end or abort it first");
  }
  UpdateOptions options = options_.update;
  options.partial = partial;
  std::unique_ptr<WeightUpdate> update;
  const auto prepare = [&](Engine& owned) -> Status {
    engine::Runner& runner = owned.runner();
    OCTAVO_TRY(shadow_.allocate(*runner.model, *runner.backend));
    update = std::make_unique<WeightUpdate>(*runner.model, *runner.backend, shadow_, options);
    return {};
  };
  OCTAVO_TRY(engine_.run_exclusive(prepare));
  const Clock::time_point now = Clock::now();
  open_ = Open{++last_, now, now + options_.timeout, std::move(update)};
  last_failure_.clear();
  state_ = UpdateState::kUpdating;
  changed_.notify_all();
  return last_;
}

Result<UpdateManager::Open*> UpdateManager::find(Transaction id) {
  if (open_ && open_->id == id) {
    if (open_->committing) return failure("weight update {} is being committed", id);
    open_->deadline = Clock::now() + options_.timeout;
    return &*open_;
  }
  if (id == last_ && !why_ended_.empty()) return failure("weight update {} was ended: {}", id, why_ended_);
  return failure("no weight update {} is open: begin one first", id);
}

Result<std::vector<std::size_t>> UpdateManager::declare_all(Transaction id, std::span<const TensorInfo> tensors) {
  const std::lock_guard lock(mutex_);
  OCTAVO_ASSIGN(Open* const open, find(id));
  auto ids = open->update->declare_all(tensors);
  if (!ids.ok()) end(ids.error().message);
  return ids;
}

Status UpdateManager::write(Transaction id, std::size_t tensor, std::uint64_t offset,
                            std::span<const std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  OCTAVO_ASSIGN(Open* const open, find(id));
  Status status = open->update->write(tensor, offset, bytes);
  if (!status.ok()) {
    end(status.error().message);
  } else {
    open->deadline = Clock::now() + options_.timeout;  // encoding is not waiting
  }
  return status;
}

TensorReceiver UpdateManager::receiver(Transaction id) {
  return {[this, id](std::span<const TensorInfo> tensors) { return declare_all(id, tensors); },
          [this, id](std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes) {
            return write(id, tensor, offset, bytes);
          }};
}

Result<CommitResult> UpdateManager::commit(Transaction id, InFlight policy, std::optional<std::string> label) {
  std::unique_lock lock(mutex_);
  OCTAVO_ASSIGN(Open* const open, find(id));
  // Here, so that requests in flight are not aborted for an update that is not whole.
  if (Status whole = open->update->check(); !whole.ok()) {
    end(whole.error().message);
    return std::move(whole).error();
  }
  open->committing = true;
  state_ = UpdateState::kCommitting;
  commit_ = Commit::kWaiting;
  why_ended_.clear();
  lock.unlock();
  Result<CommitResult> result = swap(*open, policy, std::move(label));
  lock.lock();
  if (commit_ == Commit::kAborted) {
    const std::string why = why_ended_;
    end(why);
    return failure("weight update {} was ended: {}", id, why);
  }
  end(result.ok() ? "it was committed" : result.error().message, result.ok());
  return result;
}

Result<CommitResult> UpdateManager::swap(Open& open, InFlight policy, std::optional<std::string> label) {
  const Clock::time_point start = Clock::now();
  CommitResult result;
  result.policy = policy;
  const auto write = [&](Engine& owned) -> Status {
    Commit waiting = Commit::kWaiting;
    if (!commit_.compare_exchange_strong(waiting, Commit::kSwapping)) return failure("it was aborted");
    engine::Runner& runner = owned.runner();
    // The cache holds keys and values by its scales, so new scales need a new one.
    const bool cache = runner.cache && is_fp8(runner.cache->shape().dtype) && open.update->changes_cache_scales();
    if (cache && policy == InFlight::kInPlace && owned.unfinished() > 0) {
      return failure(
          "scales of the KV cache change, so keys and values in it cannot be kept in place; use abort, wait or "
          "recompute");
    }
    OCTAVO_ASSIGN(result.summary, open.update->commit(*runner.model));
    result.kept_requests = owned.begun();  // those that are aborted have been
    if (!cache) return {};
    owned.release_kv_cache();
    return owned.restore_kv_cache();
  };
  const std::string name = label.value_or(std::to_string(version().number + 1));
  OCTAVO_TRY(engine_.update_weights(policy, name, write));
  result.version = version();
  result.seconds = seconds_since(open.begun);
  result.commit_seconds = seconds_since(start);
  return result;
}

bool UpdateManager::abort_open(Transaction id, std::string& why) {
  if (!open_ || open_->id != id || open_->committing) return false;
  end(std::move(why));
  return true;
}

bool UpdateManager::abort(Transaction id, std::string why) {
  const std::lock_guard lock(mutex_);
  return abort_open(id, why);
}

bool UpdateManager::abort_waiting(Transaction id, std::string why) {
  const std::lock_guard lock(mutex_);
  if (abort_open(id, why)) return true;
  Commit waiting = Commit::kWaiting;
  if (!open_ || open_->id != id || !open_->committing || !commit_.compare_exchange_strong(waiting, Commit::kAborted)) {
    return false;
  }
  why_ended_ = std::move(why);
  return true;
}

std::string UpdateManager::last_failure() const {
  const std::lock_guard lock(mutex_);
  return last_failure_;
}

std::optional<UpdateManager::Transaction> UpdateManager::open() const {
  const std::lock_guard lock(mutex_);
  return open_ ? std::optional(open_->id) : std::nullopt;
}

Result<CommitResult> UpdateManager::update_from_path(const std::string& path, InFlight policy,
                                                     std::optional<std::string> label, bool partial) {
  OCTAVO_ASSIGN(const Transaction id, begin(partial));
  if (Status sent = send_path(path, receiver(id)); !sent.ok()) {
    abort(id, sent.error().message);
    return std::move(sent).error();
  }
  return commit(id, policy, std::move(label));
}

// ---- the weights that serve

Status UpdateManager::set_label(std::string label) {
  return engine_.run_exclusive([&](Engine& owned) -> Status {
    owned.set_weight_label(label);
    return {};
  });
}

Result<ParameterValues> UpdateManager::read(const std::string& name, std::uint64_t rows) {
  ParameterValues out;
  OCTAVO_TRY(engine_.run_exclusive([&](Engine& owned) -> Status {
    OCTAVO_ASSIGN(out, read_parameter(owned.runner(), name, rows));
    return {};
  }));
  return out;
}

Result<std::map<std::string, std::string>> UpdateManager::checksums() {
  std::map<std::string, std::string> out;
  OCTAVO_TRY(engine_.run_exclusive([&](Engine& owned) -> Status {
    engine::Runner& runner = owned.runner();
    OCTAVO_ASSIGN(out, parameter_checksums(*runner.model, *runner.backend, options_.update.threads));
    return {};
  }));
  return out;
}

// ---- memory

Status UpdateManager::release_memory() {
  const std::lock_guard lock(mutex_);
  if (open_) return failure("weight update {} is open: end or abort it first", open_->id);
  OCTAVO_TRY(engine_.run_exclusive([&](Engine& owned) -> Status {
    owned.release_kv_cache();
    shadow_.release();
    return {};
  }));
  memory_released_ = true;
  return {};
}

Status UpdateManager::resume_memory() {
  OCTAVO_TRY(engine_.run_exclusive([](Engine& owned) { return owned.restore_kv_cache(); }));
  memory_released_ = false;
  return {};
}

std::uint64_t UpdateManager::shadow_bytes() const {
  const std::lock_guard lock(mutex_);
  return shadow_.bytes();
}

}  // namespace octavo::rollout
