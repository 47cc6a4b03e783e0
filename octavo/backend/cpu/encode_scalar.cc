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
  static void store_tail_bytes(std::uint8_t*, std::size_t, U) {}
  static void store_tail_words(std::uint16_t*, std::size_t, U) {}

  static U set(std::uint32_t a) { return a; }
  static U set_words(std::uint16_t a) { return a; }
  static F set_float(float a) { return a; }
  static U bits(F a) { return std::bit_cast<U>(a); }
  static F floats(U a) { return std::bit_cast<F>(a); }
  static F add(F a, F b) { return a + b; }
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
  static std::uint32_t reduce_max(U a) { return a; }
  static std::uint16_t reduce_max_words(U a) { return static_cast<std::uint16_t>(a); }
};

}  // namespace

EncodeKernels encode_kernels() { return encode_impl::kernels<V>(); }

}  // namespace octavo::cpu::scalar
