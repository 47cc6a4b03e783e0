// The table of kernels of one instruction set, from its traits struct V.
#pragma once

#include "octavo/backend/cpu/attention_impl.h"
#include "octavo/backend/cpu/linear_fma_impl.h"
#include "octavo/backend/cpu/rows_impl.h"

namespace octavo::cpu::impl {

template <typename V>
Kernels kernels() {
  static_assert(kPad % V::kLanes == 0 && kKeyGroup % V::kLanes == 0);
  Kernels k{};
  k.inputs = InputForm::kF32Pairs;
  k.tile_tokens = V::kTileTokens;
  k.max_tokens = impl::kMaxTokens;
  k.linear_scratch = linear_scratch<V>();
  k.attention_scratch = attention_scratch<V>;
  k.linear = linear<V>;
  k.decode = decode<V>;
  k.attention = attention<V>;
  k.merge_attention = merge_attention<V>;
  k.rms_norm = rms_norm<V>;
  k.norm_heads = norm_heads<V>;
  k.rope_heads = rope_heads<V>;
  k.silu_gate = silu_gate<V>;
  k.gelu_tanh_gate = gelu_tanh_gate<V>;
  k.token_logprob = token_logprob<V>;
  return k;
}

}  // namespace octavo::cpu::impl
