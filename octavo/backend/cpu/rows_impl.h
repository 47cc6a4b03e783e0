// What works on one row: norms, rotations, gates, log softmax. Once for every instruction set (math_impl.h says how);
// a row's result depends on that row alone.
#pragma once

#include "octavo/backend/cpu/math_impl.h"

namespace octavo::cpu::impl {

// Zeros from `count` up to a multiple of kPad.
template <typename V>
void zero_padding(float* out, uint64_t count) {
  for (uint64_t i = count; i < round_up<V>(count, kPad); ++i) out[i] = 0;
}

// 1 / sqrt(mean of squares + eps); lane l sums the elements l, l + kLanes, ...
template <typename V>
float inverse_rms(const float* x, uint64_t count, float eps) {
  typename V::F sums = V::set(0);
  for_each_vector<V>(x, count, 0, [&](uint64_t, typename V::F a) { sums = V::fma(a, a, sums); });
  return 1.0f / __builtin_sqrtf(V::reduce_add(sums) / static_cast<float>(count) + eps);
}

template <typename V>
void rms_norm(const float* x, const float* weight, uint64_t count, float eps, float* out) {
  using F = typename V::F;
  const F inverse = V::set(inverse_rms<V>(x, count, eps));
  const auto result = [&](F a, F w) {
    const F y = a * inverse * w;
    return y;
  };
  uint64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) V::store(out + i, result(V::load(x + i), V::load(weight + i)));
  if (i < count) {
    const uint64_t rest = count - i;
    store_tail<V>(out + i, rest, result(load_tail<V>(x + i, rest), load_tail<V>(weight + i, rest)));
  }
  zero_padding<V>(out, count);
}

template <typename V>
void norm_heads(float* x, uint64_t heads, uint64_t head_dim, const float* weight, float eps) {
  using F = typename V::F;
  for (uint64_t h = 0; h < heads; ++h) {
    float* head = x + h * head_dim;
    const F inverse = V::set(inverse_rms<V>(head, head_dim, eps));
    map<V>(head, head_dim, head, [&](uint64_t i, F a) {
      const F w = i + V::kLanes <= head_dim ? V::load(weight + i) : load_tail<V>(weight + i, head_dim - i);
      return a * inverse * w;
    });
  }
}

// table: cos of `half` angles, then their sin. Products and their sum are rounded one by one.
template <typename V>
void rope_heads(float* x, uint64_t heads, uint64_t head_dim, const float* table, uint64_t half) {
  using F = typename V::F;
  const float* cosines = table;
  const float* sines = table + half;
  for (uint64_t h = 0; h < heads; ++h) {
    float* low = x + h * head_dim;
    float* high = low + half;
    uint64_t i = 0;
    for (; i + V::kLanes <= half; i += V::kLanes) {
      const F a = V::load(low + i), b = V::load(high + i);
      const F c = V::load(cosines + i), s = V::load(sines + i);
      V::store(low + i, a * c - b * s);
      V::store(high + i, b * c + a * s);
    }
    for (; i < half; ++i) {
      const float a = low[i], b = high[i];
      low[i] = a * cosines[i] - b * sines[i];
      high[i] = b * cosines[i] + a * sines[i];
    }
  }
}

// out = act(gate) * up.
template <typename V, typename Activation>
void gate(const float* gate_row, const float* up, uint64_t count, float* out, const Activation& act) {
  using F = typename V::F;
  map<V>(gate_row, count, out, [&](uint64_t i, F g) {
    const F u = i + V::kLanes <= count ? V::load(up + i) : load_tail<V>(up + i, count - i);
    const F y = act(g) * u;
    return y;
  });
  zero_padding<V>(out, count);
}

// silu(x) = x / (1 + e^-x)
template <typename V>
void silu_gate(const float* gate_row, const float* up, uint64_t count, float* out) {
  using F = typename V::F;
  gate<V>(gate_row, up, count, out, [](F x) { return x / (V::set(1) + exp<V>(-x)); });
}

// gelu(x) = x / 2 (1 + tanh(u)) = x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3)
template <typename V>
void gelu_tanh_gate(const float* gate_row, const float* up, uint64_t count, float* out) {
  using F = typename V::F;
  gate<V>(gate_row, up, count, out, [](F x) {
    const F u = V::set(0.797884561f) * (x + V::set(0.044715f) * x * x * x);
    return x / (V::set(1) + exp<V>(V::set(-2) * u));
  });
}

// log softmax = x - max - log(sum of e^(x - max)). Sums of kRun exponentials are FP32, one a lane, which are added in
// double precision: for a vocabulary of 150,000 their error stays below 1e-6.
template <typename V>
void token_logprob(const float* logits, uint64_t count, std::int32_t target, float* logprob, std::int32_t* rank) {
  using F = typename V::F;
  using I = typename V::I;
  constexpr uint64_t kRun = 1024;
  constexpr float kLowest = -__builtin_inff();
  const float own = logits[target];
  const F own_lanes = V::set(own);
  F largest = V::set(kLowest);
  I larger = {};
  for_each_vector<V>(logits, count, kLowest, [&](uint64_t, F a) {
    largest = max<V>(largest, a);
    larger = larger - (a > own_lanes ? ints<V>(1) : ints<V>(0));
  });
  const float top = V::reduce_max(largest);
  const F top_lanes = V::set(top);
  double sum = 0;
  for (uint64_t begin = 0; begin < count; begin += kRun) {
    const uint64_t run = count - begin < kRun ? count - begin : kRun;
    F sums = V::set(0);
    for_each_vector<V>(logits + begin, run, kLowest, [&](uint64_t, F a) { sums += exp<V>(a - top_lanes); });
    sum += static_cast<double>(V::reduce_add(sums));
  }
  *logprob = static_cast<float>(static_cast<double>(own) - static_cast<double>(top) - __builtin_log(sum));
  std::int32_t lanes[V::kLanes];
  __builtin_memcpy(lanes, &larger, sizeof larger);
  std::int32_t count_larger = 0;
  for (const std::int32_t lane : lanes) count_larger -= lane;
  *rank = 1 + count_larger;
}

}  // namespace octavo::cpu::impl
