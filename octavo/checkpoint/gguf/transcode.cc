// Decode, reorder, round, write. A piece is what one thread does at a time: a run of elements that is contiguous both
// in the source and in the target, or whole heads whose rows are reordered on the way.
#include "octavo/checkpoint/gguf/transcode.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "octavo/base/text.h"
#include "octavo/fp8/half.h"

namespace octavo {
namespace {

// Floats between decoding and rounding: small enough for the L1 cache, a multiple of every block.
constexpr std::size_t kChunk = 16 * kMaxGgmlBlock;

struct Piece {
  std::uint64_t source = 0;  // first element in the GGUF tensor
  std::uint64_t target = 0;  // first element in the written tensor
  std::uint64_t elements = 0;
  bool heads = false;  // whole heads, to be reordered
};

// How a tensor is cut into pieces of at most a window.
class Cut {
 public:
  Cut(const MappedTensor& tensor, std::uint64_t window_elements) : elements_(tensor.source->elements) {
    // Whole blocks, at least one.
    window_ = std::max<std::uint64_t>(window_elements / kMaxGgmlBlock, 1) * kMaxGgmlBlock;
    if (tensor.interleaved_heads == 0) {
      piece_ = window_;
      count_ = (elements_ + piece_ - 1) / piece_;
      return;
    }
    columns_ = tensor.source->shape.size() == 2 ? tensor.source->shape[1] : 1;
    head_rows_ = tensor.source->shape[0] / tensor.interleaved_heads;
    const std::uint64_t head = head_rows_ * columns_;
    if (head <= window_) {
      kind_ = Kind::kHeads;
      piece_ = window_ / head * head;
      count_ = (elements_ + piece_ - 1) / piece_;
    } else {
      kind_ = Kind::kRows;
      piece_ = std::min(columns_, window_);
      pieces_a_row_ = (columns_ + piece_ - 1) / piece_;
      count_ = tensor.source->shape[0] * pieces_a_row_;
    }
  }

  std::uint64_t count() const { return count_; }
  std::uint64_t columns() const { return columns_; }
  std::uint64_t head_rows() const { return head_rows_; }
  // The row of the source that becomes `row` of the target.
  std::uint64_t source_row(std::uint64_t row) const {
    const std::uint64_t in_head = row % head_rows_;
    const std::uint64_t half = head_rows_ / 2;
    return row - in_head + 2 * (in_head % half) + in_head / half;
  }

  Piece piece(std::uint64_t index) const {
    if (kind_ != Kind::kRows) {
      const std::uint64_t begin = index * piece_;
      return {begin, begin, std::min(piece_, elements_ - begin), kind_ == Kind::kHeads};
    }
    const std::uint64_t row = index / pieces_a_row_;
    const std::uint64_t column = index % pieces_a_row_ * piece_;
    return {source_row(row) * columns_ + column, row * columns_ + column, std::min(piece_, columns_ - column), false};
  }

 private:
  enum class Kind { kRun, kHeads, kRows };
  Kind kind_ = Kind::kRun;
  std::uint64_t elements_;
  std::uint64_t window_ = 0;
  std::uint64_t piece_ = 0;
  std::uint64_t count_ = 0;
  std::uint64_t columns_ = 1;
  std::uint64_t head_rows_ = 1;
  std::uint64_t pieces_a_row_ = 1;
};

// The smallest magnitude, as FP32 bits, that dtype rounds to infinity (NaN is above all): BF16 from halfway beyond its
// largest number 0x7F7F, F16 from halfway beyond 65504, F32 from infinity itself.
std::uint32_t overflow_bits(DType dtype) {
  if (dtype == DType::kBF16) return 0x7F7F8000u;
  if (dtype == DType::kF16) return std::bit_cast<std::uint32_t>(65520.0f);
  return 0x7F800000u;
}

void store(DType dtype, std::span<const float> values, std::byte* out) {
  if (dtype == DType::kF32) {
    std::memcpy(out, values.data(), values.size_bytes());
    return;
  }
  const auto convert = [&](auto round) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint16_t bits = round(values[i]);
      std::memcpy(out + 2 * i, &bits, sizeof bits);
    }
  };
  if (dtype == DType::kBF16) {
    convert([](float value) { return fp8::float_to_bf16(value); });
  } else {
    convert([](float value) { return fp8::float_to_f16(value); });
  }
}

class Worker {
 public:
  Worker(const ByteSource& source, const TranscodeOptions& options, OutputJob& out)
      : source_(source), options_(options), out_(out), element_bytes_(dtype_bytes(options.dtype)) {}

  static std::uint64_t source_bytes(const TranscodeJob& job, const Piece& piece) {
    const GgmlType& type = *job.tensor.source->type;
    return piece.elements / type.block_elements * type.block_bytes;
  }

  Status run(const TranscodeJob& job, const Cut& cut, const Piece& piece) {
    const GgmlType& type = *job.tensor.source->type;
    // Pieces begin and end at block borders: windows are whole blocks and so are rows.
    const std::uint64_t first = piece.source / type.block_elements * type.block_bytes;
    raw_.resize(static_cast<std::size_t>(source_bytes(job, piece)));
    OCTAVO_TRY(source_.read_at(job.tensor.source->offset + first, raw_));
    written_.resize(static_cast<std::size_t>(piece.elements * element_bytes_));
    if (!piece.heads) {
      OCTAVO_TRY(convert(job, piece.source, 0, 0, piece.elements));
    } else {
      const std::uint64_t columns = cut.columns();
      for (std::uint64_t row = 0; row < piece.elements / columns; ++row) {
        OCTAVO_TRY(convert(job, piece.source, cut.source_row(row) * columns, row * columns, columns));
      }
    }
    OCTAVO_TRY(out_.write(job.file, job.target + piece.target * element_bytes_, written_));
    if (options_.progress != nullptr) options_.progress->advance(raw_.size(), job.tensor.name);
    return {};
  }

 private:
  // Elements [from, from + count) of raw_ become elements [to, to + count) of written_. `base` is the tensor's element
  // at the start of raw_, for messages.
  Status convert(const TranscodeJob& job, std::uint64_t base, std::uint64_t from, std::uint64_t to,
                 std::uint64_t count) {
    const GgmlType& type = *job.tensor.source->type;
    const std::uint32_t limit = overflow_bits(options_.dtype);
    for (std::uint64_t done = 0; done < count;) {
      const std::uint64_t n = std::min<std::uint64_t>(kChunk, count - done);
      const std::span<const float> values = std::span(floats_).first(static_cast<std::size_t>(n));
      type.decode(raw_.data() + (from + done) / type.block_elements * type.block_bytes,
                  static_cast<std::size_t>(n / type.block_elements), floats_.data());
      std::uint32_t largest = 0;
      for (const float value : values) largest = std::max(largest, std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFu);
      if (largest >= limit) return report(job, base + from + done, values, limit);
      store(options_.dtype, values, written_.data() + (to + done) * element_bytes_);
      done += n;
    }
    return {};
  }

  Error report(const TranscodeJob& job, std::uint64_t first, std::span<const float> values, std::uint32_t limit) const {
    std::size_t i = 0;
    while ((std::bit_cast<std::uint32_t>(values[i]) & 0x7FFFFFFFu) < limit) ++i;
    const std::string name = printable(job.tensor.source->name);
    const std::uint64_t index = first + i;
    if ((std::bit_cast<std::uint32_t>(values[i]) & 0x7F800000u) == 0x7F800000u) {
      return failure("{}: tensor '{}' holds {} at element {}; the file is damaged or the model is broken",
                     source_.describe(), name, values[i], index);
    }
    return failure("{}: tensor '{}' holds {} at element {}, which {} cannot express; import as {}", source_.describe(),
                   name, values[i], index, dtype_name(options_.dtype),
                   options_.dtype == DType::kF16 ? "bf16 or f32" : "f32");
  }

  const ByteSource& source_;
  const TranscodeOptions& options_;
  OutputJob& out_;
  std::uint64_t element_bytes_;
  std::vector<std::byte> raw_;
  std::vector<std::byte> written_;
  std::array<float, kChunk> floats_{};
};

// All pieces of all jobs, numbered through.
struct Pieces {
  std::vector<Cut> cuts;
  std::vector<std::uint64_t> ends;  // number of pieces up to and with each job
  std::uint64_t count = 0;

  Pieces(const std::vector<TranscodeJob>& jobs, const TranscodeOptions& options) {
    for (const TranscodeJob& job : jobs) {
      cuts.emplace_back(job.tensor, options.window_bytes / dtype_bytes(options.dtype));
      count += cuts.back().count();
      ends.push_back(count);
    }
  }
};

}  // namespace

std::vector<OutputUnit> transcode_units(const std::vector<TranscodeJob>& jobs, const TranscodeOptions& options) {
  std::vector<OutputUnit> out;
  const Pieces pieces(jobs, options);
  for (std::size_t job = 0; job < jobs.size(); ++job) {
    const Cut& cut = pieces.cuts[job];
    for (std::uint64_t i = 0; i < cut.count(); ++i) {
      out.push_back({jobs[job].file, cut.piece(i).elements * dtype_bytes(options.dtype)});
    }
  }
  return out;
}

Status transcode(const ByteSource& source, const std::vector<TranscodeJob>& jobs, const TranscodeOptions& options,
                 OutputJob& out) {
  const Pieces pieces(jobs, options);
  struct Place {
    std::size_t job = 0;
    Piece piece;
  };
  const auto place = [&](std::uint32_t unit) -> Place {
    const auto job =
        static_cast<std::size_t>(std::upper_bound(pieces.ends.begin(), pieces.ends.end(), unit) - pieces.ends.begin());
    return {job, pieces.cuts[job].piece(unit - (job == 0 ? 0 : pieces.ends[job - 1]))};
  };
  for (std::uint32_t unit = 0; options.progress != nullptr && unit < pieces.count; ++unit) {
    if (!out.is_complete(unit)) continue;
    const auto [job, piece] = place(unit);
    options.progress->skip(Worker::source_bytes(jobs[job], piece));
  }
  std::vector<Worker> workers(static_cast<std::size_t>(options.threads), Worker(source, options, out));
  return out.for_each_unit(options.threads, pieces.count, [&](std::uint32_t unit, int worker) {
    const auto [job, piece] = place(unit);
    return workers[static_cast<std::size_t>(worker)].run(jobs[job], pieces.cuts[job], piece);
  });
}

}  // namespace octavo
