// What verification found: violations, measurements against the source, and their text and JSON forms.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/json.h"

namespace octavo::verify {

// One thing that is wrong. `where` is a tensor, module, file or JSON pointer.
struct Violation {
  std::string where;
  std::string what;    // one sentence: what is wrong and what a loader would do
  std::string loader;  // "vllm", "sglang", "transformers" when only that loader refuses it, else ""
};

// The error of one quantized tensor against its source.
struct TensorError {
  std::string name;    // the weight
  std::string kind;    // last component of the module: "q_proj", "down_proj"
  double sqnr_db = 0;  // 10 log10(sum w^2 / sum (w - w')^2); infinity when exact
  double cosine = 0;
  double max_abs_error = 0;
  std::uint64_t elements = 0;
  std::uint64_t saturated = 0;  // elements whose |w / scale| lies beyond the format's maximum
};

struct KindSummary {
  std::string kind;
  std::size_t tensors = 0;
  std::size_t measured = 0;                      // tensors that were compared with a source
  double worst_sqnr_db = 0, median_sqnr_db = 0;  // of these; without meaning when there are none
  float min_scale = 0, max_scale = 0;
};

// Tensors whose codes follow one rule.
struct RuleSummary {
  std::string rule;  // "FP32 division by the scale"
  std::size_t tensors = 0;
};

struct LoaderSummary {
  std::string name;     // "vllm"
  std::string version;  // whose rules were checked
  std::size_t violations = 0;
};

struct Report {
  std::string description;  // "compressed-tensors e4m3, per channel, dynamic activations per token"
  std::vector<Violation> violations;
  std::vector<std::string> warnings;
  std::size_t tensors = 0, quantized = 0, kept = 0;  // scales are counted apart
  std::size_t scales = 0;
  std::uint64_t bytes = 0;          // of the verified folder's tensors
  std::uint64_t source_bytes = 0;   // of the source's; 0 without one
  std::vector<KindSummary> kinds;   // by name
  std::vector<TensorError> errors;  // with a source: every quantized tensor, worst SQNR first
  std::vector<RuleSummary> rules;   // with a source
  std::vector<LoaderSummary> loaders;
  bool against_source = false;
  std::uint64_t bytes_read = 0;  // of both folders' tensors
  double seconds = 0;

  bool ok() const { return violations.empty(); }
};

// "1 scale", "2 scales", "1 entry", "2 entries".
std::string counted(std::uint64_t count, std::string_view noun);

// The human form: what it is, the table by kind, the worst ten, the verdict.
std::string format_report(const Report& report);
Json report_json(const Report& report);

}  // namespace octavo::verify
