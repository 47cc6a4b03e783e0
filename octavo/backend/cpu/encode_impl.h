// The encode kernels, once, over a traits struct V of one instruction set (encode_scalar.cc, encode_avx2.cc,
// encode_avx512.cc), each of which defines V in its own namespace. V makes every function below a different one for
// each instruction set, so the linker cannot put one compiled for AVX-512 where another is called. For the same reason
// nothing here may call an inline function that other files share; constants of them are fine.
//
// V has kLanes (of 32 bits), the types F (floats), U (integers of 32 or 16 bits) and Mask (truths), and
//   load_bf16, load_f16, load_f32: (const T*) -> F of kLanes floats; load_words: (const uint16_t*) -> U of kWordLanes
//   load_tail_*: (const T*, n) for n below the number of lanes, the others zero
//   store_bytes, store_words: (T*, U), the low 8 or 16 bits of each lane; store_tail_*: (T*, n, U), the first n lanes
//   store_bytes4: (uint8_t*, U, U, U, U), four vectors in a row
// and the operations on F and U that are used below. No pointer need be aligned. Lanes given to store_bytes* come from
// select_bits, which may leave anything above the low byte; those given to store_words are below 2^16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/backend/cpu/encode.h"

namespace octavo::cpu::encode_impl {

// The kinds of input: what to call to get floats from memory.
template <typename V>
struct Bf16 {
  using T = std::uint16_t;
  static typename V::F load(const T* in) { return V::load_bf16(in); }
  static typename V::F load_tail(const T* in, std::size_t n) { return V::load_tail_bf16(in, n); }
};
template <typename V>
struct F16 {
  using T = std::uint16_t;
  static typename V::F load(const T* in) { return V::load_f16(in); }
  static typename V::F load_tail(const T* in, std::size_t n) { return V::load_tail_f16(in, n); }
};
template <typename V>
struct F32 {
  using T = float;
  static typename V::F load(const T* in) { return V::load_f32(in); }
  static typename V::F load_tail(const T* in, std::size_t n) { return V::load_tail_f32(in, n); }
};

// Codes of kLanes floats, each in the low byte of its lane (the bits above it are anything).
//
// One addition rounds normal and subnormal numbers alike. Let e be the power of two of the float's exponent, but at
// least the format's smallest normal number. The codes around the float are e * 2^-mantissa_bits apart, which is the
// weight of the last mantissa bit of e * 2^(23 - mantissa_bits). So adding that "magic" number leaves, in the lowest
// bits of the sum, the significand m in steps of the code, rounded to nearest even by the FPU; m includes the leading
// one of a normal number, and a carry into the next binade gives the next code by itself:
//   code = ((exponent(e) - exponent(smallest normal)) << mantissa_bits) + m
// With `bits` the FP32 pattern of e, its first term is (bits >> (23 - mantissa_bits)) less a constant. Only the low
// byte is kept, so the constant may be folded into the magic number's own low bits, where m is not disturbed by it.
template <typename V, typename Format>
struct Encoder {
  using Codec = fp8::Codec<Format>;
  static constexpr int kDropped = 23 - Codec::kMantissaBits;  // mantissa bits of FP32 that do not fit
  static constexpr std::uint32_t kExponentMask = 0x7F800000;
  static constexpr std::uint32_t kMagic =
      (static_cast<std::uint32_t>(kDropped) << 23) + ((0u - (Codec::kSmallestNormalBits >> kDropped)) & 0xFFu);
  static_assert((kMagic & 1) == 0, "an odd constant would turn ties to even into ties to odd");

  static typename V::U codes(typename V::F value) {
    const auto bits = V::bits(value);
    const auto magnitude = V::min(V::bit_and(bits, V::set(0x7FFFFFFF)), V::set(Codec::kMaxBits));
    const auto e = V::max(V::bit_and(magnitude, V::set(kExponentMask)), V::set(Codec::kSmallestNormalBits));
    const auto sum = V::bits(V::add(V::floats(magnitude), V::floats(V::add(e, V::set(kMagic)))));
    auto code = V::add(sum, V::template shift_right<kDropped>(e));
    auto sign = V::template shift_right<24>(bits);
    if constexpr (Format::kFnuz) {
      code = V::bit_and(code, V::set(0x7F));
      sign = V::zero_where(V::is_zero(code), sign);  // there is no negative zero; 0x80 would be NaN
    }
    code = V::template select_bits<0x80>(sign, code);
    // A NaN's magnitude became the largest number above; kNaN (0x7F) or-ed to its sign makes it NaN again.
    if constexpr (Format::kFnuz) return V::set_where(V::is_nan(value), code, V::set(Codec::kNaN));
    return V::or_where(V::is_nan(value), code, V::set(Codec::kNaN));
  }
};

template <typename V, typename Source, typename Format>
void encode(const typename Source::T* in, std::uint8_t* out, std::size_t n, float scale) {
  using E = Encoder<V, Format>;
  constexpr std::size_t kLanes = V::kLanes;
  const auto divisor = V::set_float(scale);
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    // Four at a time, so that their latencies overlap.
    const auto a = E::codes(V::div(Source::load(in + i), divisor));
    const auto b = E::codes(V::div(Source::load(in + i + kLanes), divisor));
    const auto c = E::codes(V::div(Source::load(in + i + 2 * kLanes), divisor));
    const auto d = E::codes(V::div(Source::load(in + i + 3 * kLanes), divisor));
    V::store_bytes4(out + i, a, b, c, d);
  }
  for (; i + kLanes <= n; i += kLanes) V::store_bytes(out + i, E::codes(V::div(Source::load(in + i), divisor)));
  if (i < n) V::store_tail_bytes(out + i, n - i, E::codes(V::div(Source::load_tail(in + i, n - i), divisor)));
}

// fp8::float_to_bf16.
template <typename V>
void f32_to_bf16(const float* in, std::uint16_t* out, std::size_t n) {
  const auto round = [](typename V::F value) {
    const auto bits = V::bits(value);
    const auto high = V::template shift_right<16>(bits);
    const auto odd = V::bit_and(high, V::set(1));
    const auto rounded = V::template shift_right<16>(V::add(bits, V::add(odd, V::set(0x7FFF))));
    const auto quiet = V::bit_or(high, V::set(0x0040));
    return V::set_where(V::is_nan(value), rounded, quiet);
  };
  std::size_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store_words(out + i, round(V::load_f32(in + i)));
  if (i < n) V::store_tail_words(out + i, n - i, round(V::load_tail_f32(in + i, n - i)));
}

template <typename V>
std::uint16_t amax_bits16(const std::uint16_t* in, std::size_t n) {
  constexpr std::size_t kLanes = V::kWordLanes;
  const auto mask = V::set_words(0x7FFF);
  const auto magnitude = [&](const std::uint16_t* at) { return V::bit_and(V::load_words(at), mask); };
  auto a = V::set(0), b = a, c = a, d = a;
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = V::max_words(a, magnitude(in + i));
    b = V::max_words(b, magnitude(in + i + kLanes));
    c = V::max_words(c, magnitude(in + i + 2 * kLanes));
    d = V::max_words(d, magnitude(in + i + 3 * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) a = V::max_words(a, magnitude(in + i));
  if (i < n) b = V::max_words(b, V::bit_and(V::load_tail_words(in + i, n - i), mask));
  return V::reduce_max_words(V::max_words(V::max_words(a, b), V::max_words(c, d)));
}

template <typename V>
std::uint32_t amax_bits32(const float* in, std::size_t n) {
  constexpr std::size_t kLanes = V::kLanes;
  const auto mask = V::set(0x7FFFFFFF);
  const auto magnitude = [&](const float* at) { return V::bit_and(V::bits(V::load_f32(at)), mask); };
  auto a = V::set(0), b = a, c = a, d = a;
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a = V::max(a, magnitude(in + i));
    b = V::max(b, magnitude(in + i + kLanes));
    c = V::max(c, magnitude(in + i + 2 * kLanes));
    d = V::max(d, magnitude(in + i + 3 * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) a = V::max(a, magnitude(in + i));
  if (i < n) b = V::max(b, V::bit_and(V::bits(V::load_tail_f32(in + i, n - i)), mask));
  return V::reduce_max(V::max(V::max(a, b), V::max(c, d)));
}

template <typename V, template <typename> typename Source, typename Row>
void fill(Row& row) {
  row[static_cast<int>(fp8::Format::kE4M3)] = encode<V, Source<V>, fp8::E4M3>;
  row[static_cast<int>(fp8::Format::kE5M2)] = encode<V, Source<V>, fp8::E5M2>;
  row[static_cast<int>(fp8::Format::kE4M3FNUZ)] = encode<V, Source<V>, fp8::E4M3FNUZ>;
  row[static_cast<int>(fp8::Format::kE5M2FNUZ)] = encode<V, Source<V>, fp8::E5M2FNUZ>;
}

template <typename V>
EncodeKernels kernels() {
  EncodeKernels k{};
  k.amax_bits16 = amax_bits16<V>;
  k.amax_bits32 = amax_bits32<V>;
  fill<V, Bf16>(k.encode_bf16);
  fill<V, F16>(k.encode_f16);
  fill<V, F32>(k.encode_f32);
  k.f32_to_bf16 = f32_to_bf16<V>;
  return k;
}

}  // namespace octavo::cpu::encode_impl
