// Comparing codes with the truth in octavo/fp8, at a few cycles an element.
#include "octavo/verify/codes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"

namespace octavo::verify {
namespace {

constexpr std::uint32_t kMagnitude = 0x7FFFFFFFu;
constexpr std::uint32_t kInfinity = 0x7F800000u;

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// For each magnitude code, the magnitudes (as FP32 bits, so as integers) that encode to it: low, and how many more.
// Found by bisection of the truth, which is monotone; ties to even and saturation are in it.
struct Interval {
  std::uint32_t low = 1, width = 0;  // codes that no number encodes to get an interval no magnitude is in
};

template <typename F>
std::array<Interval, 256> make_intervals() {
  using Codec = fp8::Codec<F>;
  // The smallest magnitude whose code is at least `code`.
  const auto lowest = [](unsigned code) {
    std::uint32_t low = 0, high = kInfinity;
    while (low < high) {
      const std::uint32_t middle = low + (high - low) / 2;
      if (Codec::encode(std::bit_cast<float>(middle)) >= code) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  };
  std::array<Interval, 256> table;
  for (unsigned code = 0; code <= Codec::kMaxCode; ++code) {
    const std::uint32_t low = lowest(code);
    const std::uint32_t high = code == Codec::kMaxCode ? kInfinity : lowest(code + 1) - 1;
    table[code] = table[code | 0x80u] = {low, high - low};
  }
  for (unsigned code = Codec::kMaxCode + 1; code < 128; ++code) {
    table[code] = table[code | 0x80u] = {kMagnitude, 0};  // the bits of a NaN, which no quotient here has
  }
  return table;
}

// The decoded values, with zero for NaN and infinity: such codes are counted apart and must not spoil the sums.
template <typename F>
constexpr std::array<float, 256> kFiniteValues = [] {
  std::array<float, 256> table = fp8::kDecodeTable<F>;
  for (float& value : table) value = value >= -fp8::Codec<F>::kMax && value <= fp8::Codec<F>::kMax ? value : 0.0f;
  return table;
}();

// Adds up in four lanes, so that the compiler may use vectors without changing the order of additions.
struct Lanes {
  std::array<double, 4> sum{};
  double total() const { return (sum[0] + sum[1]) + (sum[2] + sum[3]); }
};

constexpr std::size_t kRun = 512;  // elements that stay in the first cache between the steps

template <typename F>
void measure_run(const std::uint8_t* codes, const float* weights, const float* inputs, std::size_t n, float scale,
                 Measure& out) {
  static const std::array<Interval, 256> kIntervals = make_intervals<F>();
  static constexpr const std::array<float, 256>& kDecoded = kFiniteValues<F>;
  std::array<float, kRun> quotients, decoded;
  for (std::size_t i = 0; i < n; ++i) quotients[i] = inputs[i] / scale;

  std::uint64_t wrong = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint8_t code = codes[i];
    const auto bits = std::bit_cast<std::uint32_t>(quotients[i]);
    const Interval& interval = kIntervals[code];
    wrong += ((bits & kMagnitude) - interval.low > interval.width) | ((bits >> 31) ^ (std::uint32_t{code} >> 7));
    decoded[i] = kDecoded[code] * scale;
  }

  std::uint32_t largest = 0;
  std::uint32_t saturated = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(quotients[i]) & kMagnitude;
    largest = std::max(largest, magnitude);
    saturated += magnitude > fp8::Codec<F>::kMaxBits ? 1 : 0;
  }

  Lanes squares, errors, decoded_squares;
  float max_error = 0;
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (std::size_t lane = 0; lane < 4; ++lane) {
      const double w = weights[i + lane], q = decoded[i + lane], d = w - q;
      squares.sum[lane] += w * w;
      errors.sum[lane] += d * d;
      decoded_squares.sum[lane] += q * q;
    }
  }
  for (; i < n; ++i) {
    const double w = weights[i], q = decoded[i], d = w - q;
    squares.sum[0] += w * w;
    errors.sum[0] += d * d;
    decoded_squares.sum[0] += q * q;
  }
  for (i = 0; i < n; ++i) {
    const float error = std::abs(weights[i] - decoded[i]);
    max_error = error > max_error ? error : max_error;
  }
  out.weights += squares.total();
  out.errors += errors.total();
  out.decoded += decoded_squares.total();
  out.max_error = std::max(out.max_error, max_error);
  out.max_ratio = std::max(out.max_ratio, std::bit_cast<float>(largest));
  out.elements += n;
  out.saturated += saturated;
  out.wrong += wrong;
}

// The largest magnitude; an infinity or NaN is above all numbers.
std::uint32_t largest_magnitude(const float* values, std::size_t n) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, std::bit_cast<std::uint32_t>(values[i]) & kMagnitude);
  return largest;
}

void add_amax(float inputs, float weights, Measure& out) {
  out.amax = std::max(out.amax, inputs);
  out.amax_direct = std::max(out.amax_direct, weights);
}

// A NaN or an infinity of the source has no code of its own: any is taken, and none is in a sum.
template <typename F>
void measure_each(const std::uint8_t* codes, const float* weights, const float* inputs, std::size_t n, float scale,
                  Measure& out) {
  for (std::size_t i = 0; i < n; ++i) {
    if (std::isfinite(inputs[i])) {
      measure_run<F>(codes + i, weights + i, inputs + i, 1, scale, out);
      add_amax(std::abs(inputs[i]), std::abs(weights[i]), out);
    } else {
      ++out.nonfinite;
      ++out.elements;
    }
  }
}

float round_to(DType dtype, float value) {
  switch (dtype) {
    case DType::kBF16: return fp8::bf16_to_float(fp8::float_to_bf16(value));
    case DType::kF16: return fp8::f16_to_float(fp8::float_to_f16(value));
    default: return value;
  }
}

// The quotient that the rule encodes.
float quotient(Rule rule, DType source, float input, float direct, float scale) {
  switch (rule) {
    case Rule::kDivide: return input / scale;
    case Rule::kDivideRounded: return round_to(source == DType::kF16 ? DType::kF16 : DType::kBF16, input / scale);
    case Rule::kReciprocal: return input * (1.0f / scale);
    case Rule::kDivideDirect: return direct / scale;
    case Rule::kReciprocalDirect: return direct * (1.0f / scale);
  }
  return input;
}

}  // namespace

std::string_view rule_name(Rule rule) {
  static constexpr std::array<std::string_view, kRules> kNames = {
      "FP32 division by the scale", "division by the scale, rounded to the model's dtype",
      "FP32 multiplication by the scale's reciprocal", "FP32 division by the scale, weights not rounded to BF16",
      "FP32 multiplication by the scale's reciprocal, weights not rounded to BF16"};
  return kNames[static_cast<std::size_t>(rule)];
}

void widen(DType dtype, std::span<const std::byte> bytes, std::span<float> out) {
  const std::byte* at = bytes.data();
  switch (dtype) {
    case DType::kF32:
      if (!out.empty()) std::memcpy(out.data(), at, 4 * out.size());
      return;
    case DType::kBF16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = fp8::bf16_to_float(load<std::uint16_t>(at + 2 * i));
      return;
    case DType::kF16:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = fp8::f16_to_float(load<std::uint16_t>(at + 2 * i));
      return;
    default:
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = fp8::e8m0_decode(load<std::uint8_t>(at + i));
  }
}

void round_to_bf16(std::span<float> values) {
  for (float& value : values) value = fp8::bf16_to_float(fp8::float_to_bf16(value));
}

void Measure::merge(const Measure& other) {
  weights += other.weights;
  errors += other.errors;
  decoded += other.decoded;
  max_error = std::max(max_error, other.max_error);
  max_ratio = std::max(max_ratio, other.max_ratio);
  amax = std::max(amax, other.amax);
  amax_direct = std::max(amax_direct, other.amax_direct);
  elements += other.elements;
  saturated += other.saturated;
  nonfinite += other.nonfinite;
  wrong += other.wrong;
}

void measure_codes(fp8::Format format, std::span<const std::uint8_t> codes, std::span<const float> weights,
                   std::span<const float> inputs, float scale, Measure& out) {
  fp8::visit_format(format, [&]<typename F>() {
    for (std::size_t i = 0; i < codes.size(); i += kRun) {
      const std::size_t n = std::min(kRun, codes.size() - i);
      const std::uint32_t amax = largest_magnitude(inputs.data() + i, n);
      const bool same = inputs.data() == weights.data();
      const std::uint32_t direct = same ? amax : largest_magnitude(weights.data() + i, n);
      if (amax < kInfinity) {
        measure_run<F>(codes.data() + i, weights.data() + i, inputs.data() + i, n, scale, out);
        add_amax(std::bit_cast<float>(amax), std::bit_cast<float>(direct), out);
      } else {
        measure_each<F>(codes.data() + i, weights.data() + i, inputs.data() + i, n, scale, out);
      }
    }
  });
}

void RuleCounts::merge(const RuleCounts& other) {
  for (std::size_t r = 0; r < kRules; ++r) {
    wrong[r] += other.wrong[r];
    first[r] = std::min(first[r], other.first[r]);
  }
}

void count_rules(fp8::Format format, DType source, std::span<const std::uint8_t> codes, std::span<const float> inputs,
                 std::span<const float> direct, float scale, std::uint64_t base, RuleCounts& out) {
  fp8::visit_format(format, [&]<typename F>() {
    for (std::size_t i = 0; i < codes.size(); ++i) {
      if (!std::isfinite(direct[i])) continue;
      for (std::size_t r = 0; r < kRules; ++r) {
        const float q = quotient(static_cast<Rule>(r), source, inputs[i], direct[i], scale);
        if (fp8::Codec<F>::encode(q) == codes[i]) continue;
        if (q == 0 && codes[i] == 0) continue;  // llm-compressor's oneshot adds a zero point of 0: -0 becomes +0
        ++out.wrong[r];
        out.first[r] = std::min(out.first[r], base + i);
      }
    }
  });
}

std::uint8_t expected_code(fp8::Format format, Rule rule, DType source, float input, float direct, float scale) {
  return fp8::encode(format, quotient(rule, source, input, direct, scale));
}

std::uint64_t count_nonfinite_codes(fp8::Format format, std::span<const std::uint8_t> codes, std::uint64_t& first) {
  std::array<bool, 256> bad{};
  for (unsigned code = 0; code < 256; ++code) {
    bad[code] = !std::isfinite(fp8::decode(format, static_cast<std::uint8_t>(code)));
  }
  std::uint64_t count = 0;
  for (const std::uint8_t code : codes) count += bad[code] ? 1 : 0;
  first = kNowhere;
  if (count != 0) {
    const auto it = std::find_if(codes.begin(), codes.end(), [&](std::uint8_t code) { return bad[code]; });
    first = static_cast<std::uint64_t>(it - codes.begin());
  }
  return count;
}

}  // namespace octavo::verify
