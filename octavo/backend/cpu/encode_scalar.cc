// Encode kernels in portable C++: one lane a vector.
#include <algorithm>
#include <bit>
#include <cstring>

#include "octavo/backend/cpu/encode_impl.h"
#include "octavo/backend/cpu/encode_tables.h"
#include "octavo/fp8/half.h"

namespace octavo::cpu::scalar {
namespace {

struct V {
  using F = float;
  using U = std::uint32_t;
  using D = double;
  using Mask = bool;
  static constexpr std::size_t kLanes = 1, kWordLanes = 1;

  template <typename T>
  static T load(const T* in) {
    T value;
    std::memcpy(&value, in, sizeof value);  // `in` need not be aligned
    return value;
  }
  static F load_bf16(const std::uint16_t* in) { return fp8::bf16_to_float(load(in)); }
  static F load_f16(const std::uint16_t* in) { return fp8::f16_to_float(load(in)); }
  static F load_f32(const float* in) { return load(in); }
  static U load_words(const std::uint16_t* in) { return load(in); }
  // With one lane there is never a tail.
  static F load_tail_bf16(const std::uint16_t*, std::size_t) { return 0; }
  static F load_tail_f16(const std::uint16_t*, std::size_t) { return 0; }
  static F load_tail_f32(const float*, std::size_t) { return 0; }
  static U load_tail_words(const std::uint16_t*, std::size_t) { return 0; }

  static void store_bytes(std::uint8_t* out, U a) { *out = static_cast<std::uint8_t>(a); }
  static void store_bytes4(std::uint8_t* out, U a, U b, U c, U d) {
    store_bytes(out, a);
    store_bytes(out + 1, b);
    store_bytes(out + 2, c);
    store_bytes(out + 3, d);
  }
  static void store_words(std::uint16_t* out, U a) {
    const auto word = static_cast<std::uint16_t>(a);
    std::memcpy(out, &word, sizeof word);
  }
  static U load_dwords(const std::uint32_t* in) { return load(in); }
  static void store_dwords(std::uint32_t* out, U a) { std::memcpy(out, &a, sizeof a); }
  static void store_all_words(std::uint16_t* out, U a) { store_words(out, a); }
  static void store_tail_bytes(std::uint8_t*, std::size_t, U) {}
  static void store_tail_words(std::uint16_t*, std::size_t, U) {}

  static U set(std::uint32_t a) { return a; }
  static U set_words(std::uint16_t a) { return a; }
  static U keep(U a) { return a; }
  static F set_float(float a) { return a; }
  static U bits(F a) { return std::bit_cast<U>(a); }
  static F floats(U a) { return std::bit_cast<F>(a); }
  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  // Through doubles: exact where a product has a code of a few bits, and near enough for sums of squares.
  static F fmadd(F a, F b, F c) {
    return static_cast<float>(static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c));
  }
  static F fnmadd(F a, F b, F c) { return fmadd(-a, b, c); }
  static F div(F a, F b) { return a / b; }
  static U add(U a, U b) { return a + b; }
  static U min(U a, U b) { return std::min(a, b); }
  static U max(U a, U b) { return std::max(a, b); }
  static U max_words(U a, U b) { return std::max(a, b); }
  static U bit_and(U a, U b) { return a & b; }
  static U bit_or(U a, U b) { return a | b; }
  template <int kCount>
  static U shift_right(U a) {
    return a >> kCount;
  }
  template <std::uint32_t kBits>
  static U select_bits(U a, U b) {
    return (a & kBits) | (b & ~kBits);
  }
  static Mask is_nan(F a) { return a != a; }
  static Mask is_zero(U a) { return a == 0; }
  static U zero_where(Mask m, U a) { return m ? 0 : a; }
  static U set_where(Mask m, U a, U b) { return m ? b : a; }
  static U or_where(Mask m, U a, U b) { return m ? a | b : a; }
  static D zero_doubles() { return 0; }
  static D add_lanes(D total, F a) { return total + static_cast<double>(a); }
  static double reduce_add(D a) { return a; }
  static std::uint32_t reduce_max(U a) { return a; }
  static std::uint16_t reduce_max_words(U a) { return static_cast<std::uint16_t>(a); }
};

template <typename Format>
void decode_to_bf16(const std::uint8_t* codes, std::size_t n, float scale, std::uint16_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    V::store_words(out + i, fp8::float_to_bf16(fp8::kDecodeTable<Format>[codes[i]] * scale));
  }
}

template <typename Format>
void decode_to_f32(const std::uint8_t* codes, std::size_t n, float scale, float* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const float value = fp8::kDecodeTable<Format>[codes[i]] * scale;
    std::memcpy(out + i, &value, sizeof value);
  }
}

}  // namespace

EncodeKernels encode_kernels() {
  EncodeKernels k = encode_impl::kernels<V>();
  for (const fp8::Format format : fp8::kFormats) {
    fp8::visit_format(format, [&]<typename Format>() {
      k.decode_to_bf16[static_cast<int>(format)] = decode_to_bf16<Format>;
      k.decode_to_f32[static_cast<int>(format)] = decode_to_f32<Format>;
    });
  }
  return k;
}

}  // namespace octavo::cpu::scalar
