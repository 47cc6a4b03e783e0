// Refinement of regions, and which scale dtype holds which.
#include "octavo/quant/relabel.h"

namespace octavo::quant {
namespace {

// Regions of `to` along a dimension of `size` never reach over the end of one of `from`.
bool refines(std::uint64_t to, std::uint64_t from, std::uint64_t size) { return from >= size || from % to == 0; }

}  // namespace

std::optional<fp8::ScaleDType> scale_dtype_for(DType source_scale, fp8::ScaleDType wanted, bool pow2) {
  const bool exponents = source_scale == DType::kF8E8M0 || source_scale == DType::kU8 || pow2;
  switch (wanted) {
    case fp8::ScaleDType::kE8M0: return exponents ? std::optional(wanted) : std::nullopt;
    case fp8::ScaleDType::kBF16:
      // F16 resolves more than BF16, and F32 more than both.
      return exponents || source_scale == DType::kBF16 ? wanted : fp8::ScaleDType::kF32;
    case fp8::ScaleDType::kF32: return wanted;
  }
  return std::nullopt;
}

bool can_relabel(const QuantizedWeight& from, const WeightEncoding& to, bool pow2) {
  const Shape& shape = from.weight->shape;
  return code_format(from.weight->dtype) == to.format && refines(to.block_n, from.block_n, shape[0]) &&
         refines(to.block_k, from.block_k, shape[1]) && (!to.pow2_scales || pow2) &&
         scale_dtype_for(from.scale->dtype, to.scale_dtype, pow2) == to.scale_dtype;
}

}  // namespace octavo::quant
