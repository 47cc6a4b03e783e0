// New weights for a model that serves, as a transaction on fixed storage.
//
//   ShadowWeights shadow;                              // the second set of packed weights, kept between updates
//   OCTAVO_TRY(shadow.allocate(model, backend));       // the first time: as much memory again as the weights
//   WeightUpdate update(model, backend, shadow, options);
//   update.declare_all(tensors); update.write(id, offset, bytes); ...      any order, any pieces
//   OCTAVO_TRY(update.check());                        // every parameter exactly once, whole, finite
//   update.commit(model);                              // between two steps: microseconds to milliseconds
//
// Until commit() nothing that serves is touched, so whoever drops the update, for whatever reason, leaves the old
// version serving bit for bit. After it the logits are those of a fresh process on a checkpoint of the new tensors, bit
// for bit (tests/rollout/weight_update_test.cc). Values (BF16, F16, F32) are encoded as `octavo quantize` and the
// loader do; where the running model has FP8 weights, their codes and scales are taken as well. Values of a linear that
// is not FP8 are rounded to the dtype that the running model has it in.
//
// Memory, beside the shadow: the bands of about 1 MiB that are begun and not whole, and, where a scale covers a whole
// tensor or several (q/k/v, gate/up), those tensors until they are whole: of a sender that sends a tensor after the
// other, one such group. More than Options::max_held_bytes is refused.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "octavo/base/cpu.h"
#include "octavo/model/weights.h"
#include "octavo/rollout/interval_set.h"
#include "octavo/rollout/linear_intake.h"
#include "octavo/rollout/parameter_index.h"
#include "octavo/rollout/tensor_info.h"

namespace octavo::rollout {

// The set of weights that does not serve. A commit swaps what was written with what served, so both sets stay where
// they are for the life of the model.
class ShadowWeights {
 public:
  // Makes what is not there yet. Calls the backend: on the engine's thread.
  Status allocate(const model::LoadedModel& model, backend::Backend& backend);
  bool allocated() const { return !weights_.layers.empty(); }
  void release() { weights_ = {}; }
  std::uint64_t bytes() const;
  // That allocate() would take.
  static std::uint64_t bytes_needed(const model::LoadedModel& model, const backend::Backend& backend);

 private:
  friend class WeightUpdate;
  model::ModelWeights weights_;
};

struct UpdateOptions {
  Isa isa = Isa::kScalar;  // of the encode kernels
  int threads = 1;
  bool partial = false;  // parameters that are not sent stay as they are
  // 0: the larger of kDefaultHeldBytes and twice the largest group that shares a scale, in F32.
  std::uint64_t max_held_bytes = 0;
};
inline constexpr std::uint64_t kDefaultHeldBytes = 1ull << 30;

struct UpdateSummary {
  std::uint64_t tensors = 0;       // that arrived
  std::uint64_t source_bytes = 0;  // of them
  std::uint64_t parameters = 0;    // that were written
  std::uint64_t kept = 0;          // partial: that were not
  std::uint64_t most_held_bytes = 0;
  bool cache_scales = false;  // scales of the KV cache are other numbers than before
};

// One thread at a time. After a failure everything else fails with the same sentence, and nothing can be committed.
class WeightUpdate {
 public:
  using Id = std::size_t;

  // All must outlive it; the shadow is allocated and no other update uses it. Packs into the shadow while the engine
  // runs (Backend::pack); everything else of the backend is called in commit().
  WeightUpdate(const model::LoadedModel& model, backend::Backend& backend, ShadowWeights& shadow,
               const UpdateOptions& options);

  // Announces tensors: unknown names are listed in one sentence; a wrong shape, a dtype that is not taken, a parameter
  // that another name has sent are failures. A tensor that was announced before and is not whole has the same Id.
  Result<std::vector<Id>> declare_all(std::span<const TensorInfo> tensors);
  Result<Id> declare(const TensorInfo& tensor);
  // Bytes [offset, offset + size) of the tensor, little-endian and row-major. Bytes that came before are a failure.
  Status write(Id tensor, std::uint64_t offset, std::span<const std::byte> bytes);
  // A whole tensor.
  Status write(const TensorInfo& tensor, std::span<const std::byte> bytes);

  // Whether it can be committed: a failure lists what is missing or not whole.
  Status check();
  // Between two steps, on the engine's thread, with the model that the update was begun for. After a failure nothing
  // has changed. The next update must be a new object.
  Result<UpdateSummary> commit(model::LoadedModel& model);

  // Scales of the KV cache are among what arrived, and differ from those that serve.
  bool changes_cache_scales() const;
  const std::optional<Error>& failed() const { return failed_; }
  const UpdateSummary& summary() const { return summary_; }
  std::uint64_t held_bytes() const { return held_; }

 private:
  using Kind = Destination::Kind;
  struct Target {
    Destination destination;
    std::uint64_t begin = 0, end = 0;  // bytes of the tensor
    std::vector<std::byte> small;      // all but weights: what has arrived
  };
  struct Incoming {
    TensorInfo info;  // under its canonical name
    std::uint64_t bytes = 0;
    IntervalSet there;
    std::vector<Target> targets;
    bool whole() const { return there.total() == bytes; }
  };
  // Checksums of a tied model's head in the bands of its embedding, whose must be equal.
  struct TiedHead {
    std::optional<Bands> bands;
    std::vector<std::uint64_t> hashes;
  };

  Status fail(Error error);
  Status check_tensor(const TensorInfo& info, const std::vector<Destination>& destinations) const;
  Status add(const TensorInfo& info, std::vector<Destination> destinations, Id id);
  Status write_targets(Incoming& tensor, std::uint64_t offset, std::span<const std::byte> bytes);
  Status write_weight(const Incoming& tensor, LinearIntake& linear, std::uint64_t offset,
                      std::span<const std::byte> bytes, std::vector<LinearIntake::Work>& work);
  void write_tied_head(DType dtype, std::uint64_t offset, std::span<const std::byte> bytes,
                       std::vector<LinearIntake::Work>& work);
  Status take(std::vector<LinearIntake::Work>& work);
  bool completes_group(const LinearIntake& linear) const;
  Status encode_groups();
  Status encode_group(const std::vector<LinearIntake*>& group);
  Status finish_small(const Incoming& tensor, Target& target);
  std::string group_names(std::uint32_t shared) const;
  Status check_linear(std::size_t index, std::vector<std::string>& missing) const;
  Status check_missing() const;

  const model::Parameters& parameters_;
  backend::Backend& backend_;
  const UpdateOptions options_;
  const model::ModelWeights& serving_;
  ShadowWeights& shadow_;
  const std::uint64_t limit_;  // of held_
  const ParameterIndex index_;
  BandMemory memory_;  // outlives all bands
  std::optional<Error> failed_;
  std::vector<std::unique_ptr<Incoming>> incoming_;
  std::unordered_map<std::string, Id> ids_;            // by canonical name
  std::map<std::pair<Kind, std::size_t>, Id> owners_;  // who writes a destination
  std::vector<std::unique_ptr<LinearIntake>> linears_;
  std::vector<std::optional<std::vector<float>>> biases_, vectors_;
  std::vector<std::optional<float>> k_scales_, v_scales_;
  std::set<std::uint32_t> encoded_groups_;
  TiedHead tied_head_;
  std::vector<EncodeBuffers> buffers_;
  UpdateSummary summary_;
  std::uint64_t held_ = 0;
};

}  // namespace octavo::rollout
