// Packing is placing: an element keeps its value, or becomes BF16 or FP32.
#include "octavo/backend/cpu/linear_weight.h"

#include <algorithm>
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

std::uint64_t scale_count(const LinearSpec& spec, const Segments& segments) {
  return spec.scale_rows() * (spec.scale_cols() > 1 ? segments.count() : 1);
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

bool any_e4m3_nan(const std::byte* codes, std::size_t count) {
  unsigned found = 0;
  for (std::size_t i = 0; i < count; ++i) found |= (std::to_integer<unsigned>(codes[i]) & 0x7Fu) == 0x7Fu ? 1u : 0u;
  return found != 0;
}

const float* table_of(DType dtype) {
  switch (dtype) {
    case DType::kF8E4M3FNUZ: return fp8::kDecodeTable<fp8::E4M3FNUZ>.data();
    case DType::kF8E5M2FNUZ: return fp8::kDecodeTable<fp8::E5M2FNUZ>.data();
    default: return nullptr;
  }
}

}  // namespace

bool Segments::moves_elements() const { return !std::equal(starts.begin(), starts.end() - 1, offsets.begin()); }

Segments make_segments(std::uint64_t k, std::uint64_t block_k, std::uint64_t group) {
  Segments segments;
  std::uint64_t start = 0, offset = 0;
  while (start < k) {
    // To the next end of a scale, in parts of about the same size.
    std::uint64_t span = k - start;
    if (block_k != 0) span = std::min(span, block_k - start % block_k);
    if (group != 0) span = std::min(span, group - start % group);
    const std::uint64_t part = ceil_div(ceil_div(span, ceil_div(span, kMaxSegment)), kPad) * kPad;
    for (const std::uint64_t end = start + span; start < end;) {
      const std::uint64_t length = std::min(part, end - start);
      segments.starts.push_back(start);
      segments.offsets.push_back(offset);
      start += length;
      offset += ceil_div(length, kPad) * kPad;
    }
  }
  segments.starts.push_back(start);
  segments.offsets.push_back(offset);
  return segments;
}

CpuLinearWeight::CpuLinearWeight(const LinearSpec& spec, DType stored)
    : LinearWeight(spec), stored_(stored), segments_(segments_of(spec)), table_(table_of(stored)) {}

Result<std::unique_ptr<CpuLinearWeight>> CpuLinearWeight::create(const LinearSpec& spec, Compute compute) {
  // The constructor is private.
  std::unique_ptr<CpuLinearWeight> weight(new CpuLinearWeight(spec, stored_dtype_of(spec.dtype, compute)));
  const std::string what = fmt::format("the elements of a weight [{}, {}]", spec.n, spec.k);
  OCTAVO_ASSIGN(weight->data_, Memory::create(spec.n, weight->row_bytes(), what));
  OCTAVO_ASSIGN(weight->scales_, Memory::create(scale_count(spec, weight->segments_), sizeof(float), what));
  OCTAVO_ASSIGN(weight->bias_, Memory::create(spec.n, sizeof(float), what));
  std::fill_n(weight->scales_.floats(), weight->scales_.size() / sizeof(float), 1.0f);
  return weight;
}

std::uint64_t CpuLinearWeight::bytes(const LinearSpec& spec, Compute compute) {
  const Segments segments = segments_of(spec);
  return spec.n * segments.padded() * dtype_bytes(stored_dtype_of(spec.dtype, compute)) +
         scale_count(spec, segments) * sizeof(float);
}

std::uint64_t CpuLinearWeight::resident_bytes() const {
  return data_.size() + scales_.size() + (has_bias_ ? bias_.size() : 0);
}

void CpuLinearWeight::pack(const backend::Rectangle& part, std::span<const std::byte> bytes) {
  const unsigned from_bytes = dtype_bytes(spec_.dtype);
  const unsigned to_bytes = dtype_bytes(stored_);
  if (part.row_begin >= part.row_end || part.col_begin >= part.col_end) return;
  const std::byte* in = bytes.data();
  const auto after = std::upper_bound(segments_.starts.begin(), segments_.starts.end(), part.col_begin);
  const auto first_segment = static_cast<std::size_t>(after - segments_.starts.begin()) - 1;
  for (std::uint64_t row = part.row_begin; row < part.row_end; ++row) {
    std::byte* out = data_.bytes() + row * row_bytes();
    std::uint64_t col = part.col_begin;
    for (std::size_t s = first_segment; col < part.col_end; ++s) {
      const std::uint64_t count = std::min(part.col_end, segments_.starts[s + 1]) - col;
      const std::uint64_t at = segments_.offsets[s] + (col - segments_.starts[s]);
      convert(spec_.dtype, stored_, in, count, out + at * to_bytes);
      in += count * from_bytes;
      col += count;
    }
  }
  if (stored_ == DType::kF8E4M3 && any_e4m3_nan(bytes.data(), bytes.size())) {
    has_nan_.store(true, std::memory_order_relaxed);
  }
}

void CpuLinearWeight::set_scales(std::span<const float> scales) {
  if (!scales_by_segment()) {
    std::copy(scales.begin(), scales.end(), scales_.floats());
    return;
  }
  float* out = scales_.floats();
  for (std::uint64_t row = 0; row < spec_.scale_rows(); ++row) {
    for (std::uint64_t s = 0; s < segments_.count(); ++s) {
      *out++ = scales[row * spec_.scale_cols() + segments_.starts[s] / spec_.block_k];
    }
  }
}

void CpuLinearWeight::set_bias(std::span<const float> bias) {
  std::copy(bias.begin(), bias.end(), bias_.floats());
  has_bias_ = true;
}

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
  a.row_bytes = row_bytes();
  a.element = element();
  a.table = table_;
  a.segment_begins = segments_.offsets.data();
  a.segments = segments_.count();
  if (spec_.scale_rows() != 0) {
    a.block_n = spec_.block_n;
    (scales_by_segment() ? a.segment_scales : a.row_scales) = scales_.floats();
  }
  a.factor = stored_ == DType::kF8E4M3 ? kE4M3Factor : 1.0f;
  if (has_bias_) a.bias = bias_.floats();
  return a;
}

void CpuLinearWeight::decode_row(const Kernels& kernels, std::uint64_t row, float* out) const {
  const LinearArgs a = args();
  for (std::uint64_t s = 0; s < segments_.count(); ++s) {
    const std::uint64_t start = segments_.starts[s];
    const std::uint64_t count = segments_.starts[s + 1] - start;
    const std::byte* from = a.weight + row * a.row_bytes + segments_.offsets[s] * dtype_bytes(stored_);
    kernels.decode(a.element, a.table, from, count, out + start);
    if (!is_fp8(stored_)) continue;
    float scale = 1;
    if (a.segment_scales != nullptr) scale = a.segment_scales[row / a.block_n * a.segments + s];
    if (a.row_scales != nullptr) scale = a.row_scales[row / a.block_n];
    for (std::uint64_t i = start; i < start + count; ++i) out[i] = out[i] * a.factor * scale;
  }
}

}  // namespace octavo::cpu
