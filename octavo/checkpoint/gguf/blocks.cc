// Decoders of ggml's block formats. The order of the floating-point operations is fixed by the reference (the Python
// package gguf): scale * sub-scale first, then * q, then the minimum. Regrouped, results differ in the last bit and in
// the sign of zero. Files are compiled with -ffp-contract=off, so nothing is fused.
#include "octavo/checkpoint/gguf/blocks.h"

#include <array>
#include <bit>
#include <cstring>

#include "octavo/fp8/half.h"

namespace octavo {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read by memory copies of little-endian numbers");

using std::byte;

template <typename T>
T load(const byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

float half(const byte* from) { return fp8::f16_to_float(load<std::uint16_t>(from)); }
int low(byte b) { return static_cast<int>(b & byte{0x0F}); }
int high(byte b) { return static_cast<int>(b >> 4); }
int whole(byte b) { return static_cast<int>(b); }

void decode_f32(const byte* in, std::size_t blocks, float* out) { std::memcpy(out, in, blocks * sizeof(float)); }

void decode_f16(const byte* in, std::size_t blocks, float* out) {
  for (std::size_t i = 0; i < blocks; ++i) out[i] = half(in + 2 * i);
}

void decode_bf16(const byte* in, std::size_t blocks, float* out) {
  for (std::size_t i = 0; i < blocks; ++i) out[i] = fp8::bf16_to_float(load<std::uint16_t>(in + 2 * i));
}

// Blocks of 32. Low nibbles are elements 0-15, high nibbles 16-31.
// Q4_0: f16 d, 16 bytes of nibbles; d * (q - 8).
void decode_q4_0(const byte* in, std::size_t blocks, float* out) {
  for (; blocks-- > 0; in += 18, out += 32) {
    const float d = half(in);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(low(in[2 + i]) - 8);
      out[i + 16] = d * static_cast<float>(high(in[2 + i]) - 8);
    }
  }
}

// Q4_1: f16 d, f16 m, nibbles; d * q + m.
void decode_q4_1(const byte* in, std::size_t blocks, float* out) {
  for (; blocks-- > 0; in += 20, out += 32) {
    const float d = half(in);
    const float m = half(in + 2);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(low(in[4 + i])) + m;
      out[i + 16] = d * static_cast<float>(high(in[4 + i])) + m;
    }
  }
}

// Q5_0: f16 d, 32 fifth bits, nibbles; d * (q - 16).
void decode_q5_0(const byte* in, std::size_t blocks, float* out) {
  for (; blocks-- > 0; in += 22, out += 32) {
    const float d = half(in);
    const auto fifth = load<std::uint32_t>(in + 2);
    for (int i = 0; i < 16; ++i) {
      const int q0 = low(in[6 + i]) | static_cast<int>(fifth >> i & 1u) << 4;
      const int q1 = high(in[6 + i]) | static_cast<int>(fifth >> (i + 16) & 1u) << 4;
      out[i] = d * static_cast<float>(q0 - 16);
      out[i + 16] = d * static_cast<float>(q1 - 16);
    }
  }
}

// Q5_1: f16 d, f16 m, 32 fifth bits, nibbles; d * q + m.
void decode_q5_1(const byte* in, std::size_t blocks, float* out) {
  for (; blocks-- > 0; in += 24, out += 32) {
    const float d = half(in);
    const float m = half(in + 2);
    const auto fifth = load<std::uint32_t>(in + 4);
    for (int i = 0; i < 16; ++i) {
      const int q0 = low(in[8 + i]) | static_cast<int>(fifth >> i & 1u) << 4;
      const int q1 = high(in[8 + i]) | static_cast<int>(fifth >> (i + 16) & 1u) << 4;
      out[i] = d * static_cast<float>(q0) + m;
      out[i + 16] = d * static_cast<float>(q1) + m;
    }
  }
}

// Q8_0: f16 d, 32 signed bytes; q * d.
void decode_q8_0(const byte* in, std::size_t blocks, float* out) {
  for (; blocks-- > 0; in += 34, out += 32) {
    const float d = half(in);
    for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(load<std::int8_t>(in + 2 + i)) * d;
  }
}

// Super-blocks of 256. Q4_K and Q5_K have eight sub-blocks of 32 with a 6-bit scale and a 6-bit minimum each, packed in
// 12 bytes: bytes 0-3 hold scales 0-3 and 4-7 minima 0-3 in their low 6 bits; bytes 8-11 hold the low 4 bits of scales
// 4-7 (low nibble) and minima 4-7 (high nibble), whose upper 2 bits are the top bits of bytes 0-3 and 4-7.
struct SubScales {
  float scale;
  float minimum;
};
SubScales sub_scales(const byte* packed, int j) {
  if (j < 4) {
    return {static_cast<float>(whole(packed[j]) & 63), static_cast<float>(whole(packed[j + 4]) & 63)};
  }
  return {static_cast<float>(low(packed[j + 4]) | (whole(packed[j - 4]) >> 6) << 4),
          static_cast<float>(high(packed[j + 4]) | (whole(packed[j]) >> 6) << 4)};
}

// Q4_K: f16 d, f16 dmin, 12 bytes of sub-scales, 4 groups of 32 bytes (low nibbles: one sub-block, high: the next).
void decode_q4_k(const byte* in, std::size_t blocks, float* out) {
  for (; blocks-- > 0; in += 144) {
    const float d = half(in);
    const float dmin = half(in + 2);
    const byte* q = in + 16;
    for (int j = 0; j < 8; ++j, out += 32) {
      const SubScales sub = sub_scales(in + 4, j);
      const float scale = d * sub.scale;
      const float minimum = dmin * sub.minimum;
      const byte* group = q + (j / 2) * 32;
      const int shift = (j % 2) * 4;
      for (int i = 0; i < 32; ++i) out[i] = scale * static_cast<float>((whole(group[i]) >> shift) & 15) - minimum;
    }
  }
}

// Q5_K: as Q4_K with 32 bytes of fifth bits (bit j of byte i belongs to element i of sub-block j) before the nibbles.
void decode_q5_k(const byte* in, std::size_t blocks, float* out) {
  for (; blocks-- > 0; in += 176) {
    const float d = half(in);
    const float dmin = half(in + 2);
    const byte* fifth = in + 16;
    const byte* q = in + 48;
    for (int j = 0; j < 8; ++j, out += 32) {
      const SubScales sub = sub_scales(in + 4, j);
      const float scale = d * sub.scale;
      const float minimum = dmin * sub.minimum;
      const byte* group = q + (j / 2) * 32;
      const int shift = (j % 2) * 4;
      for (int i = 0; i < 32; ++i) {
        const int value = ((whole(group[i]) >> shift) & 15) | ((whole(fifth[i]) >> j) & 1) << 4;
        out[i] = scale * static_cast<float>(value) - minimum;
      }
    }
  }
}

// Q6_K: 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed sub-scales (one for 16 elements), f16 d;
// (d * scale) * (q - 32). Each half of 128 elements: nibbles in 64 bytes (low: elements 0-63, high: 64-127), bit pairs
// in 32 bytes (pair k belongs to elements 32k .. 32k+31).
void decode_q6_k(const byte* in, std::size_t blocks, float* out) {
  for (; blocks-- > 0; in += 210) {
    const float d = half(in + 208);
    for (int h = 0; h < 2; ++h) {
      const byte* nibbles = in + 64 * h;
      const byte* pairs = in + 128 + 32 * h;
      const byte* scales = in + 192 + 8 * h;
      for (int k = 0; k < 4; ++k, out += 32) {
        const byte* group = nibbles + 32 * (k % 2);
        const int shift = 4 * (k / 2);
        const float scale[2] = {d * static_cast<float>(load<std::int8_t>(scales + 2 * k)),
                                d * static_cast<float>(load<std::int8_t>(scales + 2 * k + 1))};
        for (int i = 0; i < 32; ++i) {
          const int q = ((whole(group[i]) >> shift) & 15) | ((whole(pairs[i]) >> (2 * k)) & 3) << 4;
          out[i] = scale[i / 16] * static_cast<float>(q - 32);
        }
      }
    }
  }
}

constexpr auto kTypes = std::to_array<GgmlType>({
    {0, "F32", 1, 4, decode_f32},
    {1, "F16", 1, 2, decode_f16},
    {2, "Q4_0", 32, 18, decode_q4_0},
    {3, "Q4_1", 32, 20, decode_q4_1},
    {6, "Q5_0", 32, 22, decode_q5_0},
    {7, "Q5_1", 32, 24, decode_q5_1},
    {8, "Q8_0", 32, 34, decode_q8_0},
    {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},
    {11, "Q3_K", 256, 110},
    {12, "Q4_K", 256, 144, decode_q4_k},
    {13, "Q5_K", 256, 176, decode_q5_k},
    {14, "Q6_K", 256, 210, decode_q6_k},
    {15, "Q8_K", 256, 292},
    {16, "IQ2_XXS", 256, 66},
    {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98},
    {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},
    {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},
    {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},
    {25, "I16", 1, 2},
    {26, "I32", 1, 4},
    {27, "I64", 1, 8},
    {28, "F64", 1, 8},
    {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2, decode_bf16},
    {34, "TQ1_0", 256, 54},
    {35, "TQ2_0", 256, 66},
    {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},
    {41, "Q1_0", 128, 18},
});

}  // namespace

const GgmlType* find_ggml_type(std::uint32_t id) {
  for (const GgmlType& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

std::string decodable_ggml_types() {
  std::string names;
  for (const GgmlType& type : kTypes) {
    if (type.decode == nullptr) continue;
    if (!names.empty()) names += ", ";
    names += type.name;
  }
  return names;
}

}  // namespace octavo
