// Names and sizes that every backend shares.
#include "octavo/backend/backend.h"

namespace octavo::backend {

std::string_view compute_name(Compute compute) { return compute == Compute::kF32 ? "f32" : "bf16"; }

std::string_view kv_dtype_name(KvDType dtype) {
  switch (dtype) {
    case KvDType::kF32: return "f32";
    case KvDType::kBF16: return "bf16";
    case KvDType::kFp8E4M3: return "fp8_e4m3";
    case KvDType::kFp8E5M2: return "fp8_e5m2";
  }
  return "?";
}

std::uint64_t KvShape::bytes() const {
  const std::uint64_t element = dtype == KvDType::kF32 ? 4 : dtype == KvDType::kBF16 ? 2 : 1;
  return 2 * layers * blocks * block_size * kv_heads * head_dim * element;
}

}  // namespace octavo::backend
