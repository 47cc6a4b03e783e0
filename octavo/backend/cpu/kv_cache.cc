// Keys with tokens as the fastest dimension, values with the head's.
#include "octavo/backend/cpu/kv_cache.h"

#include <algorithm>
#include <cstring>

#include "octavo/base/ceil_div.h"

namespace octavo::cpu {
namespace {

using backend::KvDType;

std::uint64_t bytes_of(KvDType dtype) {
  switch (dtype) {
    case KvDType::kF32: return 4;
    case KvDType::kBF16: return 2;
    case KvDType::kFp8E4M3:
    case KvDType::kFp8E5M2: break;
  }
  return 1;
}

// `count` values as stored elements; `scale` is that of FP8.
void convert(const EncodeKernels& kernels, KvDType dtype, float scale, const float* in, std::size_t count,
             std::byte* out) {
  switch (dtype) {
    case KvDType::kF32: std::memcpy(out, in, count * sizeof(float)); break;
    case KvDType::kBF16: kernels.f32_to_bf16(in, static_cast<std::uint16_t*>(static_cast<void*>(out)), count); break;
    case KvDType::kFp8E4M3:
    case KvDType::kFp8E5M2: {
      const auto format = dtype == KvDType::kFp8E4M3 ? fp8::Format::kE4M3 : fp8::Format::kE5M2;
      kernels.encode_f32[static_cast<std::size_t>(format)](in, static_cast<std::uint8_t*>(static_cast<void*>(out)),
                                                           count, scale);
      break;
    }
  }
}

float scale_of(const std::vector<float>& scales, std::uint64_t layer) { return scales.empty() ? 1 : scales[layer]; }

}  // namespace

CpuKvCache::CpuKvCache(const backend::KvShape& shape)
    : KvCache(shape),
      element_bytes_(bytes_of(shape.dtype)),
      padded_head_(ceil_div(shape.head_dim, kPad) * kPad),
      key_head_bytes_(ceil_div(shape.block_size, kKeyGroup) * kKeyGroup * shape.head_dim * element_bytes_),
      value_head_bytes_(shape.block_size * padded_head_ * element_bytes_),
      key_block_bytes_(shape.kv_heads * key_head_bytes_),
      value_block_bytes_(shape.kv_heads * value_head_bytes_) {}

Result<std::unique_ptr<CpuKvCache>> CpuKvCache::create(const backend::KvShape& shape) {
  std::unique_ptr<CpuKvCache> cache(new CpuKvCache(shape));  // the constructor is private
  const std::string what = fmt::format("{} blocks of {} keys and values", shape.blocks, shape.block_size);
  OCTAVO_ASSIGN(cache->keys_, Memory::create(shape.layers * shape.blocks, cache->key_block_bytes_, what));
  OCTAVO_ASSIGN(cache->values_, Memory::create(shape.layers * shape.blocks, cache->value_block_bytes_, what));
  return cache;
}

void CpuKvCache::store(const EncodeKernels& kernels, std::uint64_t layer, std::uint64_t head,
                       std::span<const std::int32_t> blocks, std::uint64_t position, const float* key,
                       const float* value) {
  const std::uint64_t slot = position % shape_.block_size;
  const std::uint64_t block = layer * shape_.blocks + static_cast<std::uint64_t>(blocks[position / shape_.block_size]);
  std::byte* to_value =
      values_.bytes() + block * value_block_bytes_ + head * value_head_bytes_ + slot * padded_head_ * element_bytes_;
  convert(kernels, shape_.dtype, scale_of(shape_.v_scales, layer), value, shape_.head_dim, to_value);

  std::byte* to_key = keys_.bytes() + block * key_block_bytes_ + head * key_head_bytes_ +
                      (slot / kKeyGroup * shape_.head_dim * kKeyGroup + slot % kKeyGroup) * element_bytes_;
  constexpr std::uint64_t kRun = 64;
  alignas(64) std::byte run[kRun * sizeof(float)];
  for (std::uint64_t d = 0; d < shape_.head_dim; d += kRun) {
    const std::uint64_t count = std::min(kRun, shape_.head_dim - d);
    convert(kernels, shape_.dtype, scale_of(shape_.k_scales, layer), key + d, count, run);
    for (std::uint64_t i = 0; i < count; ++i) {
      std::memcpy(to_key + (d + i) * kKeyGroup * element_bytes_, run + i * element_bytes_, element_bytes_);
    }
  }
}

AttentionArgs CpuKvCache::args(std::uint64_t layer, std::uint64_t head) const {
  AttentionArgs a;
  a.head_dim = shape_.head_dim;
  a.block_size = shape_.block_size;
  a.keys = keys_.bytes() + layer * shape_.blocks * key_block_bytes_ + head * key_head_bytes_;
  a.values = values_.bytes() + layer * shape_.blocks * value_block_bytes_ + head * value_head_bytes_;
  a.key_block_bytes = key_block_bytes_;
  a.value_block_bytes = value_block_bytes_;
  switch (shape_.dtype) {
    case KvDType::kF32: a.element = Element::kF32; return a;
    case KvDType::kBF16: a.element = Element::kBF16; return a;
    case KvDType::kFp8E4M3: a.element = Element::kE4M3; break;
    case KvDType::kFp8E5M2: a.element = Element::kE5M2; break;
  }
  const float factor = shape_.dtype == KvDType::kFp8E4M3 ? kE4M3Factor : 1.0f;
  a.k_factor = factor * scale_of(shape_.k_scales, layer);
  a.v_factor = factor * scale_of(shape_.v_scales, layer);
  return a;
}

}  // namespace octavo::cpu
