// Codes against the values they stand for: is each the nearest of w / scale, how large is the error. The inner loops
// of verification; pure functions of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "octavo/base/dtype.h"
#include "octavo/fp8/codec.h"

namespace octavo::verify {

inline constexpr std::uint64_t kNowhere = std::numeric_limits<std::uint64_t>::max();

// How a producer gets from a weight to a code; a checkpoint's tensor follows one of them throughout.
enum class Rule : std::uint8_t {
  kDivide,            // encode(w / s) in FP32: Octavo, llm-compressor on GPUs
  kDivideRounded,     // the quotient is rounded to the model's dtype first: llm-compressor on CPUs
  kReciprocal,        // encode(w * (1 / s)) in FP32: DeepSeek's and vLLM's kernels
  kDivideDirect,      // as kDivide, but F32 weights are not rounded to BF16 first
  kReciprocalDirect,  // as kReciprocal, likewise
};
inline constexpr std::size_t kRules = 5;
std::string_view rule_name(Rule rule);  // "FP32 division by the scale"

// Weights of dtype F32, BF16 or F16, or scales of these or E8M0 (also in U8), as floats. `bytes` holds out.size()
// elements.
void widen(DType dtype, std::span<const std::byte> bytes, std::span<float> out);
// In place: what rules take for the weights of an F32 source, unless they are direct.
void round_to_bf16(std::span<float> values);

// Sums over elements of one tensor. merge() is exact in all but the last bits of the double sums.
struct Measure {
  double weights = 0;  // sum of w^2
  double errors = 0;   // sum of (w - w')^2
  double decoded = 0;  // sum of w'^2
  float max_error = 0;
  float max_ratio = 0;    // largest |w / scale|
  float amax = 0;         // largest |w| that the rule starts from
  float amax_direct = 0;  // largest |w| of the source
  std::uint64_t elements = 0;
  std::uint64_t saturated = 0;  // |w / scale| beyond the format's maximum
  std::uint64_t nonfinite = 0;  // NaN or infinity in the source; not in any sum
  std::uint64_t wrong = 0;      // codes that kDivide does not give

  void merge(const Measure& other);
};

// The rest of the functions take one run of elements under one scale (finite, positive). Sizes are equal.

// Adds the run to `out`. `weights` are the source's values; `inputs` what the rule starts from, the same unless the
// source is F32.
void measure_codes(fp8::Format format, std::span<const std::uint8_t> codes, std::span<const float> weights,
                   std::span<const float> inputs, float scale, Measure& out);

// Of each rule, the codes that differ from it and the first such element's index plus `base`.
struct RuleCounts {
  std::uint64_t wrong[kRules] = {};
  std::uint64_t first[kRules] = {kNowhere, kNowhere, kNowhere, kNowhere, kNowhere};

  void merge(const RuleCounts& other);
};
// `source` is the dtype that kDivideRounded rounds to. `direct` are the source's values, `inputs` as above.
void count_rules(fp8::Format format, DType source, std::span<const std::uint8_t> codes, std::span<const float> inputs,
                 std::span<const float> direct, float scale, std::uint64_t base, RuleCounts& out);
// What `rule` makes of one element.
std::uint8_t expected_code(fp8::Format format, Rule rule, DType source, float input, float direct, float scale);

// Counts the codes that are NaN or infinity; `first` is the index of the first one, kNowhere without any.
std::uint64_t count_nonfinite_codes(fp8::Format format, std::span<const std::uint8_t> codes, std::uint64_t& first);

}  // namespace octavo::verify
