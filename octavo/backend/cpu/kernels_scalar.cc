// Kernels in portable C++: vectors of four floats by the compiler's extension, lowered to what the machine has.
#include <cstring>

#include "octavo/backend/cpu/kernels_impl.h"
#include "octavo/fp8/codec.h"

namespace octavo::cpu::scalar {
namespace {

// Decoded E4M3 times 2^-8, as the other instruction sets have it.
constexpr auto kE4M3Table = [] {
  auto table = fp8::kDecodeTable<fp8::E4M3>;
  for (float& value : table) {
    if (value == value) value /= kE4M3Factor;  // NaN stays
  }
  return table;
}();

struct V {
  static constexpr std::size_t kLanes = 4;
  // Of the 16 registers of SSE2 or NEON's 32.
  static constexpr int kTileTokens = 4, kFewTokens = 4;
  static constexpr int groups_at_once(int tokens) { return tokens == 1 ? 4 : tokens == 2 ? 2 : 1; }
  static constexpr int kTileQueries = 2;
  typedef float F __attribute__((vector_size(16)));
  typedef std::int32_t I __attribute__((vector_size(16)));

  static F set(float a) { return a - F{}; }
  static F load(const float* in) {
    F a;
    std::memcpy(&a, in, sizeof a);
    return a;
  }
  static void store(float* out, F a) { std::memcpy(out, &a, sizeof a); }
  static F fma(F a, F b, F c) { return a * b + c; }
  static float reduce_add(F a) { return (a[0] + a[2]) + (a[1] + a[3]); }
  static float reduce_max(F a) { return larger(larger(a[0], a[2]), larger(a[1], a[3])); }
  static float larger(float a, float b) { return a > b ? a : b; }

  static F load_table(const std::uint8_t* in, const float* table) {
    return F{table[in[0]], table[in[1]], table[in[2]], table[in[3]]};
  }
  template <bool kFinite>
  static F load_e4m3(const std::uint8_t* in) {
    return load_table(in, kE4M3Table.data());
  }
  static F load_e5m2(const std::uint8_t* in) { return load_table(in, fp8::kDecodeTable<fp8::E5M2>.data()); }
  static F load_bf16(const std::uint16_t* in) {
    std::uint16_t words[kLanes];
    std::memcpy(words, in, sizeof words);
    const I bits = {words[0] << 16, words[1] << 16, words[2] << 16, words[3] << 16};
    return impl::floats<V>(bits);
  }

  static void load_table_pairs(const std::uint8_t* in, const float* table, F (&even)[2], F (&odd)[2]) {
    for (std::size_t i = 0; i < 2; ++i, in += 2 * kLanes) {
      even[i] = F{table[in[0]], table[in[2]], table[in[4]], table[in[6]]};
      odd[i] = F{table[in[1]], table[in[3]], table[in[5]], table[in[7]]};
    }
  }
  template <bool kFinite>
  static void load_e4m3_pairs(const std::uint8_t* in, F (&even)[2], F (&odd)[2]) {
    load_table_pairs(in, kE4M3Table.data(), even, odd);
  }
  static void load_e5m2_pairs(const std::uint8_t* in, F (&even)[2], F (&odd)[2]) {
    load_table_pairs(in, fp8::kDecodeTable<fp8::E5M2>.data(), even, odd);
  }
  static void load_bf16_pairs(const std::uint16_t* in, F (&even)[2], F (&odd)[2]) {
    for (std::size_t i = 0; i < 2; ++i, in += 2 * kLanes) {
      const I first = {in[0] << 16, in[2] << 16, in[4] << 16, in[6] << 16};
      const I second = {in[1] << 16, in[3] << 16, in[5] << 16, in[7] << 16};
      even[i] = impl::floats<V>(first);
      odd[i] = impl::floats<V>(second);
    }
  }
};

}  // namespace

Kernels kernels() { return impl::kernels<V>(); }

}  // namespace octavo::cpu::scalar
