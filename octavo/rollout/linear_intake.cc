// Bands to codes and scales, or to values in the dtype that the running model keeps.
#include "octavo/rollout/linear_intake.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "octavo/base/hash.h"
#include "octavo/fp8/half.h"
#include "octavo/fp8/nan_codes.h"
#include "octavo/quant/cut_range.h"

namespace octavo::rollout {
namespace {

// A band of about this size stays in a second-level cache between being read, encoded and packed. Values that are kept
// until their scale is known are there twice, and measured after.
constexpr std::uint64_t kBandBytes = 1ull << 20, kPartBytes = 256 << 10;
// Backends lay rows side by side in groups of some such number; whole groups are packed best.
constexpr std::uint64_t kRowsTogether = 64;

// Rows of about so many bytes.
std::uint64_t rows_of(std::uint64_t bytes, const backend::LinearSpec& spec, DType dtype, std::uint64_t together) {
  const std::uint64_t row = spec.k * dtype_bytes(dtype);
  return std::min(std::max<std::uint64_t>(bytes / row / together, 1) * together, spec.n);
}

float load_float(DType dtype, const std::byte* at) {
  if (dtype == DType::kF32) {
    float value = 0;
    std::memcpy(&value, at, 4);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, at, 2);
  return dtype == DType::kBF16 ? fp8::bf16_to_float(bits) : fp8::f16_to_float(bits);
}

void store_float(DType dtype, float value, std::byte* at) {
  if (dtype == DType::kF32) {
    std::memcpy(at, &value, 4);
    return;
  }
  const std::uint16_t bits = dtype == DType::kBF16 ? fp8::float_to_bf16(value) : fp8::float_to_f16(value);
  std::memcpy(at, &bits, 2);
}

}  // namespace

LinearIntake::LinearIntake(const model::LinearParameter& parameter, quant::NonFinite nonfinite,
                           backend::Backend& backend, const cpu::EncodeKernels& kernels, backend::LinearWeight& weight,
                           BandMemory& memory)
    : parameter_(parameter),
      nonfinite_(nonfinite),
      backend_(backend),
      kernels_(kernels),
      weight_(weight),
      memory_(memory) {}

Status LinearIntake::begin(DType dtype) {
  const backend::LinearSpec& spec = parameter_.spec;
  if (is_fp8(dtype)) {
    if (parameter_.made_fp8 || dtype != spec.dtype) {
      return failure("tensor \"{}\": arrives in {}, but the running model {}", parameter_.name, dtype_name(dtype),
                     parameter_.made_fp8  ? "makes its FP8 head itself: send BF16, F16 or F32"
                     : is_fp8(spec.dtype) ? fmt::format("has it in {}", dtype_name(spec.dtype))
                                          : fmt::format("does not have it in FP8 but in {}", dtype_name(spec.dtype)));
    }
    dtype_ = dtype;
    return {};
  }
  if (!is_quantizable(dtype)) {
    return failure("tensor \"{}\": arrives in {}; BF16, F16 and F32 are taken{}", parameter_.name, dtype_name(dtype),
                   is_fp8(spec.dtype) ? ", and FP8 codes with their scales" : "");
  }
  if (is_fp8(spec.dtype) && !parameter_.encoding) {
    return failure("tensor \"{}\": the running model has it in {}, which Octavo only reads; send codes and scales",
                   parameter_.name, dtype_name(spec.dtype));
  }
  dtype_ = dtype;
  total_ = spec.n * spec.k * dtype_bytes(dtype);
  if (parameter_.encoding) {
    encoding_ = encoding_of(parameter_, dtype);
    scales_.resize(spec.scale_rows() * spec.scale_cols());
  }
  if (shares()) {
    part_bytes_ = rows_of(kPartBytes, spec, dtype, kRowsTogether) * spec.k * dtype_bytes(dtype);
    parts_.resize(part_bytes_ == 0 ? 0 : (total_ + part_bytes_ - 1) / part_bytes_);
  } else {
    bands_.emplace(total_, band_bytes(parameter_, dtype), memory_);
    if (hashing_) hashes_.resize(bands_->count());
  }
  return {};
}

std::uint64_t LinearIntake::band_bytes(const model::LinearParameter& parameter, DType dtype) {
  const std::uint64_t block = parameter.encoding ? encoding_of(parameter, dtype).block_n : 1;
  const std::uint64_t together = block % kRowsTogether == 0 ? block : std::lcm(block, kRowsTogether);
  return rows_of(kBandBytes, parameter.spec, dtype, together) * parameter.spec.k * dtype_bytes(dtype);
}

// An encoder changes values only where it rounds F32 or zeroes what is not finite.
bool LinearIntake::is_direct(std::uint64_t bytes, bool direct) const {
  return direct && bytes == total_ && !held_ && *dtype_ != DType::kF32 && nonfinite_ == quant::NonFinite::kError;
}

std::uint64_t LinearIntake::would_hold(std::uint64_t offset, std::uint64_t bytes, bool direct) const {
  if (!shares()) return bands_->would_hold(offset, bytes);
  return held_ || is_direct(bytes, direct) ? 0 : total_;
}

void LinearIntake::write(std::uint64_t offset, std::span<const std::byte> bytes, bool direct, std::vector<Work>& work) {
  if (!shares()) {
    bands_->write(offset, bytes, [&](Band band) { work.push_back({this, std::move(band)}); });
    return;
  }
  if (is_direct(bytes.size(), direct)) {
    not_held_ = bytes;
  } else if (!held_) {
    held_ = memory_.take(total_);
  }
  for (std::uint64_t part = offset / part_bytes_; part * part_bytes_ < offset + bytes.size(); ++part) {
    const std::uint64_t first = part * part_bytes_;
    const std::uint64_t from = std::max(first, offset), to = std::min(first + part_bytes(part), offset + bytes.size());
    parts_[part].there += to - from;
    const bool completes = parts_[part].there == part_bytes(part);
    parts_measured_ += completes;
    work.push_back({this, {part, bytes.subspan(from - offset, to - from), {}}, part, from, completes});
  }
}

Status LinearIntake::take(Work& work, EncodeBuffers& buffers) {
  if (!shares()) {
    if (hashing_) hashes_[work.band.index] = hash64(work.band.bytes);
    return take_band(work.band, buffers);
  }
  if (held_) std::memcpy(held_.get() + work.offset, work.band.bytes.data(), work.band.bytes.size());
  return work.completes ? measure(work.part) : Status();
}

Status LinearIntake::make_finite(quant::PieceEncoder& encoder, std::uint64_t row) const {
  if (nonfinite_ == quant::NonFinite::kZero) {
    encoder.zero_nonfinite();
    return {};
  }
  const auto at = encoder.find_nonfinite();
  return failure("tensor \"{}\": {} at [{}, {}]{}; the weights that serve are kept", parameter_.name,
                 std::isnan(at->value) ? "NaN" : "infinity", row + at->row, at->col,
                 *dtype_ == DType::kF32 && std::isinf(at->value) ? " (of F32 values, rounded to BF16)" : "");
}

Status LinearIntake::take_band(Band& band, EncodeBuffers& buffers) {
  const std::uint64_t k = parameter_.spec.k;
  const std::uint64_t row = band.index * (bands_->band_bytes() / (k * dtype_bytes(*dtype_)));
  const std::uint64_t rows = band.bytes.size() / (k * dtype_bytes(*dtype_));
  std::span<std::byte> values(band.owned.get(), band.bytes.size());
  if (!band.owned) {
    const bool changed = *dtype_ == DType::kF32 || nonfinite_ == quant::NonFinite::kZero;
    const bool aligned = reinterpret_cast<std::uintptr_t>(band.bytes.data()) % dtype_bytes(*dtype_) == 0;
    if (changed || !aligned) {
      buffers.values.resize(band.bytes.size());
      std::memcpy(buffers.values.data(), band.bytes.data(), band.bytes.size());
      values = {buffers.values.data(), band.bytes.size()};
    } else {
      values = {const_cast<std::byte*>(band.bytes.data()), band.bytes.size()};
    }
  }
  if (!parameter_.encoding) return take_kept(values, row, rows, buffers);
  quant::PieceEncoder encoder(kernels_, encoding_, *dtype_);
  encoder.load(values, rows, k);
  buffers.codes.resize(rows * k);
  const std::uint64_t columns = parameter_.spec.scale_cols();
  const std::uint64_t first = row / encoding_.block_n * columns;
  const std::uint64_t count = ((rows - 1) / encoding_.block_n + 1) * columns;
  while (!encoder.encode(buffers.codes, std::span(scales_).subspan(first, count))) {
    OCTAVO_TRY(make_finite(encoder, row));
  }
  backend_.pack(weight_, {row, row + rows, 0, k}, std::as_bytes(std::span(buffers.codes)));
  return {};
}

// Values stay values. Where they come in another dtype than the running model's they are rounded to it.
Status LinearIntake::take_kept(std::span<std::byte> values, std::uint64_t row, std::uint64_t rows,
                               EncodeBuffers& buffers) {
  const DType from = *dtype_, to = parameter_.spec.dtype;
  const std::size_t count = rows * parameter_.spec.k;
  if (from != to) {
    buffers.converted.resize(count * dtype_bytes(to));
    std::byte* out = buffers.converted.data();
    if (from == DType::kF32 && to == DType::kBF16) {
      kernels_.f32_to_bf16(reinterpret_cast<const float*>(values.data()), reinterpret_cast<std::uint16_t*>(out), count);
    } else {
      const unsigned in_size = dtype_bytes(from), out_size = dtype_bytes(to);
      for (std::size_t i = 0; i < count; ++i) {
        store_float(to, load_float(from, values.data() + i * in_size), out + i * out_size);
      }
    }
    values = {out, buffers.converted.size()};
  }
  const quant::WeightEncoding as_they_are;
  quant::PieceEncoder looker(kernels_, as_they_are, to);
  looker.load(values, rows, parameter_.spec.k);
  while (!looker.amax(0, rows, 0, parameter_.spec.k)) OCTAVO_TRY(make_finite(looker, row));
  backend_.pack(weight_, {row, row + rows, 0, parameter_.spec.k}, values);
  return {};
}

// ---- a scale that is shared

Status LinearIntake::measure(std::uint64_t part) {
  const std::uint64_t row_bytes = parameter_.spec.k * dtype_bytes(*dtype_), first = part * part_bytes_;
  const std::uint64_t row = first / row_bytes, rows = part_bytes(part) / row_bytes;
  std::byte* const values = held_ ? held_.get() : const_cast<std::byte*>(not_held_.data());  // not changed: is_direct()
  quant::PieceEncoder& encoder = parts_[part].encoder.emplace(kernels_, encoding_, *dtype_);
  encoder.load({values + first, part_bytes(part)}, rows, parameter_.spec.k);
  for (;;) {
    if (const auto amax = encoder.amax(0, rows, 0, parameter_.spec.k)) {
      parts_[part].amax = *amax;
      return {};
    }
    OCTAVO_TRY(make_finite(encoder, row));
  }
}

float LinearIntake::amax() const {
  float out = 0;
  for (const Part& part : parts_) out = std::max(out, part.amax);
  return out;
}

Status LinearIntake::encode_part(std::uint64_t part, float amax, EncodeBuffers& buffers) {
  const std::uint64_t k = parameter_.spec.k, row_bytes = k * dtype_bytes(*dtype_);
  const std::uint64_t row = part * part_bytes_ / row_bytes, rows = part_bytes(part) / row_bytes;
  const quant::PieceEncoder& encoder = *parts_[part].encoder;
  buffers.codes.resize(rows * k);
  if (!encoder.encode_at(encoder.scale(amax), buffers.codes)) {
    return failure("tensor \"{}\": holds values that are not finite", parameter_.name);  // measure() has looked
  }
  backend_.pack(weight_, {row, row + rows, 0, k}, std::as_bytes(std::span(buffers.codes)));
  return {};
}

void LinearIntake::finish_shared(float amax) {
  scales_.assign(1, parts_.front().encoder->scale(amax));
  for (Part& part : parts_) part.encoder.reset();
  held_ = {};
  not_held_ = {};
}

Status LinearIntake::write_codes(std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::span codes(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  const std::uint64_t k = parameter_.spec.k;
  if (const auto nan = fp8::find_nan(code_format(*dtype_), codes)) {
    return failure("tensor \"{}\": NaN at [{}, {}]; the weights that serve are kept", parameter_.name,
                   (offset + *nan) / k, (offset + *nan) % k);
  }
  for (const quant::RangePart& part : quant::cut_range(k, 1, offset, bytes.size())) {
    backend_.pack(weight_, part.rectangle, bytes.subspan(part.begin, part.bytes));
  }
  return {};
}

}  // namespace octavo::rollout
