// What the kernels share: exp, vectors at the end of a row. Over a traits struct V of one instruction
// set (kernels_scalar.cc, kernels_avx2.cc, kernels_avx512.cc), each of which defines V in an anonymous namespace. V
// makes every function below a different one in each file, so the linker cannot put one compiled for AVX-512 where
// another is called. For the same reason nothing here may call an inline function that other files share; constants
// are fine.
//
// V has kLanes (which divides kPad), F and I (vectors of kLanes floats and int32, with the compiler's operators), and
//   set(float), load(const float*), store(float*, F), fma(a, b, c) = a * b + c (one rounding where there is FMA)
//   load_e4m3<kFinite>, load_e5m2, load_bf16: kLanes elements as floats (E4M3 times 2^-8, kFinite: knowing no NaN)
//   load_table(const uint8_t*, const float* table)
//   reduce_add, reduce_max: over lanes, as a tree of halves
//   kTileQueries: how many rows of 4 accumulators fit its registers
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/backend/cpu/kernels.h"

namespace octavo::cpu::impl {

using std::uint64_t;

template <typename V>
typename V::I bits(typename V::F a) {
  return __builtin_bit_cast(typename V::I, a);
}
template <typename V>
typename V::F floats(typename V::I a) {
  return __builtin_bit_cast(typename V::F, a);
}
template <typename V>
typename V::I ints(std::int32_t a) {
  return a - typename V::I{};
}
// b where either is NaN.
template <typename V>
typename V::F max(typename V::F a, typename V::F b) {
  return a > b ? a : b;
}
template <typename V>
typename V::F abs(typename V::F a) {
  return floats<V>(bits<V>(a) & 0x7FFFFFFF);
}

// The first n < kLanes floats, the others `rest`.
template <typename V>
typename V::F load_tail(const float* in, uint64_t n, float rest = 0) {
  float lanes[V::kLanes];
  for (uint64_t i = 0; i < V::kLanes; ++i) lanes[i] = i < n ? in[i] : rest;
  return V::load(lanes);
}
template <typename V>
void store_tail(float* out, uint64_t n, typename V::F a) {
  float lanes[V::kLanes];
  V::store(lanes, a);
  for (uint64_t i = 0; i < n; ++i) out[i] = lanes[i];
}

template <typename V>
constexpr uint64_t round_up(uint64_t n, uint64_t step) {
  return (n + step - 1) / step * step;
}

// f(i, v) for i = 0, kLanes, ... with the vector at in + i; the last one padded with `rest`.
template <typename V, typename Body>
void for_each_vector(const float* in, uint64_t count, float rest, const Body& body) {
  uint64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) body(i, V::load(in + i));
  if (i < count) body(i, load_tail<V>(in + i, count - i, rest));
}

// out[i] = f(i, in[i]), of any count; nothing beyond is touched.
template <typename V, typename Body>
void map(const float* in, uint64_t count, float* out, const Body& body) {
  uint64_t i = 0;
  for (; i + V::kLanes <= count; i += V::kLanes) V::store(out + i, body(i, V::load(in + i)));
  if (i < count) store_tail<V>(out + i, count - i, body(i, load_tail<V>(in + i, count - i)));
}

// e^a within 1.5 ulp. 0 below -103.97..., infinity above 88.72...; NaN goes through all of it and stays NaN.
//
// a = n ln 2 + r with |r| <= ln(2) / 2; n ln 2 is taken off in two parts, of which the first is exact for any n that
// occurs (9 bits of ln 2 times 9 bits of n). e^r is 1 + r + r^2 p(r), p the polynomial of degree 4 of Cephes' expf.
template <typename V>
typename V::F exp(typename V::F a) {
  using F = typename V::F;
  using I = typename V::I;
  constexpr float kLowest = -104.0f, kHighest = 89.0f;  // their results are 0 and infinity
  F x = a < kLowest ? V::set(kLowest) : a;
  x = x > kHighest ? V::set(kHighest) : x;
  // Adding 1.5 * 2^23 leaves the nearest integer in the lowest bits.
  const F magic = V::set(0x1.8p23f);
  const F shifted = x * V::set(1.44269504f) + magic;
  const F n = shifted - magic;
  F r = V::fma(n, V::set(-0.693359375f), x);
  r = V::fma(n, V::set(2.12194440e-4f), r);
  F p = V::set(1.9875691500e-4f);
  p = V::fma(p, r, V::set(1.3981999507e-3f));
  p = V::fma(p, r, V::set(8.3334519073e-3f));
  p = V::fma(p, r, V::set(4.1665795894e-2f));
  p = V::fma(p, r, V::set(1.6666665459e-1f));
  p = V::fma(p, r, V::set(5.0000001201e-1f));
  const F power = V::fma(p, r * r, r) + V::set(1.0f);
  // 2^n in two factors, so that neither leaves the exponents of normal numbers and only the last product rounds.
  const I whole = bits<V>(shifted) - bits<V>(magic);
  const I half = whole >> 1;
  return power * floats<V>((half + 127) << 23) * floats<V>((whole - half + 127) << 23);
}

}  // namespace octavo::cpu::impl
