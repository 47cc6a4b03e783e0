// One encoding for every head that is made FP8 while loading.
#include "octavo/model/fp8_head.h"

#include "octavo/quant/online.h"

namespace octavo::model {
namespace {

quant::QuantSpec head_quant_spec() {
  quant::QuantSpec spec;
  spec.scheme = *quant::find_scheme("dynamic");
  spec.format =
      quant::OutputFormat::kCompressedTensors;  // the one that holds an FP8 head; it decides the scales' dtype
  return spec;
}

}  // namespace

quant::WeightEncoding fp8_head_encoding(const backend::LinearSpec& stored) {
  quant::WeightEncoding e;
  e.granularity = quant::Granularity::kChannel;
  e.block_n = 1;
  e.block_k = stored.k;
  e.format = fp8::Format::kE4M3;
  e.scale_dtype = head_quant_spec().scale_dtype_for(stored.dtype == DType::kF16, e.granularity);
  e.via_bf16 = stored.dtype == DType::kF32;
  return e;
}

backend::LinearSpec fp8_head_spec(const backend::LinearSpec& stored, ActivationMode activations) {
  const quant::WeightEncoding e = fp8_head_encoding(stored);
  backend::LinearSpec spec = stored;
  spec.dtype = DType::kF8E4M3;
  spec.block_n = e.block_n;
  spec.block_k = e.block_k;
  if (activations == ActivationMode::kFp8) spec.input = quant::input_rounding(head_quant_spec(), e);
  return spec;
}

Fp8HeadEncoder::Fp8HeadEncoder(backend::Backend& backend, Isa isa, int workers, const backend::LinearSpec& stored,
                               LinearWeight& head)
    : backend_(backend),
      isa_(isa),
      stored_(stored),
      encoding_(fp8_head_encoding(stored)),
      head_(head),
      scales_(stored.n),
      codes_(static_cast<std::size_t>(workers)) {}

std::optional<quant::NonFiniteAt> Fp8HeadEncoder::encode(std::uint64_t row, std::span<std::byte> values, int worker) {
  const std::uint64_t rows = values.size() / (stored_.k * dtype_bytes(stored_.dtype));
  Scratch<std::uint8_t>& codes = codes_[static_cast<std::size_t>(worker)];
  codes.resize(rows * stored_.k);
  quant::PieceEncoder encoder(cpu::encode_kernels(isa_), encoding_, stored_.dtype);
  encoder.load(values, rows, stored_.k);
  if (!encoder.encode(codes, std::span(scales_).subspan(row, rows))) return encoder.find_nonfinite();
  backend_.pack(head_, {row, row + rows, 0, stored_.k}, std::as_bytes(std::span(codes)));
  return std::nullopt;
}

}  // namespace octavo::model
