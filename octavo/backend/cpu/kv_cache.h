// Keys and values as the attention kernels read them (AttentionArgs in kernels.h).
#pragma once

#include <cstdint>
#include <memory>

#include "octavo/backend/backend.h"
#include "octavo/backend/cpu/encode.h"
#include "octavo/backend/cpu/kernels.h"
#include "octavo/backend/cpu/memory.h"

namespace octavo::cpu {

class CpuKvCache : public backend::KvCache {
 public:
  static Result<std::unique_ptr<CpuKvCache>> create(const backend::KvShape& shape);

  // Writes one token's key and value [head_dim] of one head to position `position` of a sequence that owns `blocks`.
  void store(const EncodeKernels& kernels, std::uint64_t layer, std::uint64_t head,
             std::span<const std::int32_t> blocks, std::uint64_t position, const float* key, const float* value);
  // The fields of AttentionArgs that describe the cache.
  AttentionArgs args(std::uint64_t layer, std::uint64_t head) const;

 private:
  explicit CpuKvCache(const backend::KvShape& shape);

  std::uint64_t element_bytes_;
  std::uint64_t padded_head_;                          // of values: head_dim rounded up to kPad
  std::uint64_t key_head_bytes_, value_head_bytes_;    // of one head in one block
  std::uint64_t key_block_bytes_, value_block_bytes_;  // of all heads
  Memory keys_, values_;                               // [layers, blocks, kv_heads, ...]
};

}  // namespace octavo::cpu
