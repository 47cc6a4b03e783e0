// A plan for people and for programs: --dry-run, --dry-run --json, --explain.
#include <algorithm>
#include <map>

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
      plan.convert
          ? fmt::format(" ({} of them with their codes as they are), {} dequantized", plan.relabelled, plan.decoded)
          : "",
      plan.kept, human_bytes(plan.source_bytes), human_bytes(plan.output_bytes),
      plan.source_bytes == 0 ? 0.0
                             : 100.0 * static_cast<double>(plan.output_bytes) / static_cast<double>(plan.source_bytes));
}

void append_field(std::string& out, std::string_view key, std::string_view value) {
  out += key;
  append_json_string(out, value);
}

// "name", "dtype" and "shape", each behind `line`: a line break and the indentation.
void append_tensor(std::string& out, std::string_view line, std::string_view name, DType dtype, const Shape& shape) {
  append_field(out.append(line), "\"name\": ", name);
  append_field(out.append(",").append(line), "\"dtype\": ", dtype_name(dtype));
  out.append(",").append(line).append("\"shape\": [");
  for (std::size_t i = 0; i < shape.size(); ++i) {
    out.append(i == 0 ? "" : ",").append(line).append("  ").append(fmt::format_int(shape[i]).c_str());
  }
  if (!shape.empty()) out += line;
  out += "]";
}

// What becomes of a tensor and why, as the lines below its name.
std::string explain_one(const Plan& plan, const PlannedTensor& planned) {
  std::string out = fmt::format("  {}: {}\n", words(planned).past, planned.why);
  if (planned.output != kNoOutput && planned.action != Action::kKeep) {
    out += fmt::format("  becomes {}\n", describe_outputs(plan, planned));
  }
  return out;
}

// A 3-D tensor of experts by its own name: its slices, those together that have the same fate.
std::string explain_split(const Checkpoint& checkpoint, const Plan& plan, std::uint32_t number) {
  struct Alike {
    const CheckpointTensor* first = nullptr;
    std::size_t count = 0;
  };
  std::map<std::pair<std::string_view, std::string>, Alike> fates;  // by leaf and explain_one()
  std::size_t slices = 0;
  for (const PlannedTensor& planned : plan.tensors) {
    const CheckpointTensor& tensor = checkpoint.tensors()[planned.source];
    if (tensor.part_of != number) continue;
    Alike& alike = fates[{module_leaf(module_name(tensor.name)), explain_one(plan, planned)}];
    if (alike.count++ == 0) alike.first = &tensor;
    ++slices;
  }
  const SplitTensor& whole = checkpoint.split_tensors()[number];
  std::string out = fmt::format("{}: {} {}, {}split into {}\n", printable(whole.name), dtype_name(whole.dtype),
                                shape_string(whole.shape), whole.transposed ? "transposed, " : "", slices);
  for (const auto& [fate, alike] : fates) {
    out += fmt::format("{}: {} {}, the first of {}\n{}", printable(alike.first->name), dtype_name(alike.first->dtype),
                       shape_string(alike.first->shape), alike.count, fate.second);
  }
  return out;
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

// As print_result() prints Json, but a tensor at a time, as a tree would take some kilobytes for each, and put together
// by hand, as that takes a third of the time of a dry run.
Status write_plan_json(const Checkpoint& checkpoint, const Plan& plan, const TextSink& sink) {
  const Json root = {{"scheme", plan.spec.scheme.name},
                     {"format", format_name(plan.spec.format)},
                     {"source_bytes", plan.source_bytes},
                     {"output_bytes", plan.output_bytes},
                     {"quantized", plan.quantized},
                     {"relabelled", plan.relabelled},
                     {"kept", plan.kept},
                     {"warnings", plan.warnings}};
  BufferedText out(sink);
  out.text() = root.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
  out.text().resize(out.text().size() - 2);  // without the "\n}"
  out.text() += ",\n  \"tensors\": [";
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const PlannedTensor& planned = plan.tensors[i];
    const CheckpointTensor& tensor = checkpoint.tensors()[planned.source];
    out.text() += i == 0 ? "\n    {" : ",\n    {";
    append_tensor(out.text(), "\n      ", tensor.name, tensor.dtype, tensor.shape);
    append_field(out.text(), ",\n      \"action\": ", words(planned).action);
    append_field(out.text(), ",\n      \"why\": ", planned.why);
    out.text() += ",\n      \"outputs\": [";
    const auto add = [&](const OutputTensor& output, bool first) {
      out.text() += first ? "\n        {" : ",\n        {";
      append_tensor(out.text(), "\n          ", output.name, output.dtype, output.shape);
      append_field(out.text(), ",\n          \"shard\": ", plan.shards[output.shard].name);
      out.text() += "\n        }";
    };
    if (planned.output != kNoOutput) add(plan.outputs[planned.output], true);
    if (planned.scale) add(plan.outputs[*planned.scale], planned.output == kNoOutput);
    out.text() += planned.output != kNoOutput || planned.scale ? "\n      ]\n    }" : "]\n    }";
    OCTAVO_TRY(out.more());
  }
  out.text() += plan.tensors.empty() ? "]\n}\n" : "\n  ]\n}\n";
  return out.finish();
}

Result<std::string> explain(const Checkpoint& checkpoint, const Plan& plan, const std::string& name) {
  OCTAVO_ASSIGN(const NameMatcher matcher, NameMatcher::compile({name}, /*globs=*/true));
  std::string out;
  for (std::uint32_t i = 0; i < checkpoint.split_tensors().size(); ++i) {
    const std::string& whole = checkpoint.split_tensors()[i].name;
    OCTAVO_ASSIGN(const bool tensor_hit, matcher.matches(whole));
    OCTAVO_ASSIGN(const bool module_hit, matcher.matches(module_name(whole)));
    if (tensor_hit || module_hit) out += explain_split(checkpoint, plan, i);
  }
  for (const PlannedTensor& planned : plan.tensors) {
    const CheckpointTensor& tensor = checkpoint.tensors()[planned.source];
    OCTAVO_ASSIGN(const bool tensor_hit, matcher.matches(tensor.name));
    OCTAVO_ASSIGN(const bool module_hit, matcher.matches(module_name(tensor.name)));
    if (!tensor_hit && !module_hit) continue;
    out += fmt::format("{}: {} {} in {}\n{}", printable(tensor.name), dtype_name(tensor.dtype),
                       shape_string(tensor.shape), checkpoint.shards()[tensor.shard].name, explain_one(plan, planned));
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
    for (const SplitTensor& whole : checkpoint.split_tensors()) names.push_back(whole.name);
    return usage_error("--explain {}: no such tensor{}{}", printable(name),
                       name == "lm_head" ? " (a head that is tied to the embedding has none)" : "",
                       did_you_mean(name, names, 3));
  }
  return out;
}

}  // namespace octavo::quant
