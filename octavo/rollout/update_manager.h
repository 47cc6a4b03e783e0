// Weight updates of a model behind an EngineThread: one transaction at a time, with a timeout, for HTTP and Python.
//
//   UpdateManager updates(thread, options);
//   OCTAVO_ASSIGN(auto id, updates.begin({}));
//   TensorReceiver to = updates.receiver(id);           // for SafetensorsStream, send_path; or declare_all and write
//   OCTAVO_ASSIGN(auto result, updates.commit(id, policy, label));
//
// Everything may be called from any thread but the engine's. A failure of a write ends the transaction: what is
// committed is whole or nothing. The old version serves until commit() has swapped the sets between two steps.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "octavo/engine/engine_thread.h"
#include "octavo/rollout/model_state.h"
#include "octavo/rollout/safetensors_stream.h"
#include "octavo/rollout/weight_update.h"

namespace octavo::rollout {

// "abort", "wait", "keep" (vLLM's and --update-policy's), "recompute", "retract", "in_place" (SGLang's). "keep"
// computes keys and values again on the new weights; "in_place" keeps those of the old ones. A usage error names an
// unknown one.
Result<engine::InFlight> find_policy(std::string_view name);
std::string_view policy_name(engine::InFlight policy);  // "abort", "wait", "recompute", "in_place"

enum class UpdateState : std::uint8_t { kIdle, kUpdating, kCommitting };
std::string_view state_name(UpdateState state);  // "idle", "updating", "committing"

struct ManagerOptions {
  UpdateOptions update;  // isa, threads, max_held_bytes
  // Between two calls for a transaction; then it is aborted and what it holds is let go.
  std::chrono::milliseconds timeout = std::chrono::minutes(5);
  bool keep_shadow = true;  // false: the second set's memory is given back after every commit and abort
};

struct CommitResult {
  engine::WeightVersion version;
  engine::InFlight policy = engine::InFlight::kAbort;
  UpdateSummary summary;
  double seconds = 0;               // since begin()
  double commit_seconds = 0;        // of commit(), waiting for requests included
  std::uint64_t kept_requests = 0;  // that had begun before it and go on after it, at once or when a pause ends
};

class UpdateManager {
 public:
  using Transaction = std::uint64_t;

  // The thread must outlive it.
  UpdateManager(engine::EngineThread& engine, const ManagerOptions& options);
  ~UpdateManager();  // aborts
  UpdateManager(const UpdateManager&) = delete;
  UpdateManager& operator=(const UpdateManager&) = delete;

  // ---- a transaction
  // Refused while another one is open. `partial`: parameters that are not sent are kept.
  Result<Transaction> begin(bool partial = false);
  Result<std::vector<std::size_t>> declare_all(Transaction id, std::span<const TensorInfo> tensors);
  Status write(Transaction id, std::size_t tensor, std::uint64_t offset, std::span<const std::byte> bytes);
  TensorReceiver receiver(Transaction id);
  // `label` of the version; nullopt: its number. With kWait it returns when those in flight are finished, however long
  // that takes; the others return after the step that runs. Ends the transaction, also when it fails. Meanwhile
  // everything else here answers.
  Result<CommitResult> commit(Transaction id, engine::InFlight policy, std::optional<std::string> label = {});
  // False: it is not open any more, or is being committed.
  bool abort(Transaction id, std::string why);
  // Also one whose commit waits for requests: it fails when they are finished, and new requests wait until then. False
  // when the sets are being swapped.
  bool abort_waiting(Transaction id, std::string why);
  std::optional<Transaction> open() const;  // the one that is
  UpdateState state() const { return state_; }
  // "weight update 4 was aborted: tensor ...": why the last one did not come to its commit; "" where it did, or where
  // another one has begun since.
  std::string last_failure() const;

  // begin, a file or folder, commit.
  Result<CommitResult> update_from_path(const std::string& path, engine::InFlight policy,
                                        std::optional<std::string> label = {}, bool partial = false);

  // ---- the weights that serve
  engine::WeightVersion version() const { return engine_.engine().weight_version(); }
  Status set_label(std::string label);
  std::vector<TensorInfo> parameters() const { return parameters_; }
  Result<ParameterValues> read(const std::string& name, std::uint64_t rows);
  Result<std::map<std::string, std::string>> checksums();

  // ---- memory
  // The KV cache's memory and that of the second set; weights stay, as they have no other copy. Requests queue until
  // resume_memory(). Refused during a transaction; one may be begun while it is released.
  Status release_memory();
  Status resume_memory();
  bool memory_released() const { return memory_released_; }
  // Of the second set, when it is there.
  std::uint64_t shadow_bytes() const;

 private:
  struct Open {
    Transaction id = 0;
    std::chrono::steady_clock::time_point begun, deadline;
    std::unique_ptr<WeightUpdate> update;
    bool committing = false;  // `update` is the committing thread's
  };
  // Of a transaction whose commit waits: what comes first decides.
  enum class Commit : std::uint8_t { kWaiting, kSwapping, kAborted };

  // Those with mutex_ held:
  Result<Open*> find(Transaction id);
  bool abort_open(Transaction id, std::string& why);
  void end(std::string why, bool committed = false);
  Result<CommitResult> swap(Open& open, engine::InFlight policy, std::optional<std::string> label);  // not held
  void watch();

  engine::EngineThread& engine_;
  const ManagerOptions options_;
  std::vector<TensorInfo> parameters_;
  std::atomic<UpdateState> state_{UpdateState::kIdle};
  std::atomic<bool> memory_released_{false};

  std::atomic<Commit> commit_{Commit::kWaiting};

  mutable std::mutex mutex_;  // of all below; held while tensors are encoded, and not while a commit waits
  ShadowWeights shadow_;
  std::optional<Open> open_;
  Transaction last_ = 0;
  std::string why_ended_;  // transaction last_
  std::string last_failure_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::thread watcher_;
};

}  // namespace octavo::rollout
