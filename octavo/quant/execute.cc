// The streaming execution of a plan. Pieces are claimed in order by the workers; each worker owns its buffers.
#include "octavo/quant/execute.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <map>
#include <mutex>

#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/checkpoint/folder_writer.h"
#include "octavo/quant/encode_piece.h"
#include "octavo/quant/schedule.h"
#include "octavo/quant/selection.h"

namespace octavo::quant {
namespace {

// A piece of 16-bit values costs, per byte of source: itself, half a byte of codes, and in the worst case (K = 1: one
// scale an element) two bytes of scales twice, as floats and as stored. 6 bytes of window cover that.
constexpr std::uint64_t kWindowPerPiece = 6;
constexpr std::uint64_t kLargestPiece = 8ull << 20;  // beyond this a larger read gains nothing

std::uint64_t piece_bytes(const ExecuteOptions& options) {
  const auto threads = static_cast<std::uint64_t>(options.threads);
  constexpr std::uint64_t kSmallestPiece = 4096;
  return std::clamp(options.window_bytes / threads / kWindowPerPiece, kSmallestPiece, kLargestPiece);
}

// A scale region that is worked on in parts.
struct Region {
  std::atomic<std::uint32_t> amax_bits{0};  // of a non-negative float: ordered as the float is
  std::atomic<std::uint32_t> parts_left{0};

  void merge(float amax) {
    const auto bits = std::bit_cast<std::uint32_t>(amax);
    std::uint32_t seen = amax_bits.load(std::memory_order_relaxed);
    while (seen < bits && !amax_bits.compare_exchange_weak(seen, bits, std::memory_order_relaxed)) {
    }
  }
  void part_done() {
    if (parts_left.fetch_sub(1, std::memory_order_acq_rel) == 1) parts_left.notify_all();
  }
  float wait_amax() const {
    for (std::uint32_t left = parts_left.load(std::memory_order_acquire); left != 0;
         left = parts_left.load(std::memory_order_acquire)) {
      parts_left.wait(left, std::memory_order_acquire);
    }
    return std::bit_cast<float>(amax_bits.load(std::memory_order_relaxed));
  }
};

struct PartDone {
  Region& region;
  ~PartDone() { region.part_done(); }
};

struct ScaleRange {
  float min = INFINITY, max = 0;
  void add(float s) {
    min = std::min(min, s);
    max = std::max(max, s);
  }
};

class Executor {
 public:
  Executor(const Checkpoint& checkpoint, const Plan& plan, TensorSink& sink, const ExecuteOptions& options)
      : checkpoint_(checkpoint),
        plan_(plan),
        sink_(sink),
        options_(options),
        kernels_(cpu::encode_kernels(options.isa)),
        schedule_(make_schedule(checkpoint, plan, piece_bytes(options))),
        regions_(schedule_.region_parts.size()),
        ranges_(plan.tensors.size()),
        buffers_(static_cast<std::size_t>(options.threads)) {
    for (std::size_t i = 0; i < regions_.size(); ++i) regions_[i].parts_left = schedule_.region_parts[i];
  }

  Status run() {
    return for_each_index(options_.threads, schedule_.pieces.size(), [this](std::size_t i, int worker) {
      return run_piece(schedule_.pieces[i], buffers_[static_cast<std::size_t>(worker)]);
    });
  }

  Summary summary() const {
    Summary out;
    out.source_bytes = plan_.source_bytes;
    out.output_bytes = plan_.output_bytes;
    out.quantized = plan_.quantized;
    out.kept = plan_.tensors.size() - plan_.quantized;
    out.zeroed = zeroed_.load();
    std::map<std::string, KindScales> kinds;
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      if (!plan_.tensors[i].quantize) continue;
      std::string kind(module_leaf(module_name(source(plan_.tensors[i]).name)));
      auto [it, added] = kinds.try_emplace(kind, KindScales{kind, 0, ranges_[i].min, ranges_[i].max});
      ++it->second.tensors;
      it->second.min_scale = std::min(it->second.min_scale, ranges_[i].min);
      it->second.max_scale = std::max(it->second.max_scale, ranges_[i].max);
    }
    for (auto& [name, kind] : kinds) out.kinds.push_back(std::move(kind));
    return out;
  }

 private:
  struct Buffers {
    std::vector<std::byte> source, stored_scales;
    std::vector<std::uint8_t> codes;
    std::vector<float> scales;
  };

  const CheckpointTensor& source(const PlannedTensor& planned) const { return checkpoint_.tensors()[planned.source]; }

  void report(const Piece& piece, std::uint64_t bytes) {
    if (options_.progress != nullptr) options_.progress->advance(bytes, source(plan_.tensors[piece.tensor]).name);
  }

  Status run_piece(const Piece& piece, Buffers& buffers) {
    switch (piece.pass) {
      case Pass::kCopy: return copy(piece, buffers);
      case Pass::kEncode: return encode(piece, buffers);
      case Pass::kAmax: {
        const PartDone done{regions_[piece.region]};  // also after an error, so that nobody waits for ever
        return amax(piece, buffers);
      }
      case Pass::kEncodeShared: return encode_shared(piece, buffers);
    }
    return {};
  }

  Status copy(const Piece& piece, Buffers& buffers) {
    const PlannedTensor& planned = plan_.tensors[piece.tensor];
    buffers.source.resize(piece.row_end - piece.row_begin);
    OCTAVO_TRY(checkpoint_.read(source(planned), piece.row_begin, buffers.source));
    OCTAVO_TRY(sink_.write(planned.output, piece.row_begin, buffers.source));
    report(piece, buffers.source.size());
    return {};
  }

  // Reads the piece into the worker's buffer, contiguous. It may hold NaN or infinity.
  Result<PieceEncoder> load(const Piece& piece, Buffers& buffers) {
    const PlannedTensor& planned = plan_.tensors[piece.tensor];
    const CheckpointTensor& tensor = source(planned);
    const std::uint64_t bytes = dtype_bytes(tensor.dtype), k = tensor.shape[1];
    const std::uint64_t rows = piece.row_end - piece.row_begin, cols = piece.col_end - piece.col_begin;
    buffers.source.resize(rows * cols * bytes);
    const std::span<std::byte> data(buffers.source);
    if (cols == k) {
      OCTAVO_TRY(checkpoint_.read(tensor, piece.row_begin * k * bytes, data));
    } else {
      for (std::uint64_t r = 0; r < rows; ++r) {
        OCTAVO_TRY(checkpoint_.read(tensor, ((piece.row_begin + r) * k + piece.col_begin) * bytes,
                                    data.subspan(r * cols * bytes, cols * bytes)));
      }
    }
    PieceEncoder encoder(kernels_, *planned.encoding, tensor.dtype);
    encoder.load(data, rows, cols);
    return encoder;
  }

  // Makes a piece that holds NaN or infinity finite, or fails.
  Status make_finite(const Piece& piece, PieceEncoder& encoder) {
    const PlannedTensor& planned = plan_.tensors[piece.tensor];
    const CheckpointTensor& tensor = source(planned);
    const std::uint64_t k = tensor.shape[1];
    if (plan_.spec.nonfinite == NonFinite::kZero) {
      const std::uint64_t count = encoder.zero_nonfinite();
      if (piece.pass != Pass::kAmax) zeroed_ += count;  // a piece that is read twice is counted once
      return {};
    }
    const auto at = encoder.find_nonfinite();
    bool rounded = false;  // finite in FP32, infinite in BF16
    if (tensor.dtype == DType::kF32 && planned.encoding->via_bf16) {
      float original = 0;
      const std::uint64_t element = (piece.row_begin + at->row) * k + piece.col_begin + at->col;
      OCTAVO_TRY(checkpoint_.read(tensor, element * 4, std::as_writable_bytes(std::span(&original, 1))));
      rounded = std::isfinite(original);
    }
    return failure("tensor \"{}\" in {}: {} at [{}, {}]{}; --nonfinite zero replaces such values by 0",
                   printable(tensor.name), checkpoint_.shards()[tensor.shard].name,
                   std::isnan(at->value) ? "NaN" : "infinity", piece.row_begin + at->row, piece.col_begin + at->col,
                   rounded ? " (after rounding to BF16; --direct skips that)" : "");
  }

  // The largest magnitude of the piece once it is finite.
  Result<float> finite_amax(const Piece& piece, PieceEncoder& encoder) {
    while (true) {
      const auto value = encoder.amax(0, piece.row_end - piece.row_begin, 0, piece.col_end - piece.col_begin);
      if (value) return *value;
      OCTAVO_TRY(make_finite(piece, encoder));
    }
  }

  Status encode(const Piece& piece, Buffers& buffers) {
    const PlannedTensor& planned = plan_.tensors[piece.tensor];
    const WeightEncoding& e = *planned.encoding;
    const std::uint64_t k = source(planned).shape[1];
    const std::uint64_t rows = piece.row_end - piece.row_begin, cols = piece.col_end - piece.col_begin;
    OCTAVO_ASSIGN(PieceEncoder encoder, load(piece, buffers));
    buffers.codes.resize(rows * cols);
    buffers.scales.resize(((rows - 1) / e.block_n + 1) * ((cols - 1) / e.block_k + 1));
    while (!encoder.encode(buffers.codes, buffers.scales)) OCTAVO_TRY(make_finite(piece, encoder));
    OCTAVO_TRY(write_codes(piece, planned, buffers.codes));
    const std::uint64_t grid_columns = (k - 1) / e.block_k + 1;
    OCTAVO_TRY(write_scales(piece, planned, buffers,
                            piece.row_begin / e.block_n * grid_columns + piece.col_begin / e.block_k));
    report(piece, rows * cols * dtype_bytes(source(planned).dtype));
    return {};
  }

  Status amax(const Piece& piece, Buffers& buffers) {
    OCTAVO_ASSIGN(PieceEncoder encoder, load(piece, buffers));
    OCTAVO_ASSIGN(const float value, finite_amax(piece, encoder));
    regions_[piece.region].merge(value);
    return {};
  }

  Status encode_shared(const Piece& piece, Buffers& buffers) {
    const PlannedTensor& planned = plan_.tensors[piece.tensor];
    const WeightEncoding& e = *planned.encoding;
    const std::uint64_t k = source(planned).shape[1];
    OCTAVO_ASSIGN(PieceEncoder encoder, load(piece, buffers));
    OCTAVO_TRY(finite_amax(piece, encoder));
    const float scale = encoder.scale(regions_[piece.region].wait_amax());
    buffers.codes.resize((piece.row_end - piece.row_begin) * (piece.col_end - piece.col_begin));
    encoder.encode_at(scale, buffers.codes);
    OCTAVO_TRY(write_codes(piece, planned, buffers.codes));
    if (piece.row_begin % e.block_n == 0 && piece.col_begin % e.block_k == 0) {
      buffers.scales.assign(1, scale);
      const std::uint64_t grid_columns = (k - 1) / e.block_k + 1;
      OCTAVO_TRY(write_scales(piece, planned, buffers,
                              piece.row_begin / e.block_n * grid_columns + piece.col_begin / e.block_k));
    }
    report(piece, buffers.codes.size() * dtype_bytes(source(planned).dtype));
    return {};
  }

  Status write_codes(const Piece& piece, const PlannedTensor& planned, std::span<const std::uint8_t> codes) {
    const std::uint64_t k = source(planned).shape[1], cols = piece.col_end - piece.col_begin;
    const auto bytes = std::as_bytes(codes);
    if (cols == k) return sink_.write(planned.output, piece.row_begin * k, bytes);
    for (std::uint64_t r = piece.row_begin; r < piece.row_end; ++r) {
      OCTAVO_TRY(
          sink_.write(planned.output, r * k + piece.col_begin, bytes.subspan((r - piece.row_begin) * cols, cols)));
    }
    return {};
  }

  // `first` is the index, in the scale tensor, of the piece's first scale. The scales of a piece are contiguous there:
  // it covers whole rows of regions, or part of one.
  Status write_scales(const Piece& piece, const PlannedTensor& planned, Buffers& buffers, std::uint64_t first) {
    store_scales(buffers.scales, planned.encoding->scale_dtype, buffers.stored_scales);
    OCTAVO_TRY(
        sink_.write(*planned.scale, first * dtype_bytes(plan_.outputs[*planned.scale].dtype), buffers.stored_scales));
    ScaleRange range;
    for (const float s : buffers.scales) range.add(s);
    const std::lock_guard lock(ranges_mutex_);
    ranges_[piece.tensor].add(range.min);
    ranges_[piece.tensor].add(range.max);
    return {};
  }

  const Checkpoint& checkpoint_;
  const Plan& plan_;
  TensorSink& sink_;
  const ExecuteOptions options_;
  const cpu::EncodeKernels& kernels_;
  const Schedule schedule_;
  std::vector<Region> regions_;
  std::mutex ranges_mutex_;
  std::vector<ScaleRange> ranges_;  // per planned tensor
  std::vector<Buffers> buffers_;    // per worker
  std::atomic<std::uint64_t> zeroed_{0};
};

// The shards of an output folder, at the places the plan gave them.
class FolderSink final : public TensorSink {
 public:
  explicit FolderSink(const Plan& plan) : plan_(plan) {}

  Status create(FolderWriter& folder) {
    for (std::size_t s = 0; s < plan_.shards.size(); ++s) {
      OCTAVO_ASSIGN(File file, folder.create_file(plan_.shards[s].name, plan_.shards[s].bytes));
      OCTAVO_TRY(file.write_at(0, as_bytes(shard_header(plan_, s))));
      files_.push_back(std::move(file));
    }
    return {};
  }
  Status write(std::uint32_t output, std::uint64_t offset, std::span<const std::byte> bytes) override {
    const OutputTensor& out = plan_.outputs[output];
    return files_[out.shard].write_at(out.offset + offset, bytes);
  }
  Status finish() {
    for (File& file : files_) {
      OCTAVO_TRY(file.sync());
      OCTAVO_TRY(file.close());
    }
    return {};
  }

 private:
  const Plan& plan_;
  std::vector<File> files_;  // one per Plan::shards
};

ExecuteOptions with_window(ExecuteOptions options, std::uint64_t window_bytes) {
  if (options.window_bytes == 0) options.window_bytes = window_bytes;
  return options;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Result<Summary> encode_tensors(const Checkpoint& checkpoint, const Plan& plan, TensorSink& sink,
                               const ExecuteOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Executor executor(checkpoint, plan, sink, with_window(options, online_window(options.threads)));
  OCTAVO_TRY(executor.run());
  Summary summary = executor.summary();
  summary.seconds = seconds_since(start);
  return summary;
}

Result<Summary> execute(const Checkpoint& checkpoint, const Plan& plan, const std::filesystem::path& out,
                        const ExecuteOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  OCTAVO_ASSIGN(FolderWriter folder, FolderWriter::create(out, checkpoint.dir()));
  FolderSink sink(plan);
  OCTAVO_TRY(sink.create(folder));
  OCTAVO_ASSIGN(Summary summary, encode_tensors(checkpoint, plan, sink, with_window(options, kDefaultWindow)));
  OCTAVO_TRY(sink.finish());
  OCTAVO_TRY(folder.copy_files(checkpoint.dir(), checkpoint.other_files()));
  if (plan.has_index) OCTAVO_TRY(folder.write_text("model.safetensors.index.json", index_text(plan)));
  OCTAVO_TRY(folder.write_text("config.json", plan.config_text));
  OCTAVO_TRY(folder.commit());
  summary.seconds = seconds_since(start);
  return summary;
}

}  // namespace octavo::quant
