// A plan for people and for programs: --dry-run, --dry-run --json, --explain.
#include <algorithm>

#include "octavo/base/name_matcher.h"
#include "octavo/base/text.h"
#include "octavo/quant/plan.h"
#include "octavo/quant/selection.h"

namespace octavo::quant {
namespace {

std::string describe_output(const OutputTensor& out) {
  return fmt::format("{} {}", dtype_name(out.dtype), shape_string(out.shape));
}

// "F8_E4M3 [576, 576] + weight_scale BF16 [576, 1]"
std::string describe_outputs(const Plan& plan, const PlannedTensor& planned) {
  std::string text = describe_output(plan.outputs[planned.output]);
  if (planned.scale) {
    const OutputTensor& scale = plan.outputs[*planned.scale];
    text += fmt::format(" + {} {}", module_leaf(scale.name), describe_output(scale));
  }
  return text;
}

std::string totals(const Plan& plan) {
  return fmt::format(
      "{} tensors: {} quantized, {} kept; {} -> {} ({:.1f} %)", plan.tensors.size(), plan.quantized,
      plan.tensors.size() - plan.quantized, human_bytes(plan.source_bytes), human_bytes(plan.output_bytes),
      plan.source_bytes == 0 ? 0.0
                             : 100.0 * static_cast<double>(plan.output_bytes) / static_cast<double>(plan.source_bytes));
}

}  // namespace

std::string format_plan(const Checkpoint& checkpoint, const Plan& plan) {
  std::size_t width = 0;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) width = std::max(width, printable(tensor.name).size());
  std::string out;
  for (const PlannedTensor& planned : plan.tensors) {
    const CheckpointTensor& tensor = checkpoint.tensors()[planned.source];
    out += fmt::format("{:<8} {:<{}}  {} {}", planned.quantize ? "quantize" : "keep", printable(tensor.name), width,
                       dtype_name(tensor.dtype), shape_string(tensor.shape));
    if (planned.quantize) out += " -> " + describe_outputs(plan, planned);
    out += fmt::format("  ({})\n", planned.why);
  }
  out += fmt::format("\n{} as {}: {}\n", plan.spec.scheme.name, format_name(plan.spec.format), totals(plan));
  return out;
}

Json plan_json(const Checkpoint& checkpoint, const Plan& plan) {
  Json tensors = Json::array();
  for (const PlannedTensor& planned : plan.tensors) {
    const CheckpointTensor& tensor = checkpoint.tensors()[planned.source];
    Json outputs = Json::array();
    const auto add = [&](const OutputTensor& out) {
      outputs.push_back({{"name", out.name},
                         {"dtype", dtype_name(out.dtype)},
                         {"shape", out.shape},
                         {"shard", plan.shards[out.shard].name}});
    };
    add(plan.outputs[planned.output]);
    if (planned.scale) add(plan.outputs[*planned.scale]);
    tensors.push_back({{"name", tensor.name},
                       {"dtype", dtype_name(tensor.dtype)},
                       {"shape", tensor.shape},
                       {"action", planned.quantize ? "quantize" : "keep"},
                       {"why", planned.why},
                       {"outputs", std::move(outputs)}});
  }
  return {{"scheme", plan.spec.scheme.name},   {"format", format_name(plan.spec.format)},
          {"source_bytes", plan.source_bytes}, {"output_bytes", plan.output_bytes},
          {"quantized", plan.quantized},       {"kept", plan.tensors.size() - plan.quantized},
          {"warnings", plan.warnings},         {"tensors", std::move(tensors)}};
}

Result<std::string> explain(const Checkpoint& checkpoint, const Plan& plan, const std::string& name) {
  OCTAVO_ASSIGN(const NameMatcher matcher, NameMatcher::compile({name}, /*globs=*/true));
  std::string out;
  std::vector<std::string> names;
  for (const PlannedTensor& planned : plan.tensors) {
    const CheckpointTensor& tensor = checkpoint.tensors()[planned.source];
    OCTAVO_ASSIGN(const bool tensor_hit, matcher.matches(tensor.name));
    OCTAVO_ASSIGN(const bool module_hit, matcher.matches(module_name(tensor.name)));
    names.emplace_back(tensor.name);
    if (!tensor_hit && !module_hit) continue;
    out += fmt::format("{}: {} {} in {}\n  {}: {}\n", printable(tensor.name), dtype_name(tensor.dtype),
                       shape_string(tensor.shape), checkpoint.shards()[tensor.shard].name,
                       planned.quantize ? "quantized" : "kept", planned.why);
    if (planned.quantize) out += fmt::format("  becomes {}\n", describe_outputs(plan, planned));
    if (planned.shared) {
      std::string sharers;
      for (const PlannedTensor& other : plan.tensors) {
        if (other.shared != planned.shared || other.source == planned.source) continue;
        sharers += fmt::format(" {}", printable(checkpoint.tensors()[other.source].name));
      }
      if (!sharers.empty()) out += fmt::format("  shares its scale with{}\n", sharers);
    }
  }
  if (out.empty()) {
    return usage_error("--explain {}: no such tensor{}{}", printable(name),
                       name == "lm_head" ? " (a head that is tied to the embedding has none)" : "",
                       did_you_mean(name, names, 3));
  }
  return out;
}

}  // namespace octavo::quant
