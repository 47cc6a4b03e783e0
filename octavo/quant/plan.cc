// From headers, config and spec to the plan.
#include "octavo/quant/plan.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "octavo/base/ceil_div.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/model_config.h"
#include "octavo/quant/output_config.h"
#include "octavo/quant/plan_layout.h"
#include "octavo/quant/plan_warnings.h"
#include "octavo/quant/relabel.h"
#include "octavo/quant/selection.h"
#include "octavo/quant/weight_encoding.h"

namespace octavo::quant {
namespace {

// Name and shape of the scale: docs/formats.md, "Which name and shape".
std::string_view scale_suffix(const QuantSpec& spec, Granularity granularity) {
  const bool inverse = spec.format == OutputFormat::kFp8 ? granularity == Granularity::kBlock
                                                         : spec.scale_name == ScaleName::kWeightScaleInv;
  return inverse ? "_scale_inv" : "_scale";
}

// "model.layers.0.self_attn.k_scale" as the output's dialect names it: modelopt hangs it on the projection.
std::string cache_scale_name(std::string_view name, OutputFormat format) {
  for (const char* kind : {"k", "v"}) {
    const std::string plain = fmt::format(".{}_scale", kind), projected = fmt::format(".{0}_proj.{0}_scale", kind);
    // HYV3 and AngelSlim; the compressed-tensors of old.
    const std::string cache = fmt::format(".{}_cache.scale", kind), old = fmt::format(".{}_proj.output_scale", kind);
    for (const std::string& from : {projected, cache, old, plain}) {
      if (!name.ends_with(from)) continue;
      const std::string& to = format == OutputFormat::kModelOpt ? projected : plain;
      return fmt::format("{}{}", name.substr(0, name.size() - from.size()), to);
    }
  }
  return std::string(name);
}

class Planner {
 public:
  Planner(const Checkpoint& checkpoint, const QuantSpec& spec) : checkpoint_(checkpoint) { plan_.spec = spec; }

  Result<Plan> quantize() {
    OCTAVO_TRY(check_spec(plan_.spec));
    OCTAVO_TRY(check_config());
    OCTAVO_TRY(check_not_quantized());
    if (plan_.spec.scheme.activation == Activation::kStaticTensor) {
      return usage_error(
          "--scheme static needs scales of activations, which calibration finds and Octavo does not do yet; "
          "`octavo convert` keeps those that a model has, --scheme tensor or dynamic needs none");
    }
    return run();
  }

  Result<Plan> convert() {
    OCTAVO_TRY(check_spec(plan_.spec));
    OCTAVO_TRY(check_config());
    OCTAVO_TRY(find_fp8_weights());
    return run();
  }

 private:
  Result<Plan> run() {
    const std::string origin = checkpoint_.config_path().string();
    OCTAVO_ASSIGN(config_, parse_model_config(checkpoint_.config(), origin));
    OCTAVO_ASSIGN(selection_, select_tensors(checkpoint_, config_, plan_.spec, plan_.convert));
    plan_.warnings = selection_.warnings;
    strings_ = selection_.reasons;
    if (plan_.spec.edge == Edge::kChannel) find_edge_modules();
    plan_.tensors.reserve(checkpoint_.tensors().size());
    plan_.outputs.reserve(checkpoint_.tensors().size() + quantized_tensors());
    for (std::uint32_t i = 0; i < checkpoint_.tensors().size(); ++i) OCTAVO_TRY(plan_tensor(i));
    if (plan_.convert && plan_.quantized == 0) {
      return failure("{}: nothing is left in FP8; `octavo dequantize` makes a BF16 model", checkpoint_.dir().string());
    }
    OCTAVO_TRY(lay_out_shards());
    modules_.fp8_cache = !info_.kv_cache.empty();
    plan_.config_text =
        set_top_level_key(checkpoint_.config_text(), "quantization_config", quantization_config(plan_.spec, modules_));
    if (const Json legacy = hf_quant_config(plan_.spec, modules_); !legacy.is_null()) {
      plan_.texts.push_back({"hf_quant_config.json", legacy.dump(2) + "\n"});
    }
    plan_.source_bytes = checkpoint_.data_bytes();
    for (const PlannedTensor& planned : plan_.tensors) {
      plan_.kept += planned.action == Action::kKeep || planned.action == Action::kScale ? 1 : 0;
      plan_.decoded += planned.action == Action::kDecode ? 1 : 0;
      plan_.dropped += planned.action == Action::kDrop ? 1 : 0;
    }
    add_warnings(checkpoint_, config_, selection_, joined_, plan_);
    plan_.strings = std::move(strings_);
    return std::move(plan_);
  }

  Status check_config() const {
    if (checkpoint_.has_config()) return {};
    return failure("{}: no config.json; a Hugging Face model folder has one", checkpoint_.dir().string());
  }

  Status check_not_quantized() const {
    const auto it = checkpoint_.config().find("quantization_config");
    if (it != checkpoint_.config().end() && !it->is_null()) {
      const auto method = it->is_object() ? it->find("quant_method") : it->end();
      const bool named = it->is_object() && method != it->end() && method->is_string();
      return failure("{}: already quantized{}; `octavo convert` takes FP8 models to another scheme or format",
                     checkpoint_.dir().string(),
                     named ? fmt::format(" ({})", printable(method->get<std::string>())) : "");
    }
    return {};
  }

  Status find_fp8_weights() {
    plan_.convert = true;
    OCTAVO_ASSIGN(auto info, read_quantization(checkpoint_));
    if (!info) {
      return failure("{}: not quantized; `octavo quantize` takes it to FP8", checkpoint_.dir().string());
    }
    info_ = std::move(*info);
    plan_.source_format = info_.describe();
    OCTAVO_ASSIGN(plan_.fp8_weights, find_quantized_weights(checkpoint_, info_));
    for (std::uint32_t i = 0; i < plan_.fp8_weights.size(); ++i) {
      const QuantizedWeight& weight = plan_.fp8_weights[i];
      if (weight.scale == nullptr) {
        return failure("tensor \"{}\": is FP8 and has no scale", printable(weight.weight->name));
      }
      if (weight.weight->shape.size() != 2 || !weight.weight->name.ends_with(".weight")) {
        const std::string_view why = checkpoint_.why_joined(weight.weight->name);
        return failure("tensor \"{}\" {}: such experts cannot be converted{}{}; `octavo dequantize` reads them",
                       printable(weight.weight->name), shape_string(weight.weight->shape), why.empty() ? "" : ": ",
                       why);
      }
      fp8_.emplace(weight.weight, i);
      scales_.insert(weight.scale);
      if (weight.input_scale != nullptr) input_scales_.emplace(weight.input_scale, i);
      const bool needs = plan_.spec.scheme.activation == Activation::kStaticTensor;
      if (needs && weight.input_scale == nullptr) {
        return failure(
            "tensor \"{}\": has no scale of its activations, which --scheme static needs: only calibration "
            "finds it, and Octavo does not do that yet",
            printable(weight.weight->name));
      }
    }
    return {};
  }

  WeightEncoding encoding_of(const CheckpointTensor& tensor, Granularity granularity) const {
    return weight_encoding(plan_.spec, tensor.dtype, tensor.shape, granularity);
  }

  // --edge channel: a module that the block does not divide, and all that engines fuse with it.
  void find_edge_modules() {
    std::unordered_set<std::string> fused;
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t i = 0; i < checkpoint_.tensors().size(); ++i) {
        const CheckpointTensor& tensor = checkpoint_.tensors()[i];
        const Decision& decision = selection_.decisions[i];
        if (!decision.quantize || decision.head) continue;
        const std::string module(module_name(tensor.name));
        // Engines hold all experts of a layer in one parameter, so they share a scheme too.
        const auto experts = experts_block(module);
        const auto key = experts ? std::optional<std::string>(*experts) : fused_key(module);
        if (!divides(encoding_of(tensor, Granularity::kBlock), tensor.shape)) {
          edge_.insert(module);
          if (key) fused.insert(*key);
        } else if (pass == 1 && key && fused.contains(*key)) {
          edge_.insert(module);
        }
      }
    }
  }

  Status plan_tensor(std::uint32_t index) {
    const CheckpointTensor& tensor = checkpoint_.tensors()[index];
    const Decision& decision = selection_.decisions[index];
    PlannedTensor planned;
    planned.source = index;
    planned.why = decision.why;
    if (const auto it = fp8_.find(&tensor); it != fp8_.end()) planned.fp8 = it->second;
    if (plan_.convert && plan_scale(tensor, planned)) return {};
    plan_.read_bytes += tensor.bytes;
    const bool headless = decision.head && plan_.spec.format != OutputFormat::kCompressedTensors;
    if (decision.quantize && !headless) return plan_weight(tensor, decision, planned);
    planned.action = planned.fp8 ? Action::kDecode : Action::kKeep;
    if (planned.fp8 && decision.quantize) {
      planned.why =
          strings_->intern(fmt::format("no loader takes an FP8 head in the {} format", format_name(plan_.spec.format)));
    }
    const DType dtype = planned.fp8 ? DType::kBF16 : tensor.dtype;
    const std::string_view name =
        strings_->add(plan_.convert ? cache_scale_name(tensor.name, plan_.spec.format) : tensor.name);
    add_output(name, dtype, tensor, tensor.shape, planned.output);
    if (decision.linear) modules_.kept.push_back(module_name(tensor.name));
    note_fused_experts(tensor);
    plan_.tensors.push_back(planned);
    return {};
  }

  // A scale of an FP8 source. False: the tensor is none.
  bool plan_scale(const CheckpointTensor& tensor, PlannedTensor& planned) {
    const auto input = input_scales_.find(&tensor);
    if (input == input_scales_.end() && !scales_.contains(&tensor)) return false;
    planned.action = Action::kDrop;
    planned.why = strings_->intern("scale");
    const bool wanted = input != input_scales_.end() && plan_.spec.scheme.activation == Activation::kStaticTensor;
    if (wanted && still_quantized(*plan_.fp8_weights[input->second].weight)) {
      planned.action = Action::kScale;
      planned.why = strings_->intern("scale of activations");
      plan_.read_bytes += tensor.bytes;
      const bool compressed = plan_.spec.format == OutputFormat::kCompressedTensors;
      const DType dtype = compressed && tensor.dtype == DType::kBF16 ? DType::kBF16 : DType::kF32;
      add_output(strings_->add(plan_.fp8_weights[input->second].module, ".input_scale"), dtype, tensor,
                 scalar_shape(plan_.spec.format), planned.output);
    }
    plan_.tensors.push_back(planned);
    return true;
  }

  bool still_quantized(const CheckpointTensor& weight) const {
    const Decision& d = selection_.decisions[static_cast<std::size_t>(&weight - checkpoint_.tensors().data())];
    return d.quantize && !(d.head && plan_.spec.format != OutputFormat::kCompressedTensors);
  }

  void add_output(std::string_view name, DType dtype, const CheckpointTensor& tensor, Shape shape,
                  std::uint32_t& number) {
    number = static_cast<std::uint32_t>(plan_.outputs.size());
    const auto planned = static_cast<std::uint32_t>(plan_.tensors.size());
    plan_.outputs.push_back({name, dtype, tensor.shard, planned, std::move(shape), 0, 0});
  }

  Status plan_weight(const CheckpointTensor& tensor, const Decision& decision, PlannedTensor& planned) {
    const std::string_view module = module_name(tensor.name);
    ++plan_.quantized;
    Granularity granularity = plan_.spec.scheme.granularity;
    if (decision.head) {
      granularity = Granularity::kChannel;  // the one form of an FP8 head that every loader takes
      modules_.heads.push_back(module);
    } else if (edge_.contains(std::string(module))) {
      granularity = Granularity::kChannel;
      planned.why = strings_->intern(fmt::format("{}, {} is not whole {}x{} blocks: per channel", decision.why,
                                                 shape_string(tensor.shape), plan_.spec.scheme.block_n,
                                                 plan_.spec.scheme.block_k));
      modules_.edge_channel.push_back(module);
      plan_.edge_channel.emplace_back(module);
    } else {
      modules_.quantized.push_back(module);
    }
    planned.encoding = encoding_of(tensor, granularity);
    planned.action = Action::kEncode;
    if (planned.fp8) try_relabel(planned);
    if (planned.encodes() && plan_.spec.bf16_arithmetic && tensor.dtype == DType::kF16) {
      return failure("tensor \"{}\": --arith bf16 is for BF16 models; this is F16", printable(tensor.name));
    }
    if (granularity == Granularity::kTensor && planned.encodes()) {
      // Engines requantize fused weights to the largest of their scales; equal scales make that a no-op.
      const auto number = static_cast<std::uint32_t>(shared_.size());
      const FusedName alone{module, ""};
      const FusedName key = plan_.spec.bf16_arithmetic ? alone : fused_name(module).value_or(alone);
      planned.shared = shared_.try_emplace(key, number).first->second;
    }
    const std::string_view suffix = scale_suffix(plan_.spec, granularity);
    const std::string_view name = strings_->add(tensor.name, suffix);  // the weight's own name is its beginning
    if (const CheckpointTensor* there = checkpoint_.find(name); there != nullptr && !scales_.contains(there)) {
      return failure("tensor \"{}\": the source already holds a \"{}\"", printable(tensor.name), printable(name));
    }
    add_output(name.substr(0, name.size() - suffix.size()), fp8_dtype(plan_.spec.dtype), tensor, tensor.shape,
               planned.output);
    std::uint32_t scale = 0;
    add_output(name, stored_dtype(planned.encoding->scale_dtype), tensor,
               scale_shape(tensor.shape, *planned.encoding, plan_.spec.format), scale);
    planned.scale = scale;
    plan_.tensors.push_back(planned);
    return {};
  }

  // Codes stay where the new regions lie inside the old ones.
  void try_relabel(PlannedTensor& planned) {
    const QuantizedWeight& weight = plan_.fp8_weights[*planned.fp8];
    WeightEncoding e = *planned.encoding;
    const auto dtype = plan_.spec.scale_dtype ? std::optional(e.scale_dtype)
                                              : scale_dtype_for(weight.scale->dtype, e.scale_dtype, info_.pow2_scales);
    if (dtype) e.scale_dtype = *dtype;
    if (!dtype || !can_relabel(weight, e, info_.pow2_scales)) {
      planned.why = strings_->intern("encoded again from its dequantized values");
      return;
    }
    ++plan_.relabelled;
    planned.action = Action::kRelabel;
    planned.encoding = e;
    planned.why = strings_->intern("codes as they are");
  }

  // Experts in one 3-D tensor stay as they are, so loaders must be told to leave the whole expert block alone.
  void note_fused_experts(const CheckpointTensor& tensor) {
    if (tensor.shape.size() != 3 || !is_quantizable(tensor.dtype)) return;
    constexpr std::string_view kExperts = ".experts", kMoe = ".block_sparse_moe";
    const std::size_t at = tensor.name.find(kExperts);
    if (at == std::string::npos) {
      // GraniteMoE's `block_sparse_moe.input_linear`, which engines load as experts.
      const std::size_t moe = tensor.name.find(kMoe);
      if (moe == std::string::npos || !std::string_view(tensor.name).ends_with(".weight")) return;
      const std::string block = tensor.name.substr(0, moe + kMoe.size()) + std::string(kExperts);
      const auto [it, added] = expert_modules_.emplace(strings_->intern(block));
      if (added) modules_.kept.push_back(*it);
      modules_.kept.push_back(module_name(tensor.name));
      joined_["they have other names than gate_up_proj and down_proj"] += tensor.bytes;
      return;
    }
    const auto module = std::string_view(tensor.name).substr(0, at + kExperts.size());
    const auto [it, added] = expert_modules_.emplace(module);
    if (added) modules_.kept.push_back(*it);
    joined_[std::string(checkpoint_.why_joined(tensor.name))] += tensor.bytes;
  }

  std::size_t quantized_tensors() const {
    const auto& decisions = selection_.decisions;
    return static_cast<std::size_t>(
        std::count_if(decisions.begin(), decisions.end(), [](const Decision& d) { return d.quantize; }));
  }

  // A checkpoint's names differ, and those of scales end otherwise: so the names of the outputs differ too.
  Status lay_out_shards() {
    std::uint32_t first = 0;
    for (std::uint32_t s = 0; s < checkpoint_.shards().size(); ++s) {
      PlannedShard shard;
      shard.name = checkpoint_.shards()[s].output_name;
      shard.metadata = checkpoint_.shards()[s].metadata;
      shard.metadata.try_emplace("format", "pt");  // transformers before 5 refuses files without it
      shard.first = first;
      while (first < plan_.outputs.size() && plan_.outputs[first].shard == s) ++first;
      shard.count = first - shard.first;
      OCTAVO_TRY(lay_out_shard(plan_, shard).context(shard.name));
      plan_.output_bytes += shard.bytes - shard.header_bytes;
      plan_.shards.push_back(std::move(shard));
    }
    plan_.shared_scales = static_cast<std::uint32_t>(shared_.size());
    shared_.clear();
    plan_.has_index = checkpoint_.has_index();
    return {};
  }

  const Checkpoint& checkpoint_;
  ModelConfig config_;
  Selection selection_;
  std::shared_ptr<StringPool> strings_;
  ModuleLists modules_;
  std::unordered_set<std::string> edge_;
  std::unordered_set<std::string_view> expert_modules_;
  std::map<std::string, std::uint64_t> joined_;                     // why experts stay in one tensor -> their bytes
  std::map<FusedName, std::uint32_t> shared_;                       // -> number
  QuantizationInfo info_;                                           // of an FP8 source
  std::unordered_map<const CheckpointTensor*, std::uint32_t> fp8_;  // weight -> Plan::fp8_weights
  std::unordered_map<const CheckpointTensor*, std::uint32_t> input_scales_;  // -> Plan::fp8_weights
  std::unordered_set<const CheckpointTensor*> scales_;                       // of weights
  Plan plan_;
};

}  // namespace

Result<Plan> make_plan(const Checkpoint& checkpoint, const QuantSpec& spec) {
  return Planner(checkpoint, spec).quantize();
}

Result<Plan> make_convert_plan(const Checkpoint& checkpoint, const QuantSpec& spec) {
  return Planner(checkpoint, spec).convert();
}

DType value_dtype(const Checkpoint& checkpoint, const Plan& plan, const PlannedTensor& planned) {
  if (!planned.fp8) return checkpoint.tensors()[planned.source].dtype;
  return plan.spec.direct ? DType::kF32 : DType::kBF16;
}

const PlannedTensor* find_planned(const Checkpoint& checkpoint, const Plan& plan, std::string_view name) {
  const CheckpointTensor* tensor = checkpoint.find(name);
  if (tensor == nullptr) return nullptr;
  return &plan.tensors[static_cast<std::size_t>(tensor - checkpoint.tensors().data())];
}

}  // namespace octavo::quant
