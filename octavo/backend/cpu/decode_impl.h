// FP8 codes to values, once over the traits of AVX2 and AVX-512 (encode_impl.h, whose rules hold). V has in addition
//   load_codes, load_tail_codes: kWordLanes codes, each sign-extended to a word
//   f16_low, f16_high: floats of the first and the last kLanes words, which hold FP16
//   equal_words, max_signed_words, subtract_words, shift_left_words
//
// Every format's values are FP16 numbers times a power of two, so a code becomes the word of that FP16 number, and the
// CPU's own conversion takes care of subnormal numbers.
#pragma once

#include "octavo/backend/cpu/encode_impl.h"

namespace octavo::cpu::encode_impl {

template <typename V, typename Format>
struct Decoder {
  using U = typename V::U;
  static constexpr bool kThreeBits = Format::kMantissaBits == 3;
  // E5M2 has FP16's exponent; E5M2FNUZ is brought there below; E4M3's counts from 15 - bias higher.
  static constexpr float kFactor = kThreeBits ? fp8::Codec<Format>::power_of_two(15 - Format::kBias) : 1.0f;

  static U words(U codes) {
    const U sign = V::bit_and(codes, V::set_words(0x8000));
    U magnitude = V::bit_and(codes, V::set_words(0x7F));
    if constexpr (!kThreeBits && Format::kFnuz) {
      // One less in the exponent; below twice the smallest normal number, m steps of 2^-17 are m << 7 steps of 2^-24.
      magnitude = V::max_signed_words(V::template shift_left_words<7>(magnitude),
                                      V::template shift_left_words<8>(V::subtract_words(magnitude, V::set_words(4))));
    } else {
      magnitude = V::template shift_left_words < kThreeBits ? 7 : 8 > (magnitude);
    }
    const U word = V::bit_or(magnitude, sign);
    const U nan = V::set_words(0x7E00);
    if constexpr (Format::kFnuz) {
      if (const auto where = V::equal_words(word, V::set_words(0x8000)); V::any(where)) [[unlikely]] {
        return V::set_words_where(where, word, nan);
      }
    } else {
      constexpr std::uint16_t kLargest = kThreeBits ? 0x3F00 : 0x7C00;  // that is not NaN
      if (const auto where = V::greater_words(magnitude, V::set_words(kLargest)); V::any(where)) [[unlikely]] {
        return V::set_words_where(where, word, V::bit_or(sign, nan));
      }
    }
    return word;
  }
};

// Calls store(i, floats, n) for values of kLanes codes from the i-th on, of which n count.
template <typename V, typename Format, typename Store>
void decode(const std::uint8_t* codes, std::size_t n, float scale, Store store) {
  using D = Decoder<V, Format>;
  using F = typename V::F;
  constexpr std::size_t kLanes = V::kLanes;
  const F factor = V::set_float(D::kFactor), by = V::set_float(scale);
  const auto scaled = [&](F value) {
    if constexpr (D::kFactor != 1.0f) value = V::mul(value, factor);  // exact
    return V::mul(value, by);
  };
  std::size_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    const auto words = D::words(V::load_codes(codes + i));
    store(i, scaled(V::f16_low(words)), kLanes);
    store(i + kLanes, scaled(V::f16_high(words)), kLanes);
  }
  if (i == n) return;
  const auto words = D::words(V::load_tail_codes(codes + i, n - i));
  const std::size_t low = n - i < kLanes ? n - i : kLanes;
  store(i, scaled(V::f16_low(words)), low);
  if (n - i > kLanes) store(i + kLanes, scaled(V::f16_high(words)), n - i - kLanes);
}

template <typename V, typename Format>
void decode_to_bf16(const std::uint8_t* codes, std::size_t n, float scale, std::uint16_t* out) {
  decode<V, Format>(codes, n, scale, [out](std::size_t i, typename V::F values, std::size_t count) {
    const auto words = round_to_bf16<V>(values);
    if (count == V::kLanes) {
      V::store_words(out + i, words);
    } else {
      V::store_tail_words(out + i, count, words);
    }
  });
}

template <typename V, typename Format>
void decode_to_f32(const std::uint8_t* codes, std::size_t n, float scale, float* out) {
  decode<V, Format>(codes, n, scale, [out](std::size_t i, typename V::F values, std::size_t count) {
    if (count == V::kLanes) {
      V::store_floats(out + i, values);
    } else {
      V::store_tail_floats(out + i, count, values);
    }
  });
}

template <typename V>
void fill_decode(EncodeKernels& k) {
  k.decode_to_bf16[static_cast<int>(fp8::Format::kE4M3)] = decode_to_bf16<V, fp8::E4M3>;
  k.decode_to_bf16[static_cast<int>(fp8::Format::kE5M2)] = decode_to_bf16<V, fp8::E5M2>;
  k.decode_to_bf16[static_cast<int>(fp8::Format::kE4M3FNUZ)] = decode_to_bf16<V, fp8::E4M3FNUZ>;
  k.decode_to_bf16[static_cast<int>(fp8::Format::kE5M2FNUZ)] = decode_to_bf16<V, fp8::E5M2FNUZ>;
  k.decode_to_f32[static_cast<int>(fp8::Format::kE4M3)] = decode_to_f32<V, fp8::E4M3>;
  k.decode_to_f32[static_cast<int>(fp8::Format::kE5M2)] = decode_to_f32<V, fp8::E5M2>;
  k.decode_to_f32[static_cast<int>(fp8::Format::kE4M3FNUZ)] = decode_to_f32<V, fp8::E4M3FNUZ>;
  k.decode_to_f32[static_cast<int>(fp8::Format::kE5M2FNUZ)] = decode_to_f32<V, fp8::E5M2FNUZ>;
}

}  // namespace octavo::cpu::encode_impl
