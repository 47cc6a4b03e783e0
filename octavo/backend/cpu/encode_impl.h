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
//   load_dwords, store_dwords, store_all_words: whole vectors of integers, of kLanes or kWordLanes
//   keep: a constant as the compiler cannot know it, so that a loop keeps it in a register
//   fnmadd: c - a * b, rounded once; D, doubles that add_lanes adds floats to and reduce_add sums
// and the operations on F and U that are used below. No pointer need be aligned. Lanes given to store_bytes* come from
// select_bits, which may leave anything above the low byte; those given to store_words are below 2^16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/backend/cpu/encode_tables.h"

namespace octavo::cpu::encode_impl {

// The kinds of input: what to call to get floats from memory.
template <typename V>
struct Bf16 {
  static constexpr SourceType kType = SourceType::kBF16;
  using T = std::uint16_t;
  static typename V::F load(const T* in) { return V::load_bf16(in); }
  static typename V::F load_tail(const T* in, std::size_t n) { return V::load_tail_bf16(in, n); }
};
template <typename V>
struct F16 {
  static constexpr SourceType kType = SourceType::kF16;
  using T = std::uint16_t;
  static typename V::F load(const T* in) { return V::load_f16(in); }
  static typename V::F load_tail(const T* in, std::size_t n) { return V::load_tail_f16(in, n); }
};
template <typename V>
struct F32 {
  static constexpr SourceType kType = SourceType::kF32;
  using T = float;
  static typename V::F load(const T* in) { return V::load_f32(in); }
  static typename V::F load_tail(const T* in, std::size_t n) { return V::load_tail_f32(in, n); }
};

// What encoding did, while it is done. Squares add up in FP32 lanes, which are emptied into doubles after at most
// kMostAdds additions each: nine roundings of 2^-24, so the sums are within 10^-6 (docs/numerics.md).
template <typename V>
class Sums {
 public:
  static constexpr bool kMeasures = true, kFits = false;
  static constexpr int kMostAdds = 8;

  // A value's magnitude and by how much its code misses it. There are two sums of each, so that neighbouring
  // additions need not wait for each other.
  template <int kSum>
  [[gnu::always_inline]] void add(typename V::F magnitude, typename V::F difference) {
    signal_[kSum] = V::fmadd(magnitude, magnitude, signal_[kSum]);
    noise_[kSum] = V::fmadd(difference, difference, noise_[kSum]);
  }
  // After each two additions to either sum.
  [[gnu::always_inline]] void step() {
    if (++steps_ == kMostAdds / 2) empty();
  }
  [[gnu::always_inline]] void add_to(Distortion& distortion) {
    empty();
    distortion.signal += V::reduce_add(signal_total_);
    distortion.noise += V::reduce_add(noise_total_);
  }

 private:
  using F = typename V::F;
  [[gnu::always_inline]] void empty() {
    signal_total_ = V::add_lanes(signal_total_, V::add(signal_[0], signal_[1]));
    noise_total_ = V::add_lanes(noise_total_, V::add(noise_[0], noise_[1]));
    signal_[0] = signal_[1] = noise_[0] = noise_[1] = V::set_float(0);
    steps_ = 0;
  }

  F signal_[2] = {V::set_float(0), V::set_float(0)}, noise_[2] = {V::set_float(0), V::set_float(0)};
  typename V::D signal_total_ = V::zero_doubles(), noise_total_ = V::zero_doubles();
  int steps_ = 0;
};
// The same for those who only want codes: of any value, or of such as PreparedScale::fits says.
template <bool kFit>
struct OnlyCodes {
  static constexpr bool kMeasures = false, kFits = kFit;
  [[gnu::always_inline]] void step() {}
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

  // Of value / divisor.
  template <int kSum, typename S>
  static typename V::U codes(typename V::F original, typename V::F divisor, S& sums) {
    const auto value = V::div(original, divisor);
    const auto bits = V::bits(value);
    const auto magnitude = V::min(V::bit_and(bits, V::set(0x7FFFFFFF)), V::set(Codec::kMaxBits));
    const auto e = V::max(V::bit_and(magnitude, V::set(kExponentMask)), V::set(Codec::kSmallestNormalBits));
    const auto magic = V::floats(V::add(e, V::set(kMagic)));
    const auto sum = V::add(V::floats(magnitude), magic);
    if constexpr (S::kMeasures) {
      const auto decoded = V::sub(sum, magic);  // exact: the code's magnitude
      const auto x = V::floats(V::bit_and(V::bits(original), V::set(0x7FFFFFFF)));
      sums.template add<kSum>(x, V::fnmadd(decoded, divisor, x));
    }
    auto code = V::add(V::bits(sum), V::template shift_right<kDropped>(e));
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

// Vectors of bits of values without their signs, and their maxima.
template <typename V, typename T>
struct Magnitudes;
template <typename V>
struct Magnitudes<V, std::uint16_t> {
  using U = typename V::U;
  using Bits = std::uint16_t;
  static constexpr std::size_t kLanes = V::kWordLanes;
  static U mask() { return V::set_words(0x7FFF); }
  static U load(const std::uint16_t* in) { return load(in, mask()); }
  static U load(const std::uint16_t* in, U mask) { return V::bit_and(V::load_words(in), mask); }
  static U load_tail(const std::uint16_t* in, std::size_t n) { return V::bit_and(V::load_tail_words(in, n), mask()); }
  static U max(U a, U b) { return V::max_words(a, b); }
  static U load_bits(const Bits* in) { return V::load_words(in); }
  static void store_bits(Bits* out, U a) { V::store_all_words(out, a); }
};
template <typename V>
struct Magnitudes<V, float> {
  using U = typename V::U;
  using Bits = std::uint32_t;
  static constexpr std::size_t kLanes = V::kLanes;
  static U mask() { return V::set(0x7FFFFFFF); }
  static U load(const float* in) { return load(in, mask()); }
  static U load(const float* in, U mask) { return V::bit_and(V::bits(V::load_f32(in)), mask); }
  static U load_tail(const float* in, std::size_t n) { return V::bit_and(V::bits(V::load_tail_f32(in, n)), mask()); }
  static U max(U a, U b) { return V::max(a, b); }
  static U load_bits(const Bits* in) { return V::load_dwords(in); }
  static void store_bits(Bits* out, U a) { V::store_dwords(out, a); }
};

// How encoding looks at what comes next (Meanwhile), a group at a time, and how it does not.
template <typename V, typename T>
class Looking {
 public:
  explicit Looking(const Meanwhile<T, typename Magnitudes<V, T>::Bits>& meanwhile) : meanwhile_(meanwhile) {}
  [[gnu::always_inline]] void begin() {
    a_ = M::load_bits(meanwhile_.largest);
    b_ = V::set(0);
  }
  // kCount elements from the group's element i on; codes go to `out`.
  template <std::size_t kCount>
  [[gnu::always_inline]] void look(std::size_t i, const std::uint8_t* out) {
    constexpr std::size_t kLine = 64;
    const auto source = reinterpret_cast<std::uintptr_t>(meanwhile_.next + i) + meanwhile_.ahead_in;
    const auto codes = reinterpret_cast<std::uintptr_t>(out) + meanwhile_.ahead_out;
    if constexpr (kCount >= kLine / 2) {
      for (std::size_t k = 0; k < kCount * sizeof(T); k += kLine) {
        __builtin_prefetch(reinterpret_cast<const void*>(source + k));
      }
      for (std::size_t k = 0; k < kCount; k += kLine) __builtin_prefetch(reinterpret_cast<const void*>(codes + k), 1);
    }
    for (std::size_t k = 0; k < kCount; k += 2 * M::kLanes) {
      a_ = M::max(a_, M::load(meanwhile_.next + i + k, mask_));
      if (k + M::kLanes < kCount) b_ = M::max(b_, M::load(meanwhile_.next + i + k + M::kLanes, mask_));
    }
  }
  [[gnu::always_inline]] void look_at_tail(std::size_t i, std::size_t n) {
    for (; i + M::kLanes <= n; i += M::kLanes) a_ = M::max(a_, M::load(meanwhile_.next + i));
    if (i < n) b_ = M::max(b_, M::load_tail(meanwhile_.next + i, n - i));
  }
  [[gnu::always_inline]] void end(std::size_t n) {
    M::store_bits(meanwhile_.largest, M::max(a_, b_));
    meanwhile_.largest += kMaxLanes;
    meanwhile_.next += n;
  }

 private:
  using M = Magnitudes<V, T>;
  Meanwhile<T, typename M::Bits> meanwhile_;
  typename V::U a_, b_, mask_ = V::keep(M::mask());
};
struct NotLooking {
  [[gnu::always_inline]] void begin() {}
  template <std::size_t kCount>
  [[gnu::always_inline]] void look(std::size_t, const std::uint8_t*) {}
  [[gnu::always_inline]] void look_at_tail(std::size_t, std::size_t) {}
  [[gnu::always_inline]] void end(std::size_t) {}
};

template <typename V, typename Source, typename Format, typename S, typename L>
void encode_run(const typename Source::T* in, std::uint8_t* out, std::size_t n, float scale, S& sums, L& looking) {
  using E = Encoder<V, Format>;
  constexpr std::size_t kLanes = V::kLanes;
  const auto divisor = V::set_float(scale);
  looking.begin();
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    looking.template look<4 * kLanes>(i, out + i);
    // Four at a time, so that their latencies overlap.
    const auto a = E::template codes<0>(Source::load(in + i), divisor, sums);
    const auto b = E::template codes<1>(Source::load(in + i + kLanes), divisor, sums);
    const auto c = E::template codes<0>(Source::load(in + i + 2 * kLanes), divisor, sums);
    const auto d = E::template codes<1>(Source::load(in + i + 3 * kLanes), divisor, sums);
    V::store_bytes4(out + i, a, b, c, d);
    sums.step();
  }
  looking.look_at_tail(i, n);
  looking.end(n);
  for (; i + kLanes <= n; i += kLanes) {
    V::store_bytes(out + i, E::template codes<0>(Source::load(in + i), divisor, sums));
    sums.step();
  }
  if (i < n) {
    V::store_tail_bytes(out + i, n - i, E::template codes<1>(Source::load_tail(in + i, n - i), divisor, sums));
    sums.step();
  }
}

template <typename V, typename Source, typename Format>
void encode(const typename Source::T* in, std::uint8_t* out, std::size_t n, float scale) {
  OnlyCodes<false> none;
  NotLooking not_looking;
  encode_run<V, Source, Format>(in, out, n, scale, none, not_looking);
}

// How a run with one scale is encoded, if it takes the scale; encode_bf16_impl.h has another way. This one takes any.
struct Dividing {
  static constexpr std::size_t kBlock = 0;
  static bool takes(const PreparedScale&) { return true; }
  template <typename V, typename Format>
  struct Constants {};
  template <typename V, typename Source, typename Format, typename S, typename L>
  static void run(const Constants<V, Format>&, const typename Source::T* in, std::uint8_t* out, std::size_t n,
                  const PreparedScale& scale, S& sums, L& looking) {
    encode_run<V, Source, Format>(in, out, n, scale.scale, sums, looking);
  }
};

template <typename Format>
inline constexpr fp8::Format kFormat = Format::kFnuz
                                           ? (Format::kMantissaBits == 3 ? fp8::Format::kE4M3FNUZ
                                                                         : fp8::Format::kE5M2FNUZ)
                                           : (Format::kMantissaBits == 3 ? fp8::Format::kE4M3 : fp8::Format::kE5M2);

// A group that is not as most are. Out of line and on copies, so that what the loop over the others keeps in registers
// can stay there.
template <typename V, typename Source, typename Format, typename How, typename S, typename L>
[[gnu::noinline]] void encode_odd_group(const typename Source::T* in, std::uint8_t* out, std::size_t n,
                                        const PreparedScale& scale, S& sums, L& looking) {
  if (How::takes(scale)) {
    How::template run<V, Source, Format>({}, in, out, n, scale, sums, looking);
  } else {
    Dividing::run<V, Source, Format>({}, in, out, n, scale, sums, looking);
  }
}
template <typename V, typename Source, typename Format, typename How, typename S, typename L>
[[gnu::always_inline]] inline void encode_apart(const typename Source::T* in, std::uint8_t* out, std::size_t n,
                                                const PreparedScale& scale, S& sums, L& looking) {
  S copy_of_sums = sums;
  L copy_of_looking = looking;
  encode_odd_group<V, Source, Format, How>(in, out, n, scale, copy_of_sums, copy_of_looking);
  sums = copy_of_sums;
  looking = copy_of_looking;
}

// kGroup: `group` where it is known when compiling, or 0.
template <typename V, typename Source, typename Format, typename How, std::size_t kGroup, typename L>
[[gnu::noinline]] void encode_each_group(const typename Source::T* in, std::uint8_t* out, std::size_t n,
                                         const PreparedScale* scales, std::size_t group, Distortion* distortion,
                                         const L& how_looking) {
  if constexpr (kGroup != 0) group = kGroup;
  L looking = how_looking;
  const typename How::template Constants<V, Format> constants;
  std::size_t i = 0;
  if (distortion == nullptr) {
    OnlyCodes<false> any;
    OnlyCodes<true> fitting;
    while (i < n) {
      for (; i + group <= n && scales->fits && How::takes(*scales); i += group, ++scales) {
        How::template run<V, Source, Format>(constants, in + i, out + i, group, *scales, fitting, looking);
      }
      if (i == n) return;
      encode_apart<V, Source, Format, How>(in + i, out + i, n - i < group ? n - i : group, *scales, any, looking);
      i += group;
      ++scales;
    }
    return;
  }
  Sums<V> sums;
  while (i < n) {
    const auto measured = [&] {
      return scales->scale >= kSmallestMeasuredScale && scales->scale <= kLargestMeasuredScale;
    };
    for (; i + group <= n && measured(); i += group, ++scales) {
      How::template run<V, Source, Format>(constants, in + i, out + i, group, *scales, sums, looking);
    }
    if (i == n) break;
    const std::size_t count = n - i < group ? n - i : group;
    if (measured()) {
      encode_apart<V, Source, Format, How>(in + i, out + i, count, *scales, sums, looking);
    } else {
      OnlyCodes<false> none;
      encode_apart<V, Source, Format, How>(in + i, out + i, count, *scales, none, looking);
      add_distortion(Source::kType, in + i, out + i, count, kFormat<Format>, scales->scale, *distortion);
    }
    i += group;
    ++scales;
  }
  sums.add_to(*distortion);
}

template <typename V, typename Source, typename Format, typename How>
void encode_groups(const typename Source::T* in, std::uint8_t* out, std::size_t n, const PreparedScale* scales,
                   std::size_t group, Distortion* distortion,
                   const Meanwhile<typename Source::T, typename Magnitudes<V, typename Source::T>::Bits>* meanwhile) {
  const auto encode_all = [&](const auto& looking) {
    if (How::kBlock != 0 && group == How::kBlock) {
      encode_each_group<V, Source, Format, How, How::kBlock>(in, out, n, scales, group, distortion, looking);
    } else {
      encode_each_group<V, Source, Format, How, 0>(in, out, n, scales, group, distortion, looking);
    }
  };
  if (meanwhile == nullptr) {
    encode_all(NotLooking{});
  } else {
    encode_all(Looking<V, typename Source::T>(*meanwhile));
  }
}

// fp8::float_to_bf16, in the low 16 bits of each lane.
template <typename V>
typename V::U round_to_bf16(typename V::F value) {
  const auto bits = V::bits(value);
  const auto high = V::template shift_right<16>(bits);
  const auto odd = V::bit_and(high, V::set(1));
  const auto rounded = V::template shift_right<16>(V::add(bits, V::add(odd, V::set(0x7FFF))));
  const auto quiet = V::bit_or(high, V::set(0x0040));
  return V::set_where(V::is_nan(value), rounded, quiet);
}

template <typename V>
void f32_to_bf16(const float* in, std::uint16_t* out, std::size_t n) {
  std::size_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store_words(out + i, round_to_bf16<V>(V::load_f32(in + i)));
  if (i < n) V::store_tail_words(out + i, n - i, round_to_bf16<V>(V::load_tail_f32(in + i, n - i)));
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

template <typename V, typename T>
void max_groups(const T* in, std::size_t n, std::size_t group, typename Magnitudes<V, T>::Bits* largest) {
  using M = Magnitudes<V, T>;
  for (std::size_t begin = 0; begin < n; begin += group, largest += kMaxLanes) {
    const std::size_t end = n - begin < group ? n : begin + group;
    auto a = M::load_bits(largest), b = V::set(0), c = b, d = b;
    std::size_t i = begin;
    for (; i + 4 * M::kLanes <= end; i += 4 * M::kLanes) {
      a = M::max(a, M::load(in + i));
      b = M::max(b, M::load(in + i + M::kLanes));
      c = M::max(c, M::load(in + i + 2 * M::kLanes));
      d = M::max(d, M::load(in + i + 3 * M::kLanes));
    }
    for (; i + M::kLanes <= end; i += M::kLanes) a = M::max(a, M::load(in + i));
    if (i < end) b = M::max(b, M::load_tail(in + i, end - i));
    M::store_bits(largest, M::max(M::max(a, b), M::max(c, d)));
  }
}

template <typename V, template <typename> typename Source, typename How, typename Row>
void fill_groups(Row& row) {
  row[static_cast<int>(fp8::Format::kE4M3)] = encode_groups<V, Source<V>, fp8::E4M3, How>;
  row[static_cast<int>(fp8::Format::kE5M2)] = encode_groups<V, Source<V>, fp8::E5M2, How>;
  row[static_cast<int>(fp8::Format::kE4M3FNUZ)] = encode_groups<V, Source<V>, fp8::E4M3FNUZ, How>;
  row[static_cast<int>(fp8::Format::kE5M2FNUZ)] = encode_groups<V, Source<V>, fp8::E5M2FNUZ, How>;
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
  k.max_groups16 = max_groups<V, std::uint16_t>;
  k.max_groups32 = max_groups<V, float>;
  fill<V, Bf16>(k.encode_bf16);
  fill<V, F16>(k.encode_f16);
  fill<V, F32>(k.encode_f32);
  fill_groups<V, Bf16, Dividing>(k.encode_groups_bf16);
  fill_groups<V, F16, Dividing>(k.encode_groups_f16);
  fill_groups<V, F32, Dividing>(k.encode_groups_f32);
  k.f32_to_bf16 = f32_to_bf16<V>;
  return k;
}

}  // namespace octavo::cpu::encode_impl
