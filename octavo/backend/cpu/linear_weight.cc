// Packing is placing: an element keeps its value, or becomes BF16 or FP32.
#include "octavo/backend/cpu/linear_weight.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "octavo/base/ceil_div.h"
#include "octavo/fp8/codec.h"
#include "octavo/fp8/half.h"

namespace octavo::cpu {
namespace {

using backend::Compute;
using backend::LinearSpec;

DType stored_dtype_of(DType dtype, Compute compute) {
  if (is_fp8(dtype) || dtype == DType::kBF16) return dtype;
  return compute == Compute::kBF16 ? DType::kBF16 : DType::kF32;
}

Segments segments_of(const LinearSpec& spec) {
  const bool grouped = spec.input.kind == backend::InputRounding::Kind::kDynamicGroup;
  return make_segments(spec.k, is_fp8(spec.dtype) ? spec.block_k : 0, grouped ? spec.input.group : 0);
}

std::uint64_t panels_of(const LinearSpec& spec) { return ceil_div(spec.n, kPanel); }

// Scales of a segment of a panel.
std::uint64_t scale_width(const LinearSpec& spec) {
  return spec.block_n % kPanel == 0 || spec.block_n >= spec.n ? 1 : kPanel;
}

// FP8: as many as the kernels read; else none.
std::uint64_t scale_count(const LinearSpec& spec, const Segments& segments) {
  if (spec.scale_rows() == 0) return 0;
  return panels_of(spec) * (spec.scale_cols() > 1 ? segments.count() * scale_width(spec) : kPanel);
}

template <typename T>
T load(const std::byte* in) {
  T value;
  std::memcpy(&value, in, sizeof value);
  return value;
}
template <typename T>
void store(std::byte* out, T value) {
  std::memcpy(out, &value, sizeof value);
}

// `count` elements of `from` as elements of `to`.
void convert(DType from, DType to, const std::byte* in, std::size_t count, std::byte* out) {
  if (from == to) {
    std::memcpy(out, in, count * dtype_bytes(from));
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const float value =
        from == DType::kF16 ? fp8::f16_to_float(load<std::uint16_t>(in + 2 * i)) : load<float>(in + 4 * i);
    if (to == DType::kBF16) {
      store(out + 2 * i, fp8::float_to_bf16(value));
    } else {
      store(out + 4 * i, value);
    }
  }
}

// Whether a code is NaN: in FNUZ formats minus zero, else all ones below the sign (E5M2 has more, which its decoders
// know).
bool any_nan(DType dtype, const std::byte* codes, std::size_t count) {
  const bool fnuz = dtype == DType::kF8E4M3FNUZ || dtype == DType::kF8E5M2FNUZ;
  const std::uint8_t mask = fnuz ? 0xFF : 0x7F, nan = fnuz ? 0x80 : 0x7F;
  std::uint8_t found = 0;  // bytes throughout, so that the compiler makes it bytes in vectors
  for (std::size_t i = 0; i < count; ++i) {
    const auto code = static_cast<std::uint8_t>(static_cast<std::uint8_t>(codes[i]) & mask);
    found = static_cast<std::uint8_t>(found | static_cast<std::uint8_t>(code == nan));
  }
  return found != 0;
}

// As the kernels want the FP8 formats: tables of floats where there is no arithmetic way, and of BF16 numbers.
const float* table_of(DType dtype) {
  switch (dtype) {
    case DType::kF8E4M3FNUZ: return fp8::kDecodeTable<fp8::E4M3FNUZ>.data();
    case DType::kF8E5M2FNUZ: return fp8::kDecodeTable<fp8::E5M2FNUZ>.data();
    default: return nullptr;
  }
}

template <typename Format>
constexpr Bf16Table kBf16Table = [] {
  Bf16Table table{};
  for (std::size_t code = 0; code < 128; ++code) {
    const float value = fp8::kDecodeTable<Format>[code];
    // Of a finite value the lower half is zero: no format has more mantissa bits than BF16.
    const std::uint32_t bits = value == value ? std::bit_cast<std::uint32_t>(value) >> 16 : 0x7FC0;
    table.low[code] = static_cast<std::uint8_t>(bits);
    table.high[code] = static_cast<std::uint8_t>(bits >> 8);
  }
  return table;
}();

const Bf16Table* bf16_table_of(DType dtype) {
  switch (dtype) {
    case DType::kF8E4M3: return &kBf16Table<fp8::E4M3>;
    case DType::kF8E5M2: return &kBf16Table<fp8::E5M2>;
    case DType::kF8E4M3FNUZ: return &kBf16Table<fp8::E4M3FNUZ>;
    case DType::kF8E5M2FNUZ: return &kBf16Table<fp8::E5M2FNUZ>;
    default: return nullptr;
  }
}

}  // namespace

bool Segments::moves_elements(std::uint64_t unit) const {
  return std::any_of(starts.begin(), starts.end() - 1, [&](std::uint64_t start) { return start % unit != 0; });
}

Segments make_segments(std::uint64_t k, std::uint64_t block_k, std::uint64_t group) {
  Segments segments;
  std::uint64_t start = 0, offset = 0;
  while (start < k) {
    // To the next end of a scale, in parts of about the same size.
    std::uint64_t span = k - start;
    if (block_k != 0) span = std::min(span, block_k - start % block_k);
    if (group != 0) span = std::min(span, group - start % group);
    const std::uint64_t part = ceil_div(ceil_div(span, ceil_div(span, kMaxSegment)), kPair) * kPair;
    for (const std::uint64_t end = start + span; start < end;) {
      const std::uint64_t length = std::min(part, end - start);
      segments.starts.push_back(start);
      segments.offsets.push_back(offset);
      start += length;
      offset += ceil_div(length, kPair) * kPair;
    }
  }
  segments.starts.push_back(start);
  segments.offsets.push_back(offset);
  return segments;
}

CpuLinearWeight::CpuLinearWeight(const LinearSpec& spec, DType stored)
    : LinearWeight(spec), stored_(stored), segments_(segments_of(spec)) {}

Result<std::unique_ptr<CpuLinearWeight>> CpuLinearWeight::create(const LinearSpec& spec, Compute compute) {
  // The constructor is private.
  std::unique_ptr<CpuLinearWeight> weight(new CpuLinearWeight(spec, stored_dtype_of(spec.dtype, compute)));
  const std::string what = fmt::format("the elements of a weight [{}, {}]", spec.n, spec.k);
  OCTAVO_ASSIGN(weight->data_, Memory::create(panels_of(spec), weight->layout().panel_bytes(), what));
  OCTAVO_ASSIGN(weight->scales_, Memory::create(scale_count(spec, weight->segments_), sizeof(float), what));
  OCTAVO_ASSIGN(weight->bias_, Memory::create(panels_of(spec) * kPanel, sizeof(float), what));
  std::fill_n(weight->scales_.floats(), weight->scales_.size() / sizeof(float), 1.0f);
  return weight;
}

std::uint64_t CpuLinearWeight::bytes(const LinearSpec& spec, Compute compute) {
  const Segments segments = segments_of(spec);
  const PanelLayout layout{segments.padded(), dtype_bytes(stored_dtype_of(spec.dtype, compute))};
  return panels_of(spec) * layout.panel_bytes() + scale_count(spec, segments) * sizeof(float);
}

std::uint64_t CpuLinearWeight::resident_bytes() const {
  return data_.size() + scales_.size() + (has_bias_ ? bias_.size() : 0);
}

void CpuLinearWeight::pack(const backend::Rectangle& part, std::span<const std::byte> bytes) {
  if (part.row_begin >= part.row_end || part.col_begin >= part.col_end) return;
  const std::uint64_t rows = part.row_end - part.row_begin, cols = part.col_end - part.col_begin;
  const std::byte* in = bytes.data();
  std::vector<std::byte> converted;
  if (spec_.dtype != stored_) {
    converted.resize(rows * cols * dtype_bytes(stored_));
    convert(spec_.dtype, stored_, in, rows * cols, converted.data());
    in = converted.data();
  }
  const unsigned size = dtype_bytes(stored_);
  const auto after = std::upper_bound(segments_.starts.begin(), segments_.starts.end(), part.col_begin);
  const auto first = static_cast<std::size_t>(after - segments_.starts.begin()) - 1;
  // Panel by panel, so that memory is written from one end to the other.
  for (std::uint64_t r = 0; r < rows;) {
    const std::uint64_t row = part.row_begin + r, run = std::min(rows - r, kPanel - row % kPanel);
    std::uint64_t col = part.col_begin;
    for (std::size_t s = first; col < part.col_end; ++s) {
      const std::uint64_t count = std::min(part.col_end, segments_.starts[s + 1]) - col;
      place_in_panels(layout(), in + (r * cols + col - part.col_begin) * size, cols * size, row, run,
                      segments_.offsets[s] + (col - segments_.starts[s]), count, data_.bytes());
      col += count;
    }
    r += run;
  }
  finish_placing();
  if (is_fp8(stored_) && any_nan(stored_, bytes.data(), bytes.size())) has_nan_.store(true, std::memory_order_relaxed);
}

void CpuLinearWeight::set_scales(std::span<const float> scales) {
  float* out = scales_.floats();
  if (!scales_by_segment()) {
    for (std::uint64_t row = 0; row < spec_.n; ++row) out[row] = scales[row / spec_.block_n];
    return;
  }
  const std::uint64_t width = scale_width(spec_);
  for (std::uint64_t panel = 0; panel < panels_of(spec_); ++panel) {
    for (std::uint64_t s = 0; s < segments_.count(); ++s) {
      const std::uint64_t block = segments_.starts[s] / spec_.block_k;
      for (std::uint64_t i = 0; i < width; ++i) {
        const std::uint64_t row = std::min(panel * kPanel + i, spec_.n - 1);
        *out++ = scales[row / spec_.block_n * spec_.scale_cols() + block];
      }
    }
  }
}

void CpuLinearWeight::set_bias(std::span<const float> bias) {
  std::copy(bias.begin(), bias.end(), bias_.floats());
  has_bias_ = true;
}

void CpuLinearWeight::unpack(const backend::Rectangle& part, std::span<std::byte> bytes) const {
  if (part.row_begin >= part.row_end) return;
  const unsigned size = dtype_bytes(stored_);
  const std::uint64_t rows = part.row_end - part.row_begin, cols = part.col_end - part.col_begin;
  const auto after = std::upper_bound(segments_.starts.begin(), segments_.starts.end(), part.col_begin);
  std::uint64_t col = part.col_begin;
  for (auto s = static_cast<std::size_t>(after - segments_.starts.begin()) - 1; col < part.col_end; ++s) {
    const std::uint64_t count = std::min(part.col_end, segments_.starts[s + 1]) - col;
    take_from_panels(layout(), data_.bytes(), part.row_begin, rows, segments_.offsets[s] + (col - segments_.starts[s]),
                     count, bytes.data() + (col - part.col_begin) * size, cols * size);
    col += count;
  }
}

Status CpuLinearWeight::read_scales(std::span<float> scales) const {
  std::vector<bool> there(scales.size());
  const auto take = [&](std::size_t at, float value) -> Status {
    // As bits: a NaN is a scale like another here.
    if (there[at] && std::bit_cast<std::uint32_t>(scales[at]) != std::bit_cast<std::uint32_t>(value)) {
      return failure("the copies of scale {} of a weight [{}, {}] differ: {} and {}", at, spec_.n, spec_.k, scales[at],
                     value);
    }
    there[at] = true;
    scales[at] = value;
    return {};
  };
  const float* in = scales_.floats();
  if (!scales_by_segment()) {
    for (std::uint64_t row = 0; row < spec_.n; ++row) OCTAVO_TRY(take(row / spec_.block_n, in[row]));
    return {};
  }
  const std::uint64_t width = scale_width(spec_);
  for (std::uint64_t panel = 0; panel < panels_of(spec_); ++panel) {
    for (std::uint64_t s = 0; s < segments_.count(); ++s) {
      const std::uint64_t block = segments_.starts[s] / spec_.block_k;
      for (std::uint64_t i = 0; i < width; ++i) {
        const std::uint64_t row = std::min(panel * kPanel + i, spec_.n - 1);
        OCTAVO_TRY(take(row / spec_.block_n * spec_.scale_cols() + block, *in++));
      }
    }
  }
  return {};
}

void CpuLinearWeight::read_bias(std::span<float> bias) const { std::copy_n(bias_.floats(), bias.size(), bias.begin()); }

Element CpuLinearWeight::element() const {
  switch (stored_) {
    case DType::kF8E4M3: return has_nan_.load(std::memory_order_relaxed) ? Element::kE4M3 : Element::kE4M3Finite;
    case DType::kF8E5M2: return Element::kE5M2;
    case DType::kBF16: return Element::kBF16;
    case DType::kF32: return Element::kF32;
    default: return Element::kTable;
  }
}

LinearArgs CpuLinearWeight::args() const {
  LinearArgs a;
  a.weight = data_.bytes();
  a.panel_bytes = layout().panel_bytes();
  a.n = spec_.n;
  a.element = element();
  a.table = table_of(stored_);
  a.bf16_table = bf16_table_of(stored_);
  a.negative_zero_is_nan = a.table != nullptr && has_nan_.load(std::memory_order_relaxed);
  a.segment_begins = segments_.offsets.data();
  a.segments = segments_.count();
  if (spec_.scale_rows() != 0) {
    a.segment_scale_width = scale_width(spec_);
    (scales_by_segment() ? a.segment_scales : a.row_scales) = scales_.floats();
  }
  a.factor = stored_ == DType::kF8E4M3 ? kE4M3Factor : 1.0f;
  if (has_bias_) a.bias = bias_.floats();
  return a;
}

void CpuLinearWeight::decode_row(const Kernels& kernels, std::uint64_t row, float* out) const {
  alignas(64) std::byte elements[(kMaxSegment + kPad) * sizeof(float)] = {};
  const LinearArgs a = args();
  const std::uint64_t panel = row / kPanel, column = a.segment_scale_width == 1 ? 0 : row % kPanel;
  for (std::uint64_t s = 0; s < segments_.count(); ++s) {
    const std::uint64_t start = segments_.starts[s];
    const std::uint64_t count = segments_.starts[s + 1] - start;
    take_from_panels(layout(), a.weight, row, 1, segments_.offsets[s], count, elements, 0);
    kernels.decode(a.element, a.table, elements, count, out + start);
    if (!is_fp8(stored_)) continue;
    float scale = 1;
    if (a.segment_scales != nullptr)
      scale = a.segment_scales[(panel * a.segments + s) * a.segment_scale_width + column];
    if (a.row_scales != nullptr) scale = a.row_scales[row];
    for (std::uint64_t i = start; i < start + count; ++i) out[i] = out[i] * a.factor * scale;
  }
}

}  // namespace octavo::cpu
