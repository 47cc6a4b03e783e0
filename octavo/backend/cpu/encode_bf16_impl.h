// BF16 to FP8 nearly at the speed of memory: the algorithm of encode_impl.h without its division, on the even and the
// odd words of a vector, which also saves most of the shuffling. The rules of encode_impl.h hold. V has in addition
//   mul, and fmadd (a * b + c), of F; kSigned; max_magnitude and min_magnitude, which keep the sign of the first where
//   kSigned, and are only used for floats >= 0 otherwise; or_and (a | (b & c)), madd_words (vpmaddwd) and
//   merge_words(0xFFFF0000, odd, even) of U; operations called ..._words on kWordLanes lanes of 16 bits, whose truths
//   are a WordMask store_high_bytes2: (uint8_t*, U, U), the high byte of each word; store_tail_high_bytes: (uint8_t*,
//   n, U)
//
// Why the codes are those of the quotient t = x / s rounded to FP32, RN(t). The reciprocal is kept as a sum of two
// floats, 1 / s = y + z within 2^-48, relatively. q = RN(x * y + RN(x * z)), whose inner rounding is a second 2^-48 of
// t; so before its own rounding q is within 2^-46 of t. RN(t) and q can get different codes only if they compare
// differently with a boundary between codes, which has at most five significant bits. Scale everything by powers of two
// so that the boundary is an integer b, 16 <= b < 32, and s an integer S, 2^23 <= S < 2^24. Then x = X * 2^p with
// integers X < 2^8 and, because x is about b * S >= 2^27, p >= 20. The comparison can differ only if t is within 2^-40
// of a midpoint between b and the FP32 number next to it: b + h with h = +-2^-20, or h = -2^-21 where b = 16. The
// integer d = x - b * S then is within 2^-16 of h * S, that is S = |d| * 2^20 + e with 8 <= |d| <= 16 and |e| <= 16
// (or S = |d| * 2^21 + e, 4 <= |d| <= 8, |e| <= 32). Since 2^20 divides x, it divides d + b * e, whose magnitude is too
// small for any multiple but zero; and b * |e| = |d| leaves only b = |d| = 16, S = 2^24 - 1, x = 2^28. That case is
// right when computed, and a test on demand tries every significand of s with every one of x
// (tests/backend/encode_test.cc).
//
// Who measures the distortion (Sums) clamps the quotient instead of x: where it is at least the largest number, so is
// t.
//
// Exponents: for s within [kSmallestScale, kLargestScale] nothing under- or overflows where t is in [2^-20, 2^17].
// Below, q stays under half the smallest number of any format, and the code is zero; above, x is clamped. Other scales
// take the division.
#pragma once

#include "octavo/backend/cpu/encode_impl.h"

namespace octavo::cpu::encode_impl {

inline constexpr float kSmallestScale = 0x1p-60f, kLargestScale = 0x1p60f;

template <typename V, typename Format>
struct Bf16Encoder {
  using F = typename V::F;
  using U = typename V::U;
  using Codec = fp8::Codec<Format>;
  static constexpr int kDropped = 23 - Codec::kMantissaBits;
  // As in Encoder, but the exponent is taken from the sum, where it is kDropped higher.
  static constexpr std::uint32_t kExponentOfZero = (Codec::kSmallestNormalBits >> 23) + kDropped;
  static constexpr std::uint32_t kMagic = (0u - (kExponentOfZero << Codec::kMantissaBits)) & 0xFFu;
  static_assert((kMagic & 1) == 0, "an odd constant would turn ties to even into ties to odd");
  static constexpr float kToMagic = Codec::power_of_two(kDropped);
  // vpmaddwd adds the low word of the sum times 2^8 and the high word, where the exponent starts at bit 7, times what
  // brings it to bit 8 + kMantissaBits: bits 8 to 15 of the result are the code.
  static constexpr std::uint32_t kMultipliers = 1u << 8 | 1u << (16 + 1 + Codec::kMantissaBits);

  // What does not depend on the scale, made once for many groups and hidden from the compiler, which would make it anew
  // in every turn of the loop: five more instructions in ninety, for the busiest ports.
  struct Constants {
    F smallest_normal = V::keep(V::set_float(Codec::kSmallestNormal)), to_magic = V::keep(V::set_float(kToMagic));
    U magic = V::keep(V::set(kMagic)), exponent = V::keep(V::set(V::kSigned ? 0xFF800000 : 0x7F800000)),
      multipliers = V::keep(V::set(kMultipliers)), odd_words = V::keep(V::set(0xFFFF0000)),
      signs = V::keep(V::set_words(0x8000)), magnitudes = V::keep(V::set_words(0x7FFF));
  };

  const Constants& c;
  F scale, reciprocal, rest;  // s, y and z
  U largest;                  // words

  [[gnu::always_inline]] Bf16Encoder(const Constants& constants, const PreparedScale& prepared)
      : c(constants),
        scale(V::set_float(prepared.scale)),
        reciprocal(V::set_float(prepared.reciprocal)),
        rest(V::set_float(prepared.rest)),
        largest(V::set_words(prepared.largest)) {}

  // Codes of floats in bits 8 to 15 of each 32-bit lane, whose other bits are anything. Floats are >= 0 unless
  // V::kSigned: then bit 15 is zero all the same.
  template <int kSum, typename S>
  [[gnu::always_inline]] U codes(F value, S& sums) const {
    F quotient = V::fmadd(value, reciprocal, V::mul(value, rest));
    // Who measures needs the value as it is, so here is where it is clamped.
    if constexpr (S::kMeasures) quotient = V::min_magnitude(quotient, V::set_float(Codec::kMax));
    const F normal = V::max_magnitude(quotient, c.smallest_normal);
    const F e = V::floats(V::or_and(c.magic, V::bits(normal), c.exponent));
    const F sum = V::fmadd(e, c.to_magic, quotient);
    if constexpr (S::kMeasures) {
      const F decoded = V::fnmadd(e, c.to_magic, sum);  // exact: the code's value
      sums.template add<kSum>(value, V::fnmadd(decoded, scale, value));
    }
    return V::madd_words(V::bits(sum), c.multipliers);
  }

  // Codes of BF16 words, in the high byte of each.
  template <typename S>
  [[gnu::always_inline]] U operator()(U words, S& sums) const {
    // Rounding is symmetrical, so values keep their signs if V's operations can; otherwise, and to clamp, magnitudes.
    constexpr bool kClamps = !S::kMeasures && !S::kFits;
    const U magnitude = V::bit_and(words, c.magnitudes);
    const U values = kClamps ? V::min_words(magnitude, largest) : V::kSigned ? words : magnitude;
    const U even = codes<0>(V::floats(V::template shift_left<16>(values)), sums);
    const U odd = codes<1>(V::floats(V::bit_and(values, c.odd_words)), sums);
    const U code = V::merge_words(c.odd_words, V::template shift_left<16>(odd), even);
    U sign = words;
    if constexpr (Format::kFnuz) sign = V::zero_words_where(V::is_zero_words(code), sign);
    U result = V::or_and(code, sign, c.signs);
    if constexpr (kClamps) {
      if (const auto nan = V::greater_words(magnitude, V::set_words(0x7F80)); V::any(nan)) [[unlikely]] {
        const U nan_words = V::set_words(std::uint16_t{Codec::kNaN} << 8);
        result = V::set_words_where(nan, result, Format::kFnuz ? nan_words : V::bit_or(result, nan_words));
      }
    }
    return result;
  }
};

static_assert(kSmallestScale <= kSmallestMeasuredScale && kLargestMeasuredScale <= kLargestScale,
              "whatever is measured is taken");

struct Multiplying {
  static constexpr std::size_t kBlock = 128;  // a size of groups that has its own loop: there are two turns in a group
  static bool takes(const PreparedScale& scale) {
    return scale.scale >= kSmallestScale && scale.scale <= kLargestScale;
  }
  template <typename V, typename Format>
  using Constants = typename Bf16Encoder<V, Format>::Constants;
  template <typename V, typename Source, typename Format, typename S, typename L>
  [[gnu::always_inline]] static void run(const Constants<V, Format>& constants, const std::uint16_t* in,
                                         std::uint8_t* out, std::size_t n, const PreparedScale& scale, S& sums,
                                         L& looking) {
    constexpr std::size_t kLanes = V::kWordLanes;
    const Bf16Encoder<V, Format> codes(constants, scale);
    looking.begin();
    std::size_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      looking.template look<2 * kLanes>(i, out + i);
      if constexpr (S::kMeasures) {  // in order, which the sums depend on
        const auto a = codes(V::load_words(in + i), sums), b = codes(V::load_words(in + i + kLanes), sums);
        V::store_high_bytes2(out + i, a, b);
      } else {
        // The second line first: blocks out of memory are a tenth faster so (measured: docs/benchmarks.md).
        const auto b = codes(V::load_words(in + i + kLanes), sums), a = codes(V::load_words(in + i), sums);
        V::store_high_bytes2(out + i, a, b);
      }
      sums.step();
    }
    looking.look_at_tail(i, n);
    looking.end(n);
    if (i + kLanes <= n) {
      V::store_tail_high_bytes(out + i, kLanes, codes(V::load_words(in + i), sums));
      i += kLanes;
      sums.step();
    }
    if (i < n) {
      V::store_tail_high_bytes(out + i, n - i, codes(V::load_tail_words(in + i, n - i), sums));
      sums.step();
    }
  }
};

template <typename V, typename Format>
void encode_bf16(const std::uint16_t* in, std::uint8_t* out, std::size_t n, float scale) {
  OnlyCodes<false> none;
  NotLooking not_looking;
  const PreparedScale prepared = prepare_scale(kFormat<Format>, scale);
  if (Multiplying::takes(prepared)) {
    Multiplying::run<V, Bf16<V>, Format>({}, in, out, n, prepared, none, not_looking);
  } else {
    Dividing::run<V, Bf16<V>, Format>({}, in, out, n, prepared, none, not_looking);
  }
}

// kernels() with this encode_bf16.
template <typename V>
EncodeKernels kernels_without_division() {
  EncodeKernels k = kernels<V>();
  k.encode_bf16[static_cast<int>(fp8::Format::kE4M3)] = encode_bf16<V, fp8::E4M3>;
  k.encode_bf16[static_cast<int>(fp8::Format::kE5M2)] = encode_bf16<V, fp8::E5M2>;
  k.encode_bf16[static_cast<int>(fp8::Format::kE4M3FNUZ)] = encode_bf16<V, fp8::E4M3FNUZ>;
  k.encode_bf16[static_cast<int>(fp8::Format::kE5M2FNUZ)] = encode_bf16<V, fp8::E5M2FNUZ>;
  fill_groups<V, Bf16, Multiplying>(k.encode_groups_bf16);
  return k;
}

}  // namespace octavo::cpu::encode_impl
