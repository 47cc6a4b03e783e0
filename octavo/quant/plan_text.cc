// A plan for people and for programs: --dry-run, --dry-run --json, --explain.
#include <algorithm>

#include "octavo/base/json.h"
#include "octavo/base/name_matcher.h"
#include "octavo/base/text.h"
#include "octavo/quant/plan.h"
#include "octavo/quant/selection.h"

namespace octavo::quant {
namespace {

std::string describe_output(const OutputTensor& out) {
  return fmt::format("{} {}", dtype_name(out.dtype), shape_string(out.shape));
}

struct Words {
  std::string_view action, past;
};

Words words(const PlannedTensor& planned) {
  switch (planned.action) {
    case Action::kKeep: return {"keep", "kept"};
    case Action::kEncode: return planned.fp8 ? Words{"requantize", "requantized"} : Words{"quantize", "quantized"};
    case Action::kRelabel: return {"relabel", "relabelled"};
    case Action::kDecode: return {"dequantize", "dequantized"};
    case Action::kScale: return {"scale", "kept"};
    case Action::kDrop: return {"drop", "dropped"};
  }
  return {};
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
      "{} tensors: {} quantized{}, {} kept; {} -> {} ({:.1f} %)", plan.tensors.size(), plan.quantized,
      plan.convert ? fmt::format(" ({} of them with their codes as they are)", plan.relabelled) : "",
      plan.tensors.size() - plan.quantized, human_bytes(plan.source_bytes), human_bytes(plan.output_bytes),
      plan.source_bytes == 0 ? 0.0
                             : 100.0 * static_cast<double>(plan.output_bytes) / static_cast<double>(plan.source_bytes));
}

}  // namespace

Status write_plan_text(const Checkpoint& checkpoint, const Plan& plan, const TextSink& sink) {
  std::size_t width = 0;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) width = std::max(width, printable(tensor.name).size());
  BufferedText out(sink);
  for (const PlannedTensor& planned : plan.tensors) {
    const CheckpointTensor& tensor = checkpoint.tensors()[planned.source];
    out.text() += fmt::format("{:<{}} {:<{}}  {} {}", words(planned).action, plan.convert ? 10 : 8,
                              printable(tensor.name), width, dtype_name(tensor.dtype), shape_string(tensor.shape));
    if (planned.output != kNoOutput && planned.action != Action::kKeep)
      out.text() += " -> " + describe_outputs(plan, planned);
    out.text() += fmt::format("  ({})\n", planned.why);
    OCTAVO_TRY(out.more());
  }
  out.text() += fmt::format("\n{} as {}: {}\n", plan.spec.scheme.name, format_name(plan.spec.format), totals(plan));
  return out.finish();
}

// As print_result() prints Json, but a tensor at a time: a tree would take some kilobytes for each.
Status write_plan_json(const Checkpoint& checkpoint, const Plan& plan, const TextSink& sink) {
  Json root = {{"scheme", plan.spec.scheme.name},
               {"format", format_name(plan.spec.format)},
               {"source_bytes", plan.source_bytes},
               {"output_bytes", plan.output_bytes},
               {"quantized", plan.quantized},
               {"relabelled", plan.relabelled},
               {"kept", plan.tensors.size() - plan.quantized},
               {"warnings", plan.warnings}};
  const auto print = [](const Json& json) {
    return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  };
  BufferedText out(sink);
  out.text() = print(root);
  out.text().resize(out.text().size() - 2);  // without the "\n}"
  out.text() += ",\n  \"tensors\": [";
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& planned = plan.tensors[i];
    const CheckpointTensor& tensor = checkpoint.tensors()[planned.source];
    Json outputs = Json::array();
    const auto add = [&](const OutputTensor& output) {
      outputs.push_back({{"name", output.name},
                         {"dtype", dtype_name(output.dtype)},
                         {"shape", output.shape},
                         {"shard", plan.shards[output.shard].name}});
    };
    if (planned.output != kNoOutput) add(plan.outputs[planned.output]);
    if (planned.scale) add(plan.outputs[*planned.scale]);
    const std::string entry = print({{"name", tensor.name},
                                     {"dtype", dtype_name(tensor.dtype)},
                                     {"shape", tensor.shape},
                                     {"action", words(planned).action},
                                     {"why", planned.why},
                                     {"outputs", std::move(outputs)}});
    out.text() += i == 0 ? "\n    " : ",\n    ";
    for (const char c : entry) {
      out.text() += c;
      if (c == '\n') out.text() += "    ";
    }
    OCTAVO_TRY(out.more());
  }
  out.text() += plan.tensors.empty() ? "]\n}\n" : "\n  ]\n}\n";
  return out.finish();
}

Result<std::string> explain(const Checkpoint& checkpoint, const Plan& plan, const std::string& name) {
  OCTAVO_ASSIGN(const NameMatcher matcher, NameMatcher::compile({name}, /*globs=*/true));
  std::string out;
  for (const PlannedTensor& planned : plan.tensors) {
    const CheckpointTensor& tensor = checkpoint.tensors()[planned.source];
    OCTAVO_ASSIGN(const bool tensor_hit, matcher.matches(tensor.name));
    OCTAVO_ASSIGN(const bool module_hit, matcher.matches(module_name(tensor.name)));
    if (!tensor_hit && !module_hit) continue;
    out += fmt::format("{}: {} {} in {}\n  {}: {}\n", printable(tensor.name), dtype_name(tensor.dtype),
                       shape_string(tensor.shape), checkpoint.shards()[tensor.shard].name, words(planned).past,
                       planned.why);
    if (planned.output != kNoOutput && planned.action != Action::kKeep)
      out += fmt::format("  becomes {}\n", describe_outputs(plan, planned));
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
    std::vector<std::string> names;
    for (const CheckpointTensor& tensor : checkpoint.tensors()) names.push_back(tensor.name);
    return usage_error("--explain {}: no such tensor{}{}", printable(name),
                       name == "lm_head" ? " (a head that is tied to the embedding has none)" : "",
                       did_you_mean(name, names, 3));
  }
  return out;
}

}  // namespace octavo::quant
