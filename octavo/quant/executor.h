// The streaming execution of a schedule: units are claimed in order by the workers, each of which owns its buffers.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "octavo/backend/cpu/encode.h"
#include "octavo/base/scratch.h"
#include "octavo/quant/execute.h"
#include "octavo/quant/schedule.h"
#include "octavo/quant/unit_result.h"

namespace octavo::quant {

// Who is told that a unit is done; from any thread.
using UnitDone = std::function<Status(std::uint32_t unit, const UnitResult& result)>;

// A ring of memory for scale regions that are larger than a unit and yet fit: what the first pass read is kept for the
// second. Whole regions are admitted in order, so those admitted can always be finished and make room for the next.
class HeldRegions {
 public:
  // `sizes`: bytes of each region; a region of 0 or of more than `capacity` bytes is not held.
  HeldRegions(std::vector<std::uint64_t> sizes, std::uint64_t capacity);
  bool holds(std::uint32_t region) const { return sizes_[region] != 0; }
  bool admit(std::uint32_t region);                         // waits for room; false after cancel()
  std::byte* data(std::uint32_t region) const;              // its memory, once admitted
  void release(std::uint32_t region, std::uint64_t bytes);  // so much of it is no longer needed
  void cancel();

 private:
  struct Live {
    std::uint32_t region = 0;
    std::uint64_t begin = 0, end = 0, left = 0;
  };
  void skip();   // over regions that are not held
  bool place();  // the next region, where there is room
  std::vector<std::uint64_t> sizes_, begins_;
  std::uint64_t capacity_ = 0;
  std::unique_ptr<std::byte[]> ring_;
  std::deque<Live> live_;   // oldest first
  std::uint32_t next_ = 0;  // the first region not yet admitted
  bool cancelled_ = false;
  std::mutex mutex_;
  std::condition_variable room_;
};

class Executor {
 public:
  // `window_bytes` bounds all buffers together.
  Executor(const Checkpoint& checkpoint, const Plan& plan, const Schedule& schedule, TensorSink& sink,
           const ExecuteOptions& options, std::uint64_t window_bytes);

  // Takes over what an earlier run found.
  void resume(std::uint32_t unit, const UnitResult& result);
  // Leaves a unit to others. What a kAmax unit would have found must not be needed.
  void leave_out(std::uint32_t unit) { state_[unit] = State::kElsewhere; }

  // Does the rest. kInterrupted when options.stop says so.
  Status run(const UnitDone& done);

  std::uint64_t source_bytes(const Unit& unit) const;
  Summary summary() const;

 private:
  enum class State : std::uint8_t { kToDo, kDone, kElsewhere };

  // A scale region that is worked on in units.
  struct Region {
    std::atomic<std::uint32_t> amax_bits{0};  // of a non-negative float: ordered as the float is
    std::atomic<std::uint32_t> units_left{0};
    std::atomic<bool> broken{false};  // a unit of it ended without having looked
    void merge(float amax);
    void unit_done();
    std::optional<float> wait_amax() const;  // nullopt when broken
  };
  struct Buffers {
    Scratch<std::byte> source;
    Scratch<std::uint8_t> codes;
    std::vector<std::byte> stored_scales, fp8;
    std::vector<float> scales;
  };

  const CheckpointTensor& source(const Unit& unit) const {
    return checkpoint_.tensors()[plan_.tensors[unit.tensor].source];
  }
  DType value_dtype(const Unit& unit) const {
    return quant::value_dtype(checkpoint_, plan_, plan_.tensors[unit.tensor]);
  }
  std::uint64_t value_bytes(const Unit& unit) const { return unit.extent.count() * dtype_bytes(value_dtype(unit)); }
  bool stopped() const { return options_.stop != nullptr && options_.stop->load(std::memory_order_relaxed) != 0; }
  void prepare_holding();
  std::uint64_t most_bytes(const Unit& unit) const;
  std::uint64_t part_bytes(const Unit& unit) const;
  std::vector<Extent> parts(const Unit& unit) const;
  Status run_unit(std::uint32_t index, Buffers& buffers, const UnitDone& done);
  // The unit's work; false when it was left because the run is ending.
  Result<bool> work(std::uint32_t index, Buffers& buffers, UnitResult& result);
  Status copy(const Unit& unit, Buffers& buffers, UnitResult& result);
  Status check_codes(const Unit& unit, std::uint64_t at, std::span<std::byte> bytes, std::uint64_t& zeroed) const;
  Status decode(const Unit& unit, Buffers& buffers);
  Status scales(const Unit& unit, Buffers& buffers);
  Status encode(const Unit& unit, Buffers& buffers, UnitResult& result);
  Status encode_split(const Unit& unit, const Extent& part, Buffers& buffers, UnitResult& result);
  Status amax(const Unit& unit, Buffers& buffers, UnitResult& result, std::byte* keep);
  Status encode_shared(const Unit& unit, float amax, Buffers& buffers, UnitResult& result, std::byte* kept);

  Status read_values(const Unit& unit, const Extent& part, std::span<std::byte> buffer, Buffers& buffers);
  Result<PieceEncoder> load(const Unit& unit, const Extent& part, std::span<std::byte> buffer, Buffers& buffers);
  Result<float> finite_amax(const Unit& unit, const Extent& part, PieceEncoder& encoder, std::uint64_t* zeroed);
  Status make_finite(const Unit& unit, const Extent& part, PieceEncoder& encoder, std::uint64_t* zeroed);
  Status encode_at(const Unit& unit, const Extent& part, PieceEncoder& encoder, float scale, Buffers& buffers,
                   UnitResult& result);
  Status write_part(std::uint32_t output, std::uint64_t k, std::uint64_t width, const Extent& part,
                    std::span<const std::byte> bytes);
  Status write_codes(const Unit& unit, const Extent& part, std::span<const std::uint8_t> codes);
  Status write_scales(const Unit& unit, const Extent& part, Buffers& buffers, UnitResult& result);
  void report(const Unit& unit, const Extent& part);
  void release_cache(const Unit& unit);
  Distortion* distortion(UnitResult& result) const { return options_.sqnr ? &result.distortion : nullptr; }

  const Checkpoint& checkpoint_;
  const Plan& plan_;
  const Schedule& schedule_;
  TensorSink& sink_;
  const ExecuteOptions options_;
  const cpu::EncodeKernels& kernels_;
  std::uint64_t target_bytes_, limit_bytes_, hold_bytes_;  // of a part; the most of one; of held regions
  std::vector<Region> regions_;
  std::vector<State> state_;
  std::vector<UnitResult> results_;
  std::vector<Buffers> buffers_;  // per worker
  std::unique_ptr<HeldRegions> held_;
  std::vector<std::uint64_t> held_at_;  // of a unit that takes part: its place in its region's memory
};

}  // namespace octavo::quant
