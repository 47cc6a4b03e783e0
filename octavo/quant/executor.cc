// Units one after the other, parts of a unit one after the other, each part read once where its scale allows it.
#include "octavo/quant/executor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "octavo/base/ceil_div.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/fp8/nan_codes.h"
#include "octavo/quant/decode_piece.h"
#include "octavo/quant/selection.h"

namespace octavo::quant {
namespace {

// A part of 16-bit values costs, per byte of source: itself, half a byte of codes, and in the worst case (K = 1: one
// scale an element) two bytes of scales twice, as floats and as stored. 6 bytes of window cover that.
constexpr std::uint64_t kWindowPerByte = 6;
// Parts of about this size stay in the second-level cache between being read, measured and encoded.
constexpr std::uint64_t kTargetPart = 1ull << 20;
constexpr std::uint64_t kSmallestPart = 4096;
constexpr std::uint64_t kNowhere = ~std::uint64_t{0};

}  // namespace

HeldRegions::HeldRegions(std::vector<std::uint64_t> sizes, std::uint64_t capacity)
    : sizes_(std::move(sizes)), begins_(sizes_.size()) {
  std::uint64_t largest = 0;
  for (std::uint64_t& size : sizes_) {
    if (size > capacity) size = 0;
    largest = std::max(largest, size);
  }
  // Two regions at a time keep all workers busy; more would only spread over more memory.
  capacity_ = std::min(capacity, 2 * largest);
  ring_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
  skip();
}

void HeldRegions::skip() {
  while (next_ < sizes_.size() && sizes_[next_] == 0) ++next_;
}

bool HeldRegions::place() {
  const std::uint64_t size = sizes_[next_];
  std::uint64_t begin = 0;
  if (!live_.empty()) {
    const std::uint64_t head = live_.back().end, tail = live_.front().begin;
    const bool wrapped = live_.back().begin < tail;
    if ((wrapped ? tail : capacity_) - head >= size) {
      begin = head;
    } else if (wrapped || tail < size) {
      return false;
    }
  }
  begins_[next_] = begin;
  live_.push_back({next_, begin, begin + size, size});
  ++next_;
  skip();
  return true;
}

bool HeldRegions::admit(std::uint32_t region) {
  std::unique_lock lock(mutex_);
  room_.wait(lock, [&] { return cancelled_ || next_ > region || (next_ == region && place()); });
  if (cancelled_) return false;
  room_.notify_all();
  return true;
}

std::byte* HeldRegions::data(std::uint32_t region) const { return ring_.get() + begins_[region]; }

void HeldRegions::release(std::uint32_t region, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  for (Live& live : live_) {
    if (live.region == region) live.left -= bytes;
  }
  while (!live_.empty() && live_.front().left == 0) live_.pop_front();
  room_.notify_all();
}

void HeldRegions::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  room_.notify_all();
}

void Executor::Region::merge(float amax) {
  const auto bits = std::bit_cast<std::uint32_t>(amax);
  std::uint32_t seen = amax_bits.load(std::memory_order_relaxed);
  while (seen < bits && !amax_bits.compare_exchange_weak(seen, bits, std::memory_order_relaxed)) {
  }
}

void Executor::Region::unit_done() {
  if (units_left.fetch_sub(1, std::memory_order_acq_rel) == 1) units_left.notify_all();
}

std::optional<float> Executor::Region::wait_amax() const {
  for (std::uint32_t left = units_left.load(std::memory_order_acquire); left != 0;
       left = units_left.load(std::memory_order_acquire)) {
    units_left.wait(left, std::memory_order_acquire);
  }
  if (broken.load(std::memory_order_acquire)) return std::nullopt;
  return std::bit_cast<float>(amax_bits.load(std::memory_order_relaxed));
}

Executor::Executor(const Checkpoint& checkpoint, const Plan& plan, const Schedule& schedule, TensorSink& sink,
                   const ExecuteOptions& options, std::uint64_t window_bytes)
    : checkpoint_(checkpoint),
      plan_(plan),
      schedule_(schedule),
      sink_(sink),
      options_(options),
      kernels_(cpu::encode_kernels(options.isa)),
      regions_(schedule.regions),
      state_(schedule.units.size(), State::kToDo),
      results_(schedule.units.size()),
      buffers_(static_cast<std::size_t>(options.threads)) {
  // A quarter of the window is for regions that are held, and what the parts leave.
  const std::uint64_t threads = static_cast<std::uint64_t>(options.threads);
  const bool transposed = std::any_of(plan.tensors.begin(), plan.tensors.end(), [&](const PlannedTensor& planned) {
    return checkpoint.tensors()[planned.source].pitch != 0;
  });
  if (transposed) window_bytes -= std::min(window_bytes, threads * kTransposeBytes);
  limit_bytes_ = std::clamp(window_bytes / 4 * 3 / threads / kWindowPerByte, kSmallestPart, kLargestUnit);
  target_bytes_ = std::min(kTargetPart, limit_bytes_);
  const std::uint64_t parts = limit_bytes_ * kWindowPerByte * threads;
  hold_bytes_ = window_bytes > parts ? window_bytes - parts : 0;
}

void Executor::resume(std::uint32_t unit, const UnitResult& result) {
  state_[unit] = State::kDone;
  results_[unit] = result;
  if (schedule_.units[unit].pass == Pass::kAmax) regions_[schedule_.units[unit].region].merge(result.amax);
}

// Pairs the two passes of a region and finds out which regions can be held between them.
void Executor::prepare_holding() {
  held_at_.assign(schedule_.units.size(), kNowhere);
  std::vector<std::uint64_t> sizes(regions_.size(), 0);
  std::vector<std::uint32_t> waiting;  // kAmax units of the region at hand, in order
  std::size_t next = 0;
  for (std::uint32_t i = 0; i < schedule_.units.size(); ++i) {
    const Unit& unit = schedule_.units[i];
    if (unit.pass == Pass::kAmax) {
      if (next == waiting.size()) {
        waiting.clear();
        next = 0;
      }
      waiting.push_back(i);
      if (state_[i] == State::kToDo) ++regions_[unit.region].units_left;
    } else if (unit.pass == Pass::kEncodeShared) {
      const std::uint32_t amax = waiting[next++];
      if (state_[i] != State::kToDo || state_[amax] != State::kToDo) continue;
      held_at_[amax] = held_at_[i] = sizes[unit.region];
      sizes[unit.region] += value_bytes(unit);
    }
  }
  held_ = std::make_unique<HeldRegions>(std::move(sizes), hold_bytes_);
}

Status Executor::run(const UnitDone& done) {
  prepare_holding();
  for (const Shard& shard : checkpoint_.shards()) shard.file->expect_sequential();
  std::vector<std::uint32_t> todo;
  for (std::uint32_t i = 0; i < state_.size(); ++i) {
    if (state_[i] == State::kToDo) todo.push_back(i);
  }
  OCTAVO_TRY(for_each_index(options_.threads, todo.size(), [&](std::size_t i, int worker) {
    Status status = run_unit(todo[i], buffers_[static_cast<std::size_t>(worker)], done);
    if (!status.ok() || stopped()) held_->cancel();
    return status;
  }));
  if (stopped()) return Error{ErrorKind::kInterrupted, "interrupted"};
  return {};
}

Status Executor::run_unit(std::uint32_t index, Buffers& buffers, const UnitDone& done) {
  const Unit& unit = schedule_.units[index];
  // However this ends, nobody must wait for this unit for ever, nor believe in an amax that is not whole.
  struct AmaxDone {
    Region* region;
    bool whole = false;
    ~AmaxDone() {
      if (region == nullptr) return;
      if (!whole) region->broken = true;
      region->unit_done();
    }
  } amax_done{unit.pass == Pass::kAmax ? &regions_[unit.region] : nullptr};
  UnitResult result;
  result.measured = options_.sqnr ? 1 : 0;
  OCTAVO_ASSIGN(const bool whole, work(index, buffers, result));
  if (!whole) return {};
  amax_done.whole = true;
  if (options_.release_cache) release_cache(unit);
  results_[index] = result;
  state_[index] = State::kDone;
  return done ? done(index, result) : Status();
}

Result<bool> Executor::work(std::uint32_t index, Buffers& buffers, UnitResult& result) {
  const Unit& unit = schedule_.units[index];
  const bool first = unit.extent.row_begin == 0 && unit.extent.col_begin == 0;
  if (first && unit.pass != Pass::kScales) checkpoint_.read_ahead(source(unit));
  const bool held = held_at_[index] != kNowhere && held_->holds(unit.region);
  if (stopped() || (held && !held_->admit(unit.region))) return false;
  std::byte* memory = held ? held_->data(unit.region) + held_at_[index] : nullptr;
  switch (unit.pass) {
    case Pass::kCopy: OCTAVO_TRY(copy(unit, buffers, result)); break;
    case Pass::kDecode: OCTAVO_TRY(decode(unit, buffers)); break;
    case Pass::kScales: OCTAVO_TRY(scales(unit, buffers)); break;
    case Pass::kEncode: OCTAVO_TRY(encode(unit, buffers, result)); break;
    case Pass::kAmax: OCTAVO_TRY(amax(unit, buffers, result, memory)); break;
    case Pass::kEncodeShared: {
      const std::optional<float> amax = regions_[unit.region].wait_amax();
      if (!amax) return false;
      OCTAVO_TRY(encode_shared(unit, *amax, buffers, result, memory));
      if (held) held_->release(unit.region, value_bytes(unit));
      break;
    }
  }
  return true;
}

std::uint64_t Executor::source_bytes(const Unit& unit) const {
  if (unit.pass == Pass::kScales) return 0;  // of another tensor, and next to nothing
  return unit.extent.count() * (unit.pass == Pass::kCopy ? 1 : dtype_bytes(source(unit).dtype));
}

void Executor::report(const Unit& unit, const Extent& part) {
  if (options_.progress == nullptr) return;
  options_.progress->advance(part.count() * dtype_bytes(source(unit).dtype), source(unit).name);
}

// What a neighbour has still to read of the dropped pages is read again.
void Executor::release_cache(const Unit& unit) {
  if (unit.pass == Pass::kScales) return;
  const CheckpointTensor& tensor = source(unit);
  const std::uint64_t row = unit.pass == Pass::kCopy ? 1 : tensor.shape[1] * dtype_bytes(tensor.dtype);
  checkpoint_.drop_cache(tensor, unit.extent.row_begin * row, unit.extent.rows() * row);
}

// Rows of 32 values or more have so few scales that a part costs less than twice its bytes: three times as large a part
// of a source that lies transposed is three times as quickly read where memory is short.
std::uint64_t Executor::most_bytes(const Unit& unit) const {
  const CheckpointTensor& tensor = source(unit);
  if (tensor.pitch == 0 || tensor.shape[1] < 32) return limit_bytes_;
  return std::max(limit_bytes_, std::min(kWindowPerByte / 2 * limit_bytes_, kLargestUnit));
}
std::uint64_t Executor::part_bytes(const Unit& unit) const {
  return worthwhile_bytes(source(unit), target_bytes_, most_bytes(unit));
}

std::vector<Extent> Executor::parts(const Unit& unit) const {
  // Of an FP8 source the codes and the scales they are decoded with are in memory too.
  const std::uint64_t bytes = dtype_bytes(value_dtype(unit)) * (plan_.tensors[unit.tensor].fp8 ? 2 : 1);
  const std::uint64_t target = std::max<std::uint64_t>(1, part_bytes(unit) / bytes);
  if (unit.pass != Pass::kEncode) return cut_extent(unit.extent, target, source(unit).pitch != 0);
  const WeightEncoding& e = *plan_.tensors[unit.tensor].encoding;
  return cut_regions(unit.extent, e.block_n, e.block_k, target, std::max<std::uint64_t>(1, most_bytes(unit) / bytes));
}

// NaN among codes that stay, as in a weight that is encoded.
Status Executor::check_codes(const Unit& unit, std::uint64_t at, std::span<std::byte> bytes,
                             std::uint64_t& zeroed) const {
  const CheckpointTensor& tensor = source(unit);
  const fp8::Format format = code_format(tensor.dtype);
  const std::span codes(reinterpret_cast<std::uint8_t*>(bytes.data()), bytes.size());
  const auto nan = fp8::find_nan(format, codes);
  if (!nan) return {};
  if (plan_.spec.nonfinite == NonFinite::kError) {
    const std::uint64_t element = at + *nan, k = tensor.shape[1];
    return failure("tensor \"{}\" in {}: NaN at [{}, {}]; --nonfinite zero replaces such values by 0",
                   printable(tensor.name), checkpoint_.shards()[tensor.shard].name, element / k, element % k);
  }
  for (std::uint8_t& code : codes) {
    if (!fp8::is_nan(format, code)) continue;
    code = 0;
    ++zeroed;
  }
  return {};
}

Status Executor::copy(const Unit& unit, Buffers& buffers, UnitResult& result) {
  const PlannedTensor& planned = plan_.tensors[unit.tensor];
  const std::uint64_t element = std::max(dtype_bytes(source(unit).dtype), 1u);
  const std::uint64_t step = whole_rows(source(unit), std::max(part_bytes(unit) / element * element, element));
  for (std::uint64_t at = unit.extent.row_begin; at < unit.extent.row_end; at += step) {
    const std::uint64_t bytes = std::min(step, unit.extent.row_end - at);
    buffers.source.resize(bytes);
    OCTAVO_TRY(checkpoint_.read(source(unit), at, buffers.source));
    if (planned.action == Action::kRelabel) OCTAVO_TRY(check_codes(unit, at, buffers.source, result.zeroed));
    OCTAVO_TRY(sink_.write(planned.output, at, buffers.source));
    if (options_.progress != nullptr) options_.progress->advance(bytes, source(unit).name);
  }
  return {};
}

Status Executor::decode(const Unit& unit, Buffers& buffers) {
  const PlannedTensor& planned = plan_.tensors[unit.tensor];
  const DType dtype = plan_.outputs[planned.output].dtype;
  const std::uint64_t k = source(unit).shape[1], bytes = dtype_bytes(dtype);
  for (const Extent& part : parts(unit)) {
    buffers.source.resize(part.count() * bytes);
    OCTAVO_TRY(decode_extent(checkpoint_, plan_.fp8_weights[*planned.fp8], part, dtype, kernels_, buffers.fp8,
                             buffers.source));
    OCTAVO_TRY(write_part(planned.output, k, bytes, part, buffers.source));
    report(unit, part);
  }
  return {};
}

// Scales of the source as the output stores them: of a weight whose codes stay, one for each of its new regions; of
// activations, the only one.
Status Executor::scales(const Unit& unit, Buffers& buffers) {
  const PlannedTensor& planned = plan_.tensors[unit.tensor];
  const std::uint32_t output = planned.scale.value_or(planned.output);
  const CheckpointTensor* stored = &source(unit);
  buffers.scales.clear();
  if (planned.action == Action::kScale) {
    OCTAVO_ASSIGN(buffers.scales, checkpoint_.read_scales(*stored, 0, 1));
  } else {
    const QuantizedWeight& weight = plan_.fp8_weights[*planned.fp8];
    const WeightEncoding& e = *planned.encoding;
    stored = weight.scale;
    const auto index = [&](std::uint64_t row, std::uint64_t col) {
      return weight.scale_index(row * e.block_n, col * e.block_k);
    };
    for (std::uint64_t row = unit.extent.row_begin; row < unit.extent.row_end; ++row) {
      const std::uint64_t first = index(row, unit.extent.col_begin), last = index(row, unit.extent.col_end - 1);
      OCTAVO_ASSIGN(const auto read, checkpoint_.read_scales(*stored, first, last - first + 1));
      for (std::uint64_t col = unit.extent.col_begin; col < unit.extent.col_end; ++col) {
        buffers.scales.push_back(read[index(row, col) - first]);
      }
    }
  }
  const OutputTensor& out = plan_.outputs[output];
  const auto dtype = out.dtype == DType::kBF16 ? fp8::ScaleDType::kBF16
                     : out.dtype == DType::kU8 ? fp8::ScaleDType::kE8M0
                                               : fp8::ScaleDType::kF32;
  for (const float scale : buffers.scales) {
    if (!(scale > 0) || !std::isfinite(scale)) {
      return failure("tensor \"{}\": holds the scale {}; a scale must be positive and finite", printable(stored->name),
                     scale);
    }
    if (fp8::round_scale(scale, dtype) != scale) {
      return failure(
          "tensor \"{}\": holds the scale {}, which is no power of two though the model says "
          "so (ue8m0); --scale-dtype f32 keeps it",
          printable(stored->name), scale);
    }
  }
  store_scales(buffers.scales, dtype, buffers.stored_scales);
  const std::uint64_t columns = planned.encoding ? ceil_div(source(unit).shape[1], planned.encoding->block_k) : 1;
  const std::uint64_t at = unit.extent.row_begin * columns + unit.extent.col_begin;
  return sink_.write(output, at * dtype_bytes(out.dtype), buffers.stored_scales);
}

// Fills `buffer`, contiguous, with the values of a part.
Status Executor::read_values(const Unit& unit, const Extent& part, std::span<std::byte> buffer, Buffers& buffers) {
  const PlannedTensor& planned = plan_.tensors[unit.tensor];
  if (planned.fp8) {
    return decode_extent(checkpoint_, plan_.fp8_weights[*planned.fp8], part, value_dtype(unit), kernels_, buffers.fp8,
                         buffer);
  }
  return checkpoint_.read_rectangle(source(unit), {part.row_begin, part.row_end, part.col_begin, part.col_end}, buffer);
}

// Reads a part into the beginning of `buffer`. It may hold NaN or infinity.
Result<PieceEncoder> Executor::load(const Unit& unit, const Extent& part, std::span<std::byte> buffer,
                                    Buffers& buffers) {
  OCTAVO_TRY(read_values(unit, part, buffer, buffers));
  PieceEncoder encoder(kernels_, *plan_.tensors[unit.tensor].encoding, value_dtype(unit));
  encoder.load(buffer, part.rows(), part.cols());
  return encoder;
}

// Makes a part that holds NaN or infinity finite, or fails.
Status Executor::make_finite(const Unit& unit, const Extent& part, PieceEncoder& encoder, std::uint64_t* zeroed) {
  const CheckpointTensor& tensor = source(unit);
  if (plan_.spec.nonfinite == NonFinite::kZero) {
    const std::uint64_t count = encoder.zero_nonfinite();
    if (zeroed != nullptr) *zeroed += count;
    return {};
  }
  const auto at = encoder.find_nonfinite();
  bool rounded = false;  // finite in FP32, infinite in BF16
  if (tensor.dtype == DType::kF32 && plan_.tensors[unit.tensor].encoding->via_bf16) {
    float original = 0;
    const std::uint64_t element = (part.row_begin + at->row) * tensor.shape[1] + part.col_begin + at->col;
    OCTAVO_TRY(checkpoint_.read(tensor, element * 4, std::as_writable_bytes(std::span(&original, 1))));
    rounded = std::isfinite(original);
  }
  return failure("tensor \"{}\" in {}: {} at [{}, {}]{}; --nonfinite zero replaces such values by 0",
                 printable(tensor.name), checkpoint_.shards()[tensor.shard].name,
                 std::isnan(at->value) ? "NaN" : "infinity", part.row_begin + at->row, part.col_begin + at->col,
                 rounded ? " (after rounding to BF16; --direct skips that)" : "");
}

// The largest magnitude of a part once it is finite.
Result<float> Executor::finite_amax(const Unit& unit, const Extent& part, PieceEncoder& encoder,
                                    std::uint64_t* zeroed) {
  while (true) {
    if (const auto value = encoder.amax(0, part.rows(), 0, part.cols())) return *value;
    OCTAVO_TRY(make_finite(unit, part, encoder, zeroed));
  }
}

Status Executor::encode(const Unit& unit, Buffers& buffers, UnitResult& result) {
  const WeightEncoding& e = *plan_.tensors[unit.tensor].encoding;
  const std::uint64_t bytes = dtype_bytes(value_dtype(unit));
  for (const Extent& part : parts(unit)) {
    if (part.count() > std::max<std::uint64_t>(1, most_bytes(unit) / bytes)) {
      OCTAVO_TRY(encode_split(unit, part, buffers, result));
      continue;
    }
    buffers.source.resize(part.count() * bytes);
    OCTAVO_ASSIGN(PieceEncoder encoder, load(unit, part, buffers.source, buffers));
    buffers.codes.resize(part.count());
    buffers.scales.resize(((part.rows() - 1) / e.block_n + 1) * ((part.cols() - 1) / e.block_k + 1));
    const Distortion before = result.distortion;
    while (!encoder.encode(buffers.codes, buffers.scales, distortion(result))) {
      result.distortion = before;
      OCTAVO_TRY(make_finite(unit, part, encoder, &result.zeroed));
    }
    OCTAVO_TRY(write_codes(unit, part, buffers.codes));
    OCTAVO_TRY(write_scales(unit, part, buffers, result));
    report(unit, part);
  }
  return {};
}

// A single region that fits a unit but not the window: read in parts, twice.
Status Executor::encode_split(const Unit& unit, const Extent& region, Buffers& buffers, UnitResult& result) {
  const std::uint64_t bytes = dtype_bytes(value_dtype(unit));
  const auto pieces = cut_extent(region, std::max<std::uint64_t>(1, part_bytes(unit) / bytes), source(unit).pitch != 0);
  float largest = 0, scale = 0;
  for (const bool measure : {true, false}) {
    for (const Extent& part : pieces) {
      buffers.source.resize(part.count() * bytes);
      OCTAVO_ASSIGN(PieceEncoder encoder, load(unit, part, buffers.source, buffers));
      if (measure) {
        OCTAVO_ASSIGN(const float amax, finite_amax(unit, part, encoder, &result.zeroed));
        largest = std::max(largest, amax);
        continue;
      }
      if (part.row_begin == region.row_begin && part.col_begin == region.col_begin) scale = encoder.scale(largest);
      OCTAVO_TRY(encode_at(unit, part, encoder, scale, buffers, result));
    }
  }
  return {};
}

Status Executor::amax(const Unit& unit, Buffers& buffers, UnitResult& result, std::byte* keep) {
  const std::uint64_t bytes = dtype_bytes(value_dtype(unit));
  std::uint64_t at = 0;
  for (const Extent& part : parts(unit)) {
    const std::uint64_t size = part.count() * bytes;
    if (keep == nullptr) buffers.source.resize(size);
    const auto data = keep != nullptr ? std::span(keep + at, size) : std::span(buffers.source);
    OCTAVO_ASSIGN(PieceEncoder encoder, load(unit, part, data, buffers));
    OCTAVO_ASSIGN(const float value, finite_amax(unit, part, encoder, &result.zeroed));
    result.amax = std::max(result.amax, value);
    at += size;
  }
  regions_[unit.region].merge(result.amax);
  return {};
}

Status Executor::encode_shared(const Unit& unit, float amax, Buffers& buffers, UnitResult& result, std::byte* kept) {
  const DType values = value_dtype(unit);
  const WeightEncoding& e = *plan_.tensors[unit.tensor].encoding;
  std::uint64_t at = 0;
  for (const Extent& part : parts(unit)) {
    const std::uint64_t size = part.count() * dtype_bytes(values);
    if (kept != nullptr) {
      // What the first pass kept is rounded and finite already.
      const bool rounded = values == DType::kF32 && e.via_bf16;
      PieceEncoder encoder(kernels_, e, rounded ? DType::kBF16 : values);
      encoder.load(std::span(kept + at, size), part.rows(), part.cols());
      OCTAVO_TRY(encode_at(unit, part, encoder, encoder.scale(amax), buffers, result));
    } else {
      buffers.source.resize(size);
      OCTAVO_ASSIGN(PieceEncoder encoder, load(unit, part, buffers.source, buffers));
      OCTAVO_TRY(encode_at(unit, part, encoder, encoder.scale(amax), buffers, result));
    }
    at += size;
  }
  return {};
}

// Encodes a loaded part at the scale of its region, and stores the scale when the part is the region's corner.
Status Executor::encode_at(const Unit& unit, const Extent& part, PieceEncoder& encoder, float scale, Buffers& buffers,
                           UnitResult& result) {
  const WeightEncoding& e = *plan_.tensors[unit.tensor].encoding;
  buffers.codes.resize(part.count());
  const Distortion before = result.distortion;
  while (!encoder.encode_at(scale, buffers.codes, distortion(result))) {
    result.distortion = before;
    OCTAVO_TRY(make_finite(unit, part, encoder, nullptr));  // counted when the region was measured
  }
  OCTAVO_TRY(write_codes(unit, part, buffers.codes));
  if (part.row_begin % e.block_n == 0 && part.col_begin % e.block_k == 0) {
    buffers.scales.assign(1, scale);
    OCTAVO_TRY(write_scales(unit, part, buffers, result));
  }
  report(unit, part);
  return {};
}

Status Executor::write_codes(const Unit& unit, const Extent& part, std::span<const std::uint8_t> codes) {
  return write_part(plan_.tensors[unit.tensor].output, source(unit).shape[1], 1, part, std::as_bytes(codes));
}

// A rectangle of an output of `k` columns, whose elements have `width` bytes.
Status Executor::write_part(std::uint32_t output, std::uint64_t k, std::uint64_t width, const Extent& part,
                            std::span<const std::byte> bytes) {
  const std::uint64_t row = part.cols() * width;
  if (part.cols() == k || part.rows() == 1) {
    return sink_.write(output, (part.row_begin * k + part.col_begin) * width, bytes);
  }
  for (std::uint64_t r = part.row_begin; r < part.row_end; ++r) {
    OCTAVO_TRY(sink_.write(output, (r * k + part.col_begin) * width, bytes.subspan((r - part.row_begin) * row, row)));
  }
  return {};
}

// The scales of a part are contiguous in their tensor: it covers whole rows of regions, or part of one.
Status Executor::write_scales(const Unit& unit, const Extent& part, Buffers& buffers, UnitResult& result) {
  const PlannedTensor& planned = plan_.tensors[unit.tensor];
  const WeightEncoding& e = *planned.encoding;
  const std::uint64_t grid_columns = (source(unit).shape[1] - 1) / e.block_k + 1;
  const std::uint64_t first = part.row_begin / e.block_n * grid_columns + part.col_begin / e.block_k;
  store_scales(buffers.scales, e.scale_dtype, buffers.stored_scales);
  for (const float scale : buffers.scales) result.add_scale(scale);
  return sink_.write(*planned.scale, first * dtype_bytes(plan_.outputs[*planned.scale].dtype), buffers.stored_scales);
}

Summary Executor::summary() const {
  Summary out;
  out.source_bytes = plan_.source_bytes;
  out.output_bytes = plan_.output_bytes;
  out.quantized = plan_.quantized;
  out.kept = plan_.kept;
  std::vector<UnitResult> tensors(plan_.tensors.size());
  std::vector<bool> seen(plan_.tensors.size());
  // In the order of the units, so that sums do not depend on who was done first.
  for (std::size_t i = 0; i < results_.size(); ++i) {
    if (state_[i] != State::kDone) continue;
    const UnitResult& result = results_[i];
    out.zeroed += result.zeroed;
    if (schedule_.units[i].pass == Pass::kAmax) continue;
    const std::uint32_t tensor = schedule_.units[i].tensor;
    seen[tensor] = true;
    UnitResult& sum = tensors[tensor];
    sum.min_scale = std::min(sum.min_scale, result.min_scale);
    sum.max_scale = std::max(sum.max_scale, result.max_scale);
    sum.distortion.signal += result.distortion.signal;
    sum.distortion.noise += result.distortion.noise;
  }
  if (std::find(state_.begin(), state_.end(), State::kElsewhere) != state_.end()) {
    out.quantized = out.kept = 0;  // of this part
    for (std::size_t i = 0; i < seen.size(); ++i) out.quantized += seen[i] && plan_.tensors[i].quantized();
    for (std::size_t i = 0; i < seen.size(); ++i) out.kept += seen[i] && plan_.tensors[i].action == Action::kKeep;
  }
  std::map<std::string, KindScales> kinds;
  for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
    if (!plan_.tensors[i].encodes() || !seen[i]) continue;
    const std::string module(module_name(checkpoint_.tensors()[plan_.tensors[i].source].name));
    std::string leaf(module_leaf(module));
    const UnitResult& t = tensors[i];
    auto [it, added] = kinds.try_emplace(leaf, KindScales{leaf, 0, t.min_scale, t.max_scale, {}});
    KindScales& kind = it->second;
    ++kind.tensors;
    kind.min_scale = std::min(kind.min_scale, t.min_scale);
    kind.max_scale = std::max(kind.max_scale, t.max_scale);
    kind.distortion.signal += t.distortion.signal;
    kind.distortion.noise += t.distortion.noise;
    if (options_.sqnr) out.distortions.push_back({module, t.distortion});
  }
  for (auto& [name, kind] : kinds) out.kinds.push_back(std::move(kind));
  return out;
}

}  // namespace octavo::quant
