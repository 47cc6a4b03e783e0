// Reading every scale in pieces, and comparing the single scales of fused weights.
#include "octavo/verify/scales.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>
#include <unordered_set>

#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/verify/codes.h"
#include "octavo/verify/structure.h"

namespace octavo::verify {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 16;  // elements read at a time

struct Scan {
  std::uint64_t count = 0;
  std::uint64_t bad = 0, first_bad = kNowhere;  // not finite or not positive
  float first_value = 0;
  std::uint64_t uneven = 0;  // no powers of two
  float smallest = std::numeric_limits<float>::infinity(), largest = 0;
};

bool is_power_of_two(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t mantissa = bits & 0x7FFFFFu;
  return (bits >> 23) != 0 ? mantissa == 0 : std::has_single_bit(mantissa);
}

Result<Scan> scan(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  Scan out;
  out.count = element_count(tensor.shape).value_or(0);
  const std::size_t width = dtype_bytes(tensor.dtype);
  std::vector<std::byte> bytes;
  std::vector<float> values;
  for (std::uint64_t at = 0; at < out.count; at += values.size()) {
    values.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, out.count - at)));
    bytes.resize(values.size() * width);
    OCTAVO_TRY(checkpoint.read(tensor, at * width, bytes));
    widen(tensor.dtype, bytes, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float value = values[i];
      if (!std::isfinite(value) || !(value > 0)) {
        if (out.bad++ == 0) {
          out.first_bad = at + i;
          out.first_value = value;
        }
        continue;
      }
      out.smallest = std::min(out.smallest, value);
      out.largest = std::max(out.largest, value);
      out.uneven += is_power_of_two(value) ? 0 : 1;
    }
  }
  return out;
}

class Scales {
 public:
  Scales(const Subject& subject, const Options& options, Report& report)
      : subject_(subject), options_(options), report_(report) {}

  Result<std::vector<ScaleRange>> check() {
    const auto& modules = subject_.modules;
    std::vector<ScaleRange> ranges(modules.size());
    std::vector<std::optional<Scan>> scans(modules.size());
    Status done = for_each_index(options_.threads, modules.size(), [&](std::size_t i, int) -> Status {
      if (!has_sound_scale(subject_, modules[i])) return {};
      OCTAVO_ASSIGN(scans[i], scan(*subject_.checkpoint, *modules[i].scale));
      advance(*modules[i].scale);
      return {};
    });
    if (!done.ok()) return std::move(done).error();
    for (std::size_t i = 0; i < modules.size(); ++i) {
      if (!scans[i]) continue;
      judge(*modules[i].scale, *scans[i], subject_.info.pow2_scales);
      ranges[i].readable = scans[i]->bad == 0;
      if (scans[i]->bad != scans[i]->count) {
        ranges[i].smallest = scans[i]->smallest;
        ranges[i].largest = scans[i]->largest;
      }
    }
    OCTAVO_TRY(check_other_scales());
    for (const FusedGroup& group : subject_.fused) {
      OCTAVO_TRY(check_equal(group));
    }
    return ranges;
  }

 private:
  void advance(const CheckpointTensor& tensor) const {
    if (options_.progress != nullptr) options_.progress->advance(tensor.bytes, tensor.name);
  }

  void violation(const std::string& where, std::string what) {
    report_.violations.push_back({printable(where), std::move(what), ""});
  }

  void judge(const CheckpointTensor& tensor, const Scan& found, bool pow2) {
    if (found.bad != 0) {
      const bool exponents = tensor.dtype == DType::kU8 || tensor.dtype == DType::kF8E8M0;
      violation(tensor.name, fmt::format("{} of {} scales are not finite positive numbers, the first is {} at [{}]{}",
                                         found.bad, found.count, found.first_value, found.first_bad,
                                         exponents ? ": the exponent 0xFF is E8M0's NaN" : ""));
    }
    if (pow2 && found.uneven != 0) {
      violation(tensor.name, fmt::format("{} of {} scales are no powers of two, which scale_fmt \"ue8m0\" promises",
                                         found.uneven, found.count));
    }
  }

  // Scales of activations and of the key/value cache.
  Status check_other_scales() {
    std::unordered_set<std::string_view> of_weights;
    for (const Module& module : subject_.modules) {
      if (module.scale != nullptr) of_weights.insert(module.scale->name);
    }
    for (const CheckpointTensor& tensor : subject_.checkpoint->tensors()) {
      const std::string_view name = tensor.name;
      if (!is_scale_tensor(*subject_.checkpoint, tensor) || of_weights.contains(name)) continue;
      if (name.ends_with(".weight_scale") || name.ends_with(".weight_scale_inv")) continue;  // structure.cc has them
      if (name.ends_with("_zero_point")) continue;                                           // loaded and ignored
      if (!is_quantizable(tensor.dtype)) {
        violation(tensor.name, fmt::format("is {}; a scale is F32, BF16 or F16", dtype_name(tensor.dtype)));
        continue;
      }
      OCTAVO_ASSIGN(const Scan found, scan(*subject_.checkpoint, tensor));
      judge(tensor, found, false);
      advance(tensor);
    }
    return {};
  }

  // The value of the one-element tensor, or nullopt when it is absent or no such tensor.
  Result<std::optional<float>> single(const CheckpointTensor* tensor) const {
    if (tensor == nullptr || !is_quantizable(tensor->dtype) || element_count(tensor->shape) != 1) {
      return std::optional<float>();
    }
    std::array<std::byte, 4> bytes{};
    const std::span<std::byte> used(bytes.data(), dtype_bytes(tensor->dtype));
    OCTAVO_TRY(subject_.checkpoint->read(*tensor, 0, used));
    float value = 0;
    widen(tensor->dtype, used, {&value, 1});
    return std::optional(value);
  }

  // Loaders give a fused parameter one scale, the largest: codes made under another are quantized a second time.
  Status check_equal(const FusedGroup& group) {
    const Module& first = subject_.modules[group.members[0]];
    for (const std::size_t i : group.members) {
      const Module& module = subject_.modules[i];
      if (!module.quantized() || !first.quantized()) return {};
      if (subject_.group_of(module).granularity != Granularity::kTensor) return {};
    }
    OCTAVO_TRY(check_equal(group, &Subject::scale_name, "loaders requantize them to the largest"));
    if (subject_.group_of(first).activation != ActivationScheme::kStaticTensor) return {};
    return check_equal(group, &Subject::input_scale_name, "loaders take the largest for all");
  }

  Status check_equal(const FusedGroup& group, std::string (Subject::*name_of)(const Module&) const,
                     std::string_view consequence) {
    std::optional<float> expected;
    std::string expected_name;
    for (const std::size_t i : group.members) {
      const std::string name = (subject_.*name_of)(subject_.modules[i]);
      OCTAVO_ASSIGN(const auto value, single(subject_.checkpoint->find(name)));
      if (!value) return {};
      if (!expected) {
        expected = value;
        expected_name = name;
      } else if (std::bit_cast<std::uint32_t>(*value) != std::bit_cast<std::uint32_t>(*expected)) {
        violation(group.name, fmt::format("its parts have different scales, {} {} and {} {}: {}",
                                          printable(expected_name), *expected, printable(name), *value, consequence));
        return {};
      }
    }
    return {};
  }

  const Subject& subject_;
  const Options& options_;
  Report& report_;
};

}  // namespace

Result<std::vector<ScaleRange>> check_scales(const Subject& subject, const Options& options, Report& report) {
  return Scales(subject, options, report).check();
}

}  // namespace octavo::verify
