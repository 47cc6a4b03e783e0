// Pieces of weights are judged in parallel; what they found is merged in the file's order, so that a report does not
// depend on the number of threads.
#include "octavo/verify/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/verify/codes.h"
#include "octavo/verify/scale_rules.h"

namespace octavo::verify {
namespace {

constexpr std::uint64_t kPiece = std::uint64_t{1} << 21;  // elements a worker reads at a time, about
// Pieces hold whole rows of blocks, so that each scale's region is in one piece, unless such a row is longer than this.
constexpr std::uint64_t kLongestPiece = std::uint64_t{1} << 23;
constexpr std::size_t kRun = 4096;  // elements widened to floats at a time
// A scale is amax over the format's maximum, rounded: beyond this it cannot have come from these weights.
constexpr float kSaturationAllowed = 1.1f;

fp8::Format format_of(const Module& module) { return code_format(module.weight->dtype); }

// A run of elements of one module's weight, in row-major order and of one expert.
struct Piece {
  std::size_t module = 0;
  std::uint64_t begin = 0, end = 0;
};

struct Finding {
  Measure measure;
  FitCounts scales;  // without per-tensor scales, which are judged at the end
  std::uint64_t nonfinite_codes = 0, first_nonfinite = kNowhere;  // index in the tensor
  bool nonzero_codes = false;
};

// Where the scales of a module lie: one for each block_n x block_k region of an expert. The grid that the scale's shape
// says, or, where there is no sound scale, the group's.
struct Grid {
  std::uint64_t block_n, block_k, columns;  // columns of the grid
  std::uint64_t rows, expert_scales;        // of one expert
  std::uint64_t index(std::uint64_t row, std::uint64_t column) const {
    return row / rows * expert_scales + row % rows / block_n * columns + column / block_k;
  }
};

Grid grid_of(const Subject& subject, const Module& module) {
  const QuantizationGroup& group = subject.group_of(module);
  const std::uint64_t n = module.rows(), k = module.columns();
  if (module.joined_experts() && module.grid.scale != nullptr) {
    const QuantizedWeight& g = module.grid;
    return {g.block_n, g.block_k, g.scale_columns, n, g.expert_scales};
  }
  switch (group.granularity) {
    case Granularity::kTensor: return {n, k, 1, n, 0};
    case Granularity::kChannel: return {1, k, 1, n, 0};
    case Granularity::kBlock:
    case Granularity::kGroup: break;
  }
  return {group.block_n, group.block_k, k / group.block_k + (k % group.block_k != 0 ? 1 : 0), n, 0};
}

// Elements under one scale; the sizes are equal.
struct Run {
  std::span<const std::uint8_t> codes;
  std::span<const float> values, inputs;  // the source, and what rules start from
  float scale = 0;
  std::size_t region = 0;  // index into Buffers::regions and ::scales
  std::uint64_t at = 0;    // index of the first element in the tensor
};

// A worker's memory, reused from piece to piece.
struct Buffers {
  std::vector<std::byte> codes, weights, scale_bytes;
  std::vector<float> scales;
  std::vector<Measure> regions;  // one a scale
  std::array<float, kRun> values, inputs;
};

class Weights {
 public:
  Weights(const Subject& subject, const std::vector<ScaleRange>& ranges, const Checkpoint* source,
          const Options& options, Report& report)
      : subject_(subject), ranges_(ranges), source_(source), options_(options), report_(report) {}

  Status check() {
    for (std::size_t i = 0; i < subject_.modules.size(); ++i) {
      if (subject_.modules[i].quantized()) add_pieces(i);
    }
    buffers_.resize(static_cast<std::size_t>(options_.threads));
    std::vector<Finding> findings(pieces_.size());
    Status done = for_each_index(options_.threads, pieces_.size(), [&](std::size_t i, int worker) -> Status {
      OCTAVO_ASSIGN(findings[i], judge(pieces_[i], buffers_[static_cast<std::size_t>(worker)]));
      if (options_.progress != nullptr) {
        options_.progress->advance(pieces_[i].end - pieces_[i].begin, module(pieces_[i]).name);
      }
      return {};
    });
    if (!done.ok()) return done;
    std::vector<Finding> merged(subject_.modules.size());
    for (std::size_t i = 0; i < pieces_.size(); ++i) merge(findings[i], merged[pieces_[i].module]);
    report_codes(merged);
    if (source_ == nullptr) warn_zero_codes(merged);
    return source_ == nullptr ? Status() : report_errors(merged);
  }

 private:
  const Module& module(const Piece& piece) const { return subject_.modules[piece.module]; }

  void add_pieces(std::size_t i) {
    const Module& m = subject_.modules[i];
    if (m.rows() == 0 || m.columns() == 0) return;
    const std::uint64_t expert = m.rows() * m.columns();  // elements, a byte each
    const std::uint64_t block_rows = std::clamp<std::uint64_t>(grid_of(subject_, m).block_n, 1, m.rows());
    const std::uint64_t block_row = std::max<std::uint64_t>(block_rows * m.columns(), 1);
    const std::uint64_t step =
        block_row <= kLongestPiece ? std::max(kPiece / block_row, std::uint64_t{1}) * block_row : kPiece;
    for (std::uint64_t begin = 0; begin < m.weight->bytes; begin += expert) {
      const std::uint64_t end = begin + expert;
      for (std::uint64_t at = begin; at < end; at += step) pieces_.push_back({i, at, std::min(at + step, end)});
    }
  }

  static void merge(const Finding& from, Finding& into) {
    into.measure.merge(from.measure);
    into.scales.merge(from.scales);
    into.nonzero_codes |= from.nonzero_codes;
    into.nonfinite_codes += from.nonfinite_codes;
    into.first_nonfinite = std::min(into.first_nonfinite, from.first_nonfinite);
  }

  // The weight that the module was quantized from, or nullptr when there is none to compare with.
  const CheckpointTensor* source_of(std::size_t i) const {
    if (source_ == nullptr || !ranges_[i].readable) return nullptr;
    const Module& m = subject_.modules[i];
    const CheckpointTensor* tensor = source_->find(m.weight->name);
    return tensor != nullptr && is_quantizable(tensor->dtype) && tensor->shape == m.weight->shape ? tensor : nullptr;
  }

  Status read_codes(const Piece& piece, Buffers& b) const {
    b.codes.resize(static_cast<std::size_t>(piece.end - piece.begin));
    return subject_.checkpoint->read(*module(piece).weight, piece.begin, b.codes);
  }

  static std::span<const std::uint8_t> as_codes(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
  }

  Result<Finding> judge(const Piece& piece, Buffers& b) const {
    Finding out;
    OCTAVO_TRY(read_codes(piece, b));
    const fp8::Format format = format_of(module(piece));
    out.nonfinite_codes = count_nonfinite_codes(format, as_codes(b.codes), out.first_nonfinite);
    if (out.nonfinite_codes != 0) out.first_nonfinite += piece.begin;
    const CheckpointTensor* source = source_of(piece.module);
    if (source == nullptr) {
      out.nonzero_codes = std::any_of(b.codes.begin(), b.codes.end(),
                                      [](std::byte code) { return (code & std::byte{0x7F}) != std::byte{0}; });
      return out;
    }
    OCTAVO_TRY(for_each_run(piece, *source, b, [&](const Run& run) {
      measure_codes(format, run.codes, run.values, run.inputs, run.scale, b.regions[run.region]);
    }));
    for (const Measure& region : b.regions) out.measure.merge(region);
    judge_scales(piece, format, b, out.scales);
    return out;
  }

  // The scales whose whole region lies in the piece, which ends with a row of blocks.
  void judge_scales(const Piece& piece, fp8::Format format, const Buffers& b, FitCounts& out) const {
    const Module& m = module(piece);
    const Grid grid = grid_of(subject_, m);
    const Granularity granularity = subject_.group_of(m).granularity;
    if (granularity == Granularity::kTensor || std::min(grid.block_n, m.rows()) * m.columns() > kLongestPiece) return;
    if (!is_quantizable(m.scale->dtype)) return;  // powers of two have no low bits
    const std::uint64_t first = grid.index(piece.begin / m.columns(), 0);
    for (std::size_t i = 0; i < b.regions.size(); ++i) {
      const Measure& region = b.regions[i];
      if (region.amax == 0 || region.nonfinite != 0) continue;
      float expected = 0;
      const ScaleFit fit = fit_scale(format, m.scale->dtype, region.amax, region.amax_direct, b.scales[i], expected);
      out.add(fit, first + i, b.scales[i], expected);
    }
  }

  // Reads the source and the scales of the piece, empties the regions and calls visit(run) for runs under one scale.
  // The codes are in `b` already.
  template <typename Visit>
  Status for_each_run(const Piece& piece, const CheckpointTensor& source, Buffers& b, Visit visit) const {
    const Module& m = module(piece);
    const Grid grid = grid_of(subject_, m);
    const std::uint64_t k = m.columns();
    const std::size_t width = dtype_bytes(source.dtype);
    b.weights.resize(b.codes.size() * width);
    OCTAVO_TRY(source_->read(source, piece.begin * width, b.weights));
    const std::uint64_t first_scale = grid.index(piece.begin / k, 0);
    const std::uint64_t last_scale = grid.index((piece.end - 1) / k, k - 1) + 1;
    const std::size_t scale_width = dtype_bytes(m.scale->dtype);
    b.scales.resize(static_cast<std::size_t>(last_scale - first_scale));
    b.scale_bytes.resize(b.scales.size() * scale_width);
    OCTAVO_TRY(subject_.checkpoint->read(*m.scale, first_scale * scale_width, b.scale_bytes));
    widen(m.scale->dtype, b.scale_bytes, b.scales);
    b.regions.assign(b.scales.size(), Measure());

    const bool whole = grid.block_n >= m.rows() && grid.block_k >= k;  // one scale for all rows
    for (std::uint64_t at = piece.begin; at < piece.end;) {
      const std::uint64_t row = at / k, column = at % k;
      const std::uint64_t to_edge = std::min(grid.block_k - column % grid.block_k, k - column);
      const std::uint64_t n = std::min({whole ? piece.end : to_edge, piece.end - at, std::uint64_t{kRun}});
      const auto offset = static_cast<std::size_t>(at - piece.begin), count = static_cast<std::size_t>(n);
      const auto region = static_cast<std::size_t>(grid.index(row, column) - first_scale);
      const std::span<float> values(b.values.data(), count);
      widen(source.dtype, std::span(b.weights).subspan(offset * width, count * width), values);
      std::span<const float> inputs = values;
      if (source.dtype == DType::kF32) {
        std::copy(values.begin(), values.end(), b.inputs.begin());
        round_to_bf16({b.inputs.data(), count});
        inputs = {b.inputs.data(), count};
      }
      visit(Run{as_codes(b.codes).subspan(offset, count), values, inputs, b.scales[region], region, at});
      at += n;
    }
    return {};
  }

  void violation(const std::string& where, std::string what) {
    report_.violations.push_back({printable(where), std::move(what), ""});
  }

  // "[row, column]" of an element, "[expert, row, column]" where experts are joined.
  static std::string place(const Module& m, std::uint64_t index) {
    const std::uint64_t row = index / m.columns(), column = index % m.columns();
    if (!m.joined_experts()) return fmt::format("[{}, {}]", row, column);
    return fmt::format("[{}, {}, {}]", row / m.rows(), row % m.rows(), column);
  }

  void report_codes(const std::vector<Finding>& merged) {
    for (std::size_t i = 0; i < merged.size(); ++i) {
      const Module& m = subject_.modules[i];
      if (merged[i].nonfinite_codes == 0) continue;
      violation(m.weight->name,
                fmt::format("{} of {} codes are NaN or infinity, the first at {}", merged[i].nonfinite_codes,
                            m.weight->bytes, place(m, merged[i].first_nonfinite)));
    }
  }

  // The scale says that there were other weights than zeros, unless it is shared with other tensors.
  void warn_zero_codes(const std::vector<Finding>& merged) {
    std::vector<bool> shared(merged.size());
    for (const FusedGroup& group : subject_.fused) {
      for (const std::size_t i : group.members) {
        shared[i] = subject_.group_of(subject_.modules[i]).granularity == Granularity::kTensor;
      }
    }
    std::vector<bool> read(merged.size());
    for (const Piece& piece : pieces_) read[piece.module] = true;
    for (std::size_t i = 0; i < merged.size(); ++i) {
      const ScaleRange& range = ranges_[i];
      if (!read[i] || merged[i].nonzero_codes || shared[i] || !range.readable) continue;
      if (range.smallest == 1 && range.largest == 1) continue;
      report_.warnings.push_back(
          fmt::format("{}: every code is zero, but the scales are {:.3g} .. {:.3g}; a scale of zeros alone is 1",
                      printable(subject_.modules[i].weight->name), range.smallest, range.largest));
    }
  }

  Status report_errors(const std::vector<Finding>& merged) {
    std::vector<RuleCounts> counts(merged.size());
    OCTAVO_TRY(count_doubtful(merged, counts));
    std::map<Rule, std::size_t> rules;
    for (std::size_t i = 0; i < merged.size(); ++i) {
      const Measure& measure = merged[i].measure;
      if (measure.elements == 0) continue;
      add_error(subject_.modules[i], measure);
      const auto best = static_cast<std::size_t>(
          std::min_element(std::begin(counts[i].wrong), std::end(counts[i].wrong)) - std::begin(counts[i].wrong));
      const auto rule = measure.wrong == 0 ? Rule::kDivide : static_cast<Rule>(best);
      if (measure.wrong == 0 || counts[i].wrong[best] == 0) {
        ++rules[rule];
      } else {
        OCTAVO_TRY(report_wrong(i, rule, counts[i].wrong[best], counts[i].first[best]));
      }
    }
    OCTAVO_TRY(report_scales(merged));
    for (const auto& [rule, tensors] : rules) report_.rules.push_back({std::string(rule_name(rule)), tensors});
    return {};
  }

  // Every rule on the modules that do not follow the first one.
  Status count_doubtful(const std::vector<Finding>& merged, std::vector<RuleCounts>& counts) {
    std::vector<Piece> doubtful;
    std::copy_if(pieces_.begin(), pieces_.end(), std::back_inserter(doubtful),
                 [&](const Piece& piece) { return merged[piece.module].measure.wrong != 0; });
    std::vector<RuleCounts> found(doubtful.size());
    Status done = for_each_index(options_.threads, doubtful.size(), [&](std::size_t i, int worker) -> Status {
      Buffers& b = buffers_[static_cast<std::size_t>(worker)];
      const Piece& piece = doubtful[i];
      const CheckpointTensor& source = *source_of(piece.module);
      OCTAVO_TRY(read_codes(piece, b));
      return for_each_run(piece, source, b, [&](const Run& run) {
        count_rules(format_of(module(piece)), source.dtype, run.codes, run.inputs, run.values, run.scale, run.at,
                    found[i]);
      });
    });
    if (!done.ok()) return done;
    for (std::size_t i = 0; i < doubtful.size(); ++i) counts[doubtful[i].module].merge(found[i]);
    return {};
  }

  Status report_wrong(std::size_t i, Rule rule, std::uint64_t wrong, std::uint64_t first) {
    const Module& m = subject_.modules[i];
    const CheckpointTensor& source = *source_of(i);
    const fp8::Format format = format_of(m);
    std::uint8_t code = 0, expected = 0;
    Buffers& b = buffers_[0];
    const Piece one{i, first, first + 1};
    OCTAVO_TRY(read_codes(one, b));
    OCTAVO_TRY(for_each_run(one, source, b, [&](const Run& run) {
      code = run.codes[0];
      expected = expected_code(format, rule, source.dtype, run.inputs[0], run.values[0], run.scale);
    }));
    std::string what = fmt::format(
        "{} of {} codes are not what any known rule gives; first at {}: {:#04x}, but {} "
        "gives {:#04x}",
        wrong, m.weight->bytes, place(m, first), code, rule_name(rule), expected);
    if (wrong > m.weight->bytes / 4) what += " (so many differ that scale or weight must be another tensor's)";
    violation(m.weight->name, std::move(what));
    return {};
  }

  // Scales that are nearly, but not just, what a rule gives, where most scales of the checkpoint are just that.
  Status report_scales(const std::vector<Finding>& merged) {
    std::vector<FitCounts> fits(merged.size());
    for (std::size_t i = 0; i < merged.size(); ++i) fits[i] = merged[i].scales;
    OCTAVO_TRY(fit_single_scales(merged, fits));
    FitCounts all;
    for (const FitCounts& fit : fits) all.merge(fit);
    if (all.exact < all.judged - all.judged / 4) return {};  // some search for better scales: nothing is known
    for (std::size_t i = 0; i < fits.size(); ++i) {
      const FitCounts& fit = fits[i];
      if (fit.near == 0) continue;
      const CheckpointTensor& scale = *subject_.modules[i].scale;
      violation(scale.name, fmt::format("{} of {} scales are not what the weights under them give; first at [{}]: "
                                        "{:.9g}, expected {:.9g}",
                                        fit.near, fit.judged, fit.first_near, fit.found, fit.expected));
    }
    return {};
  }

  // Per tensor: the weights under a scale are the module's, or those of all modules it is fused with.
  Status fit_single_scales(const std::vector<Finding>& merged, std::vector<FitCounts>& fits) {
    std::vector<Measure> shared(merged.size());
    for (std::size_t i = 0; i < merged.size(); ++i) shared[i] = merged[i].measure;
    for (const FusedGroup& group : subject_.fused) {
      Measure all;
      for (const std::size_t i : group.members) all.merge(merged[i].measure);
      for (const std::size_t i : group.members) shared[i] = all;
    }
    for (std::size_t i = 0; i < merged.size(); ++i) {
      const Module& m = subject_.modules[i];
      const Measure& own = merged[i].measure;
      if (own.elements == 0 || subject_.group_of(m).granularity != Granularity::kTensor) continue;
      if (element_count(m.scale->shape) != 1) continue;  // joined experts with a scale each
      if (shared[i].amax == 0 || shared[i].nonfinite != 0 || !is_quantizable(m.scale->dtype)) continue;
      std::array<std::byte, 4> bytes{};
      const std::span<std::byte> used(bytes.data(), dtype_bytes(m.scale->dtype));
      OCTAVO_TRY(subject_.checkpoint->read(*m.scale, 0, used));
      float scale = 0, expected = 0;
      widen(m.scale->dtype, used, {&scale, 1});
      ScaleFit fit = fit_scale(format_of(m), m.scale->dtype, shared[i].amax, shared[i].amax_direct, scale, expected);
      if (fit != ScaleFit::kExact && own.amax != 0) {
        float alone = 0;
        if (fit_scale(format_of(m), m.scale->dtype, own.amax, own.amax_direct, scale, alone) == ScaleFit::kExact) {
          fit = ScaleFit::kExact;
        }
      }
      fits[i].add(fit, 0, scale, expected);
    }
    return {};
  }

  void add_error(const Module& m, const Measure& measure) {
    TensorError error;
    error.name = m.weight->name;
    error.kind = m.leaf();
    error.sqnr_db = measure.errors == 0 ? std::numeric_limits<double>::infinity()
                                        : 10 * std::log10(measure.weights / measure.errors);
    // sum w w' = (sum w^2 + sum w'^2 - sum (w - w')^2) / 2
    const double product = (measure.weights + measure.decoded - measure.errors) / 2;
    const double norms = std::sqrt(measure.weights) * std::sqrt(measure.decoded);
    error.cosine = norms > 0 ? std::min(product / norms, 1.0) : (measure.errors == 0 ? 1.0 : 0.0);
    error.max_abs_error = static_cast<double>(measure.max_error);
    error.elements = measure.elements;
    error.saturated = measure.saturated;
    report_.errors.push_back(std::move(error));
    const float largest = fp8::max_value(format_of(m));
    if (measure.max_ratio > kSaturationAllowed * largest) {
      report_.warnings.push_back(fmt::format("{}: {} saturate{}; the largest is {:.3g} times what its scale can hold",
                                             printable(m.weight->name), counted(measure.saturated, "value"),
                                             measure.saturated == 1 ? "s" : "", measure.max_ratio / largest));
    }
    if (measure.nonfinite != 0) {
      report_.warnings.push_back(fmt::format("{}: {} of the source {} NaN or infinity; no such code was judged",
                                             printable(m.weight->name), counted(measure.nonfinite, "value"),
                                             measure.nonfinite == 1 ? "is" : "are"));
    }
  }

  const Subject& subject_;
  const std::vector<ScaleRange>& ranges_;
  const Checkpoint* source_;
  const Options& options_;
  Report& report_;
  std::vector<Piece> pieces_;
  std::vector<Buffers> buffers_;  // one a worker
};

}  // namespace

Status check_weights(const Subject& subject, const std::vector<ScaleRange>& ranges, const Checkpoint* source,
                     const Options& options, Report& report) {
  return Weights(subject, ranges, source, options, report).check();
}

}  // namespace octavo::verify
