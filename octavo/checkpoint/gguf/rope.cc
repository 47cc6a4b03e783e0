// Rope scaling: metadata keys, or factors recognised as the llama3 rule.
#include "octavo/checkpoint/gguf/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "octavo/base/text.h"

namespace octavo {
namespace {

// The llama3 rule's constants in every Llama 3.1, 3.2 and 3.3; only the ratios to the original context matter.
constexpr double kLowFreqFactor = 1.0;
constexpr double kHighFreqFactor = 4.0;
constexpr std::uint64_t kMaxFactors = 4096;  // head_dim / 2
constexpr double kTolerance = 1e-4;          // relative; the factors are FP32 results of a handful of operations

Json plain(double value) { return shortest_float(static_cast<float>(value)); }

Result<std::vector<float>> read_factors(const GgufTensor& tensor, const ByteSource& source, const GgufModel& model) {
  if (tensor.type->name != "F32" || tensor.elements != model.head_dim / 2 || tensor.elements > kMaxFactors) {
    return failure("{}: tensor 'rope_freqs.weight' is {} {}, {} F32 factors are wanted", source.describe(),
                   tensor.type->name, shape_string(tensor.shape), model.head_dim / 2);
  }
  std::vector<float> factors(tensor.elements);
  OCTAVO_TRY(source.read_at(tensor.offset, std::as_writable_bytes(std::span(factors))));
  return factors;
}

Result<Json> scaling_from_factors(const std::vector<float>& factors, const GgufModel& model,
                                  std::optional<std::uint64_t> original, std::string_view origin) {
  if (std::all_of(factors.begin(), factors.end(), [](float f) { return f == 1.0f; })) return Json();
  // The lowest frequency has the full factor, unless the head is too short to reach it.
  const double factor = static_cast<double>(*std::max_element(factors.begin(), factors.end()));
  std::vector<std::uint64_t> contexts;
  if (original) contexts.push_back(*original);
  contexts.push_back(8192);  // Llama 3's
  for (std::uint64_t context = 1024; context <= 1u << 20; context *= 2) contexts.push_back(context);
  for (const std::uint64_t context : contexts) {
    const std::vector<double> expected = llama3_factors(model.head_dim, model.rope_theta.get<double>(), factor,
                                                        kLowFreqFactor, kHighFreqFactor, static_cast<double>(context));
    const bool same = std::equal(factors.begin(), factors.end(), expected.begin(), [](float stored, double computed) {
      return std::abs(static_cast<double>(stored) - computed) <= kTolerance * computed;
    });
    if (!same) continue;
    return Json{{"factor", plain(factor)},
                {"low_freq_factor", kLowFreqFactor},
                {"high_freq_factor", kHighFreqFactor},
                {"original_max_position_embeddings", context},
                {"rope_type", "llama3"}};
  }
  return failure(
      "{}: the factors in rope_freqs.weight do not follow the llama3 rule, so config.json cannot express "
      "them",
      origin);
}

// A positive number, nullopt when absent.
Result<std::optional<double>> positive(const GgufFile& file, const std::string& key) {
  OCTAVO_ASSIGN(const auto value, file.real(key));
  if (value && !(std::isfinite(*value) && *value > 0.0)) {
    return failure("{}: metadata key '{}' is {}, a positive number is wanted", file.origin, key, *value);
  }
  return value;
}

Result<Json> yarn(const GgufFile& file, const GgufModel& model, double factor, std::optional<std::uint64_t> original) {
  const std::string prefix = fmt::format("{}.rope.scaling.", model.architecture);
  Json scaling = {{"rope_type", "yarn"}, {"factor", plain(factor)}};
  if (original) scaling["original_max_position_embeddings"] = *original;
  OCTAVO_ASSIGN(const auto attention, positive(file, prefix + "attn_factor"));
  if (attention && *attention != 1.0) {
    // llama.cpp multiplies YaRN's own 0.1 ln(factor) + 1 by it; attention_factor replaces the product.
    scaling["attention_factor"] = plain(*attention * (0.1 * std::log(factor) + 1.0));
  }
  OCTAVO_ASSIGN(const auto fast, positive(file, prefix + "yarn_beta_fast"));
  if (fast) scaling["beta_fast"] = plain(*fast);
  OCTAVO_ASSIGN(const auto slow, positive(file, prefix + "yarn_beta_slow"));
  if (slow) scaling["beta_slow"] = plain(*slow);
  return scaling;
}

}  // namespace

std::vector<double> llama3_factors(std::uint64_t head_dim, double theta, double factor, double low_freq_factor,
                                   double high_freq_factor, double original_context) {
  std::vector<double> factors(head_dim / 2);
  const double low_wavelength = original_context / low_freq_factor;
  const double high_wavelength = original_context / high_freq_factor;
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    const double wavelength = 2.0 * std::numbers::pi / frequency;
    if (wavelength < high_wavelength) {
      factors[i] = 1.0;
    } else if (wavelength > low_wavelength) {
      factors[i] = factor;
    } else {
      const double smooth = (original_context / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
      factors[i] = 1.0 / ((1.0 - smooth) / factor + smooth);
    }
  }
  return factors;
}

Result<Json> read_rope_scaling(const GgufFile& file, const ByteSource& source, const GgufModel& model,
                               std::vector<std::string>& notes) {
  const std::string prefix = fmt::format("{}.rope.", model.architecture);
  OCTAVO_ASSIGN(const auto type, file.string(prefix + "scaling.type"));
  OCTAVO_ASSIGN(const auto stated, positive(file, prefix + "scaling.factor"));
  OCTAVO_ASSIGN(const auto old_linear, positive(file, prefix + "scale_linear"));  // before scaling.type existed
  OCTAVO_ASSIGN(const auto original, file.natural(prefix + "scaling.original_context_length"));
  const std::string kind = type.value_or(old_linear ? "linear" : "none");
  const double factor = stated.value_or(old_linear.value_or(1.0));

  if (const GgufTensor* tensor = file.find_tensor("rope_freqs.weight"); tensor != nullptr) {
    OCTAVO_ASSIGN(const std::vector<float> factors, read_factors(*tensor, source, model));
    OCTAVO_ASSIGN(Json scaling, scaling_from_factors(factors, model, original, file.origin));
    if (!scaling.is_null()) {
      if (kind != "none" && kind != "llama3") {
        return failure(
            "{}: has both {} rope scaling and factors in rope_freqs.weight, which config.json cannot express",
            file.origin, printable(kind));
      }
      notes.push_back(
          fmt::format("rope_freqs.weight holds llama3 scaling by {} from a context of {}: written to "
                      "config.json as rope_scaling",
                      scaling["factor"].dump(), scaling["original_max_position_embeddings"].dump()));
      return scaling;
    }
  }
  if (kind == "none" || (kind == "linear" && factor == 1.0)) return Json();
  if (kind == "linear") return Json{{"rope_type", "linear"}, {"factor", plain(factor)}};
  if (kind == "yarn") return yarn(file, model, factor, original);
  return failure("{}: rope scaling '{}' is not supported; Octavo imports linear, yarn and llama3", file.origin,
                 printable(kind));
}

}  // namespace octavo
