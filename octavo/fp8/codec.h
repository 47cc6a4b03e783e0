// The FP8 number formats: encode (round to nearest even, saturating) and decode. constexpr, no SIMD: the truth that
// every kernel is tested against. Formats: OCP 8-bit Floating Point Specification 1.0 (E4M3 without infinity, E5M2
// with) and the FNUZ variants (one more bias, no negative zero, 0x80 is the only NaN).
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <string_view>

namespace octavo::fp8 {

struct E4M3 {
  static constexpr std::string_view kName = "e4m3";
  static constexpr int kMantissaBits = 3, kBias = 7;
  static constexpr std::uint8_t kMaxCode = 0x7E;  // 448
  static constexpr bool kFnuz = false;
};
struct E5M2 {
  static constexpr std::string_view kName = "e5m2";
  static constexpr int kMantissaBits = 2, kBias = 15;
  static constexpr std::uint8_t kMaxCode = 0x7B;  // 57344; 0x7C is infinity, 0x7D..0x7F NaN
  static constexpr bool kFnuz = false;
};
struct E4M3FNUZ {
  static constexpr std::string_view kName = "e4m3fnuz";
  static constexpr int kMantissaBits = 3, kBias = 8;
  static constexpr std::uint8_t kMaxCode = 0x7F;  // 240
  static constexpr bool kFnuz = true;
};
struct E5M2FNUZ {
  static constexpr std::string_view kName = "e5m2fnuz";
  static constexpr int kMantissaBits = 2, kBias = 16;
  static constexpr std::uint8_t kMaxCode = 0x7F;  // 57344
  static constexpr bool kFnuz = true;
};

template <typename F>
struct Codec {
  static constexpr int kMantissaBits = F::kMantissaBits;
  static constexpr std::uint8_t kMaxCode = F::kMaxCode;
  static constexpr std::uint8_t kNaN = F::kFnuz ? 0x80 : 0x7F;

  static constexpr float decode(std::uint8_t code) {
    if constexpr (F::kFnuz) {
      if (code == 0x80) return std::numeric_limits<float>::quiet_NaN();
    }
    const std::uint32_t sign = std::uint32_t{code & 0x80u} << 24;
    const std::uint32_t magnitude = code & 0x7Fu;
    if (magnitude > kMaxCode) {
      // E5M2 0x7C is infinity; every other code above the maximum is NaN.
      const bool infinite = kMantissaBits == 2 && magnitude == 0x7Cu;
      return std::bit_cast<float>(sign | (infinite ? 0x7F800000u : 0x7FC00000u));
    }
    const std::uint32_t exponent = magnitude >> kMantissaBits;
    const std::uint32_t mantissa = magnitude & ((1u << kMantissaBits) - 1);
    if (exponent != 0) {
      const auto rebias = static_cast<std::uint32_t>(127 - F::kBias);
      return std::bit_cast<float>(sign | ((exponent + rebias) << 23) | (mantissa << (23 - kMantissaBits)));
    }
    const float value = static_cast<float>(mantissa) * kSmallest;  // exact: a few bits times a power of two
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
  }

  // Round to nearest, ties to even. Beyond the largest finite value, infinity included, saturates to it. NaN gives
  // kNaN (with the sign kept where the format has one). The sign of zero is kept where the format has one.
  static constexpr std::uint8_t encode(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    std::uint32_t magnitude = bits & 0x7FFFFFFFu;
    const std::uint32_t sign = bits >> 31 << 7;
    if (magnitude > 0x7F800000u) return F::kFnuz ? kNaN : static_cast<std::uint8_t>(sign | kNaN);
    std::uint32_t code = 0;
    if (magnitude >= kMaxBits) {
      code = kMaxCode;
    } else if (magnitude >= kSmallestNormalBits) {
      constexpr int kDrop = 23 - kMantissaBits;  // mantissa bits of FP32 that do not fit
      magnitude += (1u << (kDrop - 1)) - 1 + ((magnitude >> kDrop) & 1u);
      code = (magnitude - (static_cast<std::uint32_t>(127 - F::kBias) << 23)) >> kDrop;
      if (code > kMaxCode) code = kMaxCode;
    } else {
      // Subnormal: kMagic has an ulp of exactly the smallest subnormal, so FP32 addition rounds to nearest even.
      code =
          std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + kMagic) - std::bit_cast<std::uint32_t>(kMagic);
    }
    if constexpr (F::kFnuz) {
      if (code == 0) return 0;  // there is no negative zero; 0x80 would be NaN
    }
    return static_cast<std::uint8_t>(sign | code);
  }

  static constexpr bool is_nan(std::uint8_t code) { return decode(code) != decode(code); }

  static constexpr float power_of_two(int exponent) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
  }
  // Smallest subnormal: 2^(1 - bias - mantissa bits). E4M3: 2^-9, E5M2: 2^-16.
  static constexpr float kSmallest = power_of_two(1 - F::kBias - F::kMantissaBits);
  static constexpr float kSmallestNormal = power_of_two(1 - F::kBias);
  static constexpr std::uint32_t kSmallestNormalBits = static_cast<std::uint32_t>(128 - F::kBias) << 23;
  // A float whose last mantissa bit weighs kSmallest: 2^23 * kSmallest.
  static constexpr float kMagic = power_of_two(24 - F::kBias - F::kMantissaBits);
  // The largest finite value and its bits; FP32 values at or above it saturate.
  static constexpr float kMax = (2.0f - (F::kFnuz || F::kMantissaBits == 2 ? power_of_two(-F::kMantissaBits)
                                                                           : power_of_two(1 - F::kMantissaBits))) *
                                power_of_two((F::kMaxCode >> F::kMantissaBits) - F::kBias);
  static constexpr std::uint32_t kMaxBits = std::bit_cast<std::uint32_t>(kMax);
};

static_assert(Codec<E4M3>::kMax == 448.0f && Codec<E5M2>::kMax == 57344.0f);
static_assert(Codec<E4M3FNUZ>::kMax == 240.0f && Codec<E5M2FNUZ>::kMax == 57344.0f);

// The 256 decoded values.
template <typename F>
inline constexpr std::array<float, 256> kDecodeTable = [] {
  std::array<float, 256> table{};
  for (unsigned code = 0; code < 256; ++code) table[code] = Codec<F>::decode(static_cast<std::uint8_t>(code));
  return table;
}();

enum class Format : std::uint8_t { kE4M3, kE5M2, kE4M3FNUZ, kE5M2FNUZ };
inline constexpr std::array<Format, 4> kFormats = {Format::kE4M3, Format::kE5M2, Format::kE4M3FNUZ, Format::kE5M2FNUZ};

// Calls visitor.operator()<F>() with the format's type: the one place where a run-time format becomes a type.
template <typename Visitor>
constexpr decltype(auto) visit_format(Format format, Visitor&& visitor) {
  switch (format) {
    case Format::kE5M2: return visitor.template operator()<E5M2>();
    case Format::kE4M3FNUZ: return visitor.template operator()<E4M3FNUZ>();
    case Format::kE5M2FNUZ: return visitor.template operator()<E5M2FNUZ>();
    case Format::kE4M3: break;
  }
  return visitor.template operator()<E4M3>();
}

constexpr float max_value(Format f) {
  return visit_format(f, []<typename F>() { return Codec<F>::kMax; });
}
constexpr std::string_view format_name(Format f) {
  return visit_format(f, []<typename F>() { return F::kName; });
}
constexpr std::uint8_t encode(Format f, float value) {
  return visit_format(f, [value]<typename F>() { return Codec<F>::encode(value); });
}
constexpr float decode(Format f, std::uint8_t code) {
  return visit_format(f, [code]<typename F>() { return Codec<F>::decode(code); });
}
constexpr const std::array<float, 256>& decode_table(Format f) {
  return visit_format(f, []<typename F>() -> const std::array<float, 256>& { return kDecodeTable<F>; });
}

}  // namespace octavo::fp8
