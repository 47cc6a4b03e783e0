// Bands of rows, each read once where a scale lies within it; twice where one scale covers the weight.
#include "octavo/quant/encode_matrix.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "octavo/base/ceil_div.h"
#include "octavo/base/workers.h"
#include "octavo/quant/encode_piece.h"

namespace octavo::quant {
namespace {

constexpr std::uint64_t kBandBytes = 1 << 20;  // stays in a second-level cache between being measured and encoded

Status check_values(DType dtype, const Shape& shape, std::span<const std::byte> values) {
  if (!is_quantizable(dtype)) return usage_error("{}: values must be BF16, F16 or F32", dtype_name(dtype));
  if (shape.size() != 2 || shape[0] == 0 || shape[1] == 0) {
    return usage_error("shape {}: must be that of a weight, [out, in]", shape_string(shape));
  }
  const auto bytes = byte_count(dtype, shape);
  if (!bytes || *bytes != values.size()) {
    return usage_error("{} bytes are not a {} of {}", values.size(), shape_string(shape), dtype_name(dtype));
  }
  return {};
}

class MatrixEncoder {
 public:
  MatrixEncoder(const QuantSpec& spec, DType dtype, const Shape& shape, std::span<const std::byte> values, Isa isa,
                int threads)
      : spec_(spec),
        dtype_(dtype),
        n_(shape[0]),
        k_(shape[1]),
        values_(values),
        kernels_(cpu::encode_kernels(isa)),
        encoding_(weight_encoding(spec, dtype, shape, spec.scheme.granularity)),
        per_tensor_(encoding_.granularity == Granularity::kTensor) {
    const std::uint64_t unit = per_tensor_ ? 1 : encoding_.block_n;
    const std::uint64_t row_bytes = k_ * dtype_bytes(dtype);
    band_rows_ = std::max<std::uint64_t>(kBandBytes / (unit * row_bytes), 1) * unit;
    bands_ = ceil_div(n_, band_rows_);
    threads_ = static_cast<int>(std::min<std::uint64_t>(static_cast<std::uint64_t>(threads), bands_));
    buffers_.resize(static_cast<std::size_t>(threads_));
  }

  Result<EncodedMatrix> run(const Shape& shape) {
    EncodedMatrix out;
    out.codes.resize(n_ * k_);
    out.codes_dtype = fp8_dtype(spec_.dtype);
    out.scales_dtype = stored_dtype(encoding_.scale_dtype);
    out.scales_shape = scale_shape(shape, encoding_, spec_.format);
    codes_ = {reinterpret_cast<std::uint8_t*>(out.codes.data()), out.codes.size()};
    scale_columns_ = ceil_div(k_, encoding_.block_k);
    scales_.resize(ceil_div(n_, encoding_.block_n) * scale_columns_);
    if (per_tensor_) {
      std::vector<float> largest(bands_);
      OCTAVO_TRY(for_each_index(threads_, bands_,
                                [&](std::size_t band, int worker) { return measure(band, worker, largest[band]); }));
      scales_[0] = PieceEncoder(kernels_, encoding_, dtype_).scale(*std::max_element(largest.begin(), largest.end()));
    }
    OCTAVO_TRY(for_each_index(threads_, bands_, [&](std::size_t band, int worker) { return encode(band, worker); }));
    store_scales(scales_, encoding_.scale_dtype, out.scales);
    return out;
  }

 private:
  std::uint64_t first_row(std::size_t band) const { return band * band_rows_; }
  std::uint64_t rows_of(std::size_t band) const { return std::min(band_rows_, n_ - first_row(band)); }

  // The band's values where the encoder may change them: it does where it rounds F32 or zeroes what is not finite.
  std::span<std::byte> writable(std::size_t band, int worker) {
    const std::uint64_t row_bytes = k_ * dtype_bytes(dtype_);
    const auto in = values_.subspan(first_row(band) * row_bytes, rows_of(band) * row_bytes);
    const bool changed = encoding_.via_bf16 || spec_.nonfinite == NonFinite::kZero;
    if (!changed && reinterpret_cast<std::uintptr_t>(in.data()) % dtype_bytes(dtype_) == 0) {
      return {const_cast<std::byte*>(in.data()), in.size()};  // never written to
    }
    auto& copy = buffers_[static_cast<std::size_t>(worker)];
    copy.resize(in.size());
    std::memcpy(copy.data(), in.data(), in.size());
    return {copy.data(), in.size()};
  }

  Status make_finite(PieceEncoder& encoder, std::size_t band) const {
    if (spec_.nonfinite == NonFinite::kZero) {
      encoder.zero_nonfinite();
      return {};
    }
    const auto at = encoder.find_nonfinite();
    const bool rounded = encoding_.via_bf16 && at && std::isinf(at->value);
    return failure("the value at [{}, {}] is {}{}", first_row(band) + (at ? at->row : 0), at ? at->col : 0,
                   at && std::isnan(at->value) ? "NaN" : "infinite",
                   rounded ? " (of F32 values, rounded to BF16)" : "");
  }

  Status measure(std::size_t band, int worker, float& largest) {
    PieceEncoder encoder(kernels_, encoding_, dtype_);
    encoder.load(writable(band, worker), rows_of(band), k_);
    for (;;) {
      if (const auto amax = encoder.amax(0, rows_of(band), 0, k_)) {
        largest = *amax;
        return {};
      }
      OCTAVO_TRY(make_finite(encoder, band));
    }
  }

  Status encode(std::size_t band, int worker) {
    const std::uint64_t row = first_row(band), rows = rows_of(band);
    PieceEncoder encoder(kernels_, encoding_, dtype_);
    encoder.load(writable(band, worker), rows, k_);
    const auto codes = codes_.subspan(row * k_, rows * k_);
    if (per_tensor_) {
      if (spec_.nonfinite == NonFinite::kZero) encoder.zero_nonfinite();
      if (!encoder.encode_at(scales_[0], codes)) return make_finite(encoder, band);
      return {};
    }
    const auto scales = std::span(scales_).subspan(row / encoding_.block_n * scale_columns_,
                                                   ceil_div(rows, encoding_.block_n) * scale_columns_);
    while (!encoder.encode(codes, scales)) OCTAVO_TRY(make_finite(encoder, band));
    return {};
  }

  const QuantSpec& spec_;
  const DType dtype_;
  const std::uint64_t n_, k_;
  const std::span<const std::byte> values_;
  const cpu::EncodeKernels& kernels_;
  const WeightEncoding encoding_;
  const bool per_tensor_;
  std::uint64_t band_rows_ = 0, bands_ = 0, scale_columns_ = 0;
  int threads_ = 1;
  std::span<std::uint8_t> codes_;
  std::vector<float> scales_;
  std::vector<std::vector<std::byte>> buffers_;  // one a worker
};

}  // namespace

Result<EncodedMatrix> encode_matrix(const QuantSpec& spec, DType dtype, const Shape& shape,
                                    std::span<const std::byte> values, Isa isa, int threads) {
  OCTAVO_TRY(check_values(dtype, shape, values));
  if (spec.scheme.granularity == Granularity::kGroup && shape[1] % spec.scheme.block_k != 0) {
    return usage_error("shape {}: --scheme {} needs a multiple of {} columns", shape_string(shape), spec.scheme.name,
                       spec.scheme.block_k);
  }
  if (spec.edge == Edge::kChannel) {
    return usage_error("--edge channel: decides by a whole model; encode with --scheme dynamic or block");
  }
  return MatrixEncoder(spec, dtype, shape, values, isa, threads).run(shape);
}

}  // namespace octavo::quant
