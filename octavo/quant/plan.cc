// From headers, config and spec to the plan.
#include "octavo/quant/plan.h"

#include <algorithm>
#include <map>
#include <unordered_set>

#include "octavo/base/ceil_div.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/model_config.h"
#include "octavo/quant/module_kinds.h"
#include "octavo/quant/output_config.h"
#include "octavo/quant/plan_layout.h"
#include "octavo/quant/selection.h"

namespace octavo::quant {
namespace {

DType fp8_dtype(fp8::Format format) { return format == fp8::Format::kE5M2 ? DType::kF8E5M2 : DType::kF8E4M3; }

// "model.layers.3.mlp.experts" of a module inside it.
std::optional<std::string_view> experts_block(std::string_view module) {
  constexpr std::string_view kExperts = ".experts.";
  const std::size_t at = module.find(kExperts);
  if (at == std::string_view::npos) return std::nullopt;
  return module.substr(0, at + kExperts.size() - 1);
}

bool divides(const WeightEncoding& e, const Shape& shape) {
  return shape[0] % e.block_n == 0 && shape[1] % e.block_k == 0;
}

// Name and shape of the scale: docs/formats.md, "Which name and shape".
std::string_view scale_suffix(OutputFormat format, Granularity granularity) {
  const bool inverse = format == OutputFormat::kFp8 && granularity == Granularity::kBlock;
  return inverse ? "_scale_inv" : "_scale";
}

Shape scale_shape(const Shape& weight, const WeightEncoding& e, OutputFormat format) {
  if (e.granularity != Granularity::kTensor) return {ceil_div(weight[0], e.block_n), ceil_div(weight[1], e.block_k)};
  return format == OutputFormat::kFp8 ? Shape{} : Shape{1};
}

class Planner {
 public:
  Planner(const Checkpoint& checkpoint, const QuantSpec& spec) : checkpoint_(checkpoint) { plan_.spec = spec; }

  Result<Plan> run() {
    OCTAVO_TRY(check_spec(plan_.spec));
    OCTAVO_TRY(check_source());
    const std::string origin = checkpoint_.config_path().string();
    OCTAVO_ASSIGN(config_, parse_model_config(checkpoint_.config(), origin));
    OCTAVO_ASSIGN(selection_, select_tensors(checkpoint_, config_, plan_.spec));
    plan_.warnings = selection_.warnings;
    strings_ = selection_.reasons;
    if (plan_.spec.edge == Edge::kChannel) find_edge_modules();
    plan_.tensors.reserve(checkpoint_.tensors().size());
    plan_.outputs.reserve(checkpoint_.tensors().size() + quantized_tensors());
    for (std::uint32_t i = 0; i < checkpoint_.tensors().size(); ++i) OCTAVO_TRY(plan_tensor(i));
    OCTAVO_TRY(lay_out_shards());
    plan_.config_text =
        set_top_level_key(checkpoint_.config_text(), "quantization_config", quantization_config(plan_.spec, modules_));
    plan_.source_bytes = checkpoint_.data_bytes();
    warn();
    plan_.strings = std::move(strings_);
    return std::move(plan_);
  }

 private:
  Status check_source() const {
    if (!checkpoint_.has_config()) {
      return failure("{}: no config.json; a Hugging Face model folder has one", checkpoint_.dir().string());
    }
    const auto it = checkpoint_.config().find("quantization_config");
    if (it != checkpoint_.config().end() && !it->is_null()) {
      const auto method = it->is_object() ? it->find("quant_method") : it->end();
      const bool named = it->is_object() && method != it->end() && method->is_string();
      return failure("{}: already quantized{}; run `octavo dequantize` first", checkpoint_.dir().string(),
                     named ? fmt::format(" ({})", printable(method->get<std::string>())) : "");
    }
    return {};
  }

  WeightEncoding encoding_of(const CheckpointTensor& tensor, Granularity granularity) const {
    const QuantSpec& spec = plan_.spec;
    WeightEncoding e;
    e.granularity = granularity;
    e.format = spec.dtype;
    e.scale_dtype = spec.scale_dtype_for(tensor.dtype == DType::kF16);
    e.pow2_scales = spec.pow2_scales;
    e.via_bf16 = tensor.dtype == DType::kF32 && !spec.direct;
    const std::uint64_t n = tensor.shape[0], k = tensor.shape[1];
    switch (granularity) {
      case Granularity::kTensor: e.block_n = n, e.block_k = k; break;
      case Granularity::kChannel: e.block_n = 1, e.block_k = k; break;
      case Granularity::kBlock: e.block_n = spec.scheme.block_n, e.block_k = spec.scheme.block_k; break;
      case Granularity::kGroup: e.block_n = 1, e.block_k = spec.scheme.block_k; break;
    }
    return e;
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
    const std::string_view module = module_name(tensor.name);
    PlannedTensor planned;
    planned.source = index;
    planned.quantize = decision.quantize;
    planned.why = decision.why;
    planned.output = static_cast<std::uint32_t>(plan_.outputs.size());
    if (!decision.quantize) {
      plan_.outputs.push_back(
          {strings_->add(tensor.name), tensor.dtype, tensor.shard, index, tensor.shape, 0, tensor.bytes});
      if (decision.linear) modules_.kept.push_back(module);
      note_fused_experts(tensor);
      plan_.tensors.push_back(std::move(planned));
      return {};
    }

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
    if (granularity == Granularity::kTensor) {
      // Engines requantize fused weights to the largest of their scales; equal scales make that a no-op.
      const auto number = static_cast<std::uint32_t>(shared_.size());
      planned.shared = shared_.try_emplace(fused_name(module).value_or(FusedName{module, ""}), number).first->second;
    }
    const std::string_view suffix = scale_suffix(plan_.spec.format, granularity);
    const std::string_view name = strings_->add(tensor.name, suffix);  // the weight's own name is its beginning
    if (checkpoint_.find(name) != nullptr) {
      return failure("tensor \"{}\": the source already holds a \"{}\"", printable(tensor.name), printable(name));
    }
    plan_.outputs.push_back({name.substr(0, name.size() - suffix.size()), fp8_dtype(plan_.spec.dtype), tensor.shard,
                             index, tensor.shape, 0, 0});
    planned.scale = static_cast<std::uint32_t>(plan_.outputs.size());
    const DType scale_dtype = planned.encoding->scale_dtype == fp8::ScaleDType::kBF16 ? DType::kBF16 : DType::kF32;
    plan_.outputs.push_back({name, scale_dtype, tensor.shard, index,
                             scale_shape(tensor.shape, *planned.encoding, plan_.spec.format), 0, 0});
    plan_.tensors.push_back(std::move(planned));
    return {};
  }

  // Experts in one 3-D tensor stay as they are, so loaders must be told to leave the whole expert block alone.
  void note_fused_experts(const CheckpointTensor& tensor) {
    if (tensor.shape.size() != 3 || !is_quantizable(tensor.dtype)) return;
    constexpr std::string_view kExperts = ".experts";
    const std::size_t at = tensor.name.find(kExperts);
    if (at == std::string::npos) return;
    const auto module = std::string_view(tensor.name).substr(0, at + kExperts.size());
    const auto [it, added] = expert_modules_.emplace(module);
    if (added) modules_.kept.push_back(*it);
    expert_bytes_ += tensor.bytes;
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

  void warn() {
    const QuantSpec& spec = plan_.spec;
    if (!checkpoint_.unindexed().empty()) {
      plan_.warnings.push_back(
          fmt::format("{} tensors stand in shards but not in the index and are left out, \"{}\" first",
                      checkpoint_.unindexed().size(), printable(checkpoint_.unindexed().front())));
    }
    if (expert_bytes_ > 0) {
      plan_.warnings.push_back(
          fmt::format("{} of experts in 3-D tensors are kept as they are: only experts stored one "
                      "by one are quantized",
                      human_bytes(expert_bytes_)));
    }
    // The rest is about folders and who loads them.
    if (spec.online) return;
    if (spec.dtype == fp8::Format::kE5M2) {
      plan_.warnings.emplace_back(
          "no engine loads E5M2 weights: vLLM, SGLang and TensorRT-LLM hold FP8 weights as E4M3");
    }
    if (spec.scheme.granularity == Granularity::kBlock && (spec.scheme.block_n != 128 || spec.scheme.block_k != 128)) {
      plan_.warnings.push_back(fmt::format("blocks of {}x{}: the engines' kernels are written for 128x128",
                                           spec.scheme.block_n, spec.scheme.block_k));
    }
    for (const std::string& folder : checkpoint_.left_out()) {
      plan_.warnings.push_back(
          fmt::format("{} is not copied: only the files of the model folder are", printable(folder)));
    }
    warn_loaders();
    warn_partial_blocks();
    warn_split_fusions();
  }

  // What loaders refuse of an otherwise legal pair: docs/formats.md, "The pairs that are written".
  void warn_loaders() {
    const QuantSpec& spec = plan_.spec;
    const bool block = spec.scheme.granularity == Granularity::kBlock;
    const bool compressed = spec.format == OutputFormat::kCompressedTensors;
    const bool experts = std::any_of(plan_.tensors.begin(), plan_.tensors.end(), [&](const PlannedTensor& planned) {
      return planned.quantize && experts_block(checkpoint_.tensors()[planned.source].name);
    });
    if (experts && compressed && spec.scheme.granularity == Granularity::kTensor) {
      plan_.warnings.emplace_back(
          "vLLM and SGLang refuse experts with one scale a tensor and activations per token; --scheme dynamic or block "
          "has no such limit");
    }
    if (experts && compressed && block) {
      plan_.warnings.emplace_back(
          "transformers cannot dequantize experts in blocks of compressed-tensors; --format fp8 can");
    }
    if (block && !compressed && sglang_loses_block_scales(config_.model_type)) {
      plan_.warnings.push_back(
          fmt::format("SGLang's loader of {} loses weight_scale_inv; --format compressed-tensors has "
                      "no such limit",
                      printable(config_.model_type)));
    }
    std::size_t bare = 0;
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) bare += is_fp8(tensor.dtype) ? 1 : 0;
    if (bare > 0) {
      plan_.warnings.push_back(
          fmt::format("{} tensors are FP8 already though config.json has no quantization_config: they "
                      "are copied as they are, and no loader knows their scales",
                      bare));
    }
  }

  void warn_partial_blocks() {
    std::size_t partial = 0;
    const CheckpointTensor* first = nullptr;
    for (const PlannedTensor& planned : plan_.tensors) {
      const CheckpointTensor& tensor = checkpoint_.tensors()[planned.source];
      if (!planned.encoding || planned.encoding->granularity != Granularity::kBlock) continue;
      if (divides(*planned.encoding, tensor.shape)) continue;
      if (partial++ == 0) first = &tensor;
    }
    if (partial == 0) return;
    plan_.warnings.push_back(fmt::format(
        "{} weights end in partial blocks ({} is {}): transformers refuses or misreads them and engines need K in "
        "whole blocks; --edge channel or --scheme dynamic has no such limit",
        partial, printable(first->name), shape_string(first->shape)));
  }

  // Engines that fuse q/k/v or gate/up refuse a file where only some of them are quantized.
  void warn_split_fusions() {
    std::map<FusedName, std::pair<bool, bool>> groups;  // some quantized, some kept
    for (const PlannedTensor& planned : plan_.tensors) {
      const auto& name = checkpoint_.tensors()[planned.source].name;
      if (!planned.quantize && !selection_.decisions[planned.source].linear) continue;
      const std::string_view module = module_name(name);
      const auto note = [&](const FusedName& key) {
        auto& [some_quantized, some_kept] = groups[key];
        (planned.quantize ? some_quantized : some_kept) = true;
      };
      if (const auto key = fused_name(module)) note(*key);
      if (const auto block = experts_block(module)) note({*block, ""});
    }
    std::size_t split = 0;
    std::string first;
    for (const auto& [key, state] : groups) {
      if (state.first && state.second && split++ == 0) first = fmt::format("{}{}", key.parent, key.leaf);
    }
    if (split == 0) return;
    plan_.warnings.push_back(
        fmt::format("{} fused layers are quantized only in part ({} first): vLLM and SGLang fuse them "
                    "and refuse that; keep or quantize all their parts",
                    split, printable(first)));
  }

  const Checkpoint& checkpoint_;
  ModelConfig config_;
  Selection selection_;
  std::shared_ptr<StringPool> strings_;
  ModuleLists modules_;
  std::unordered_set<std::string> edge_;
  std::unordered_set<std::string_view> expert_modules_;
  std::uint64_t expert_bytes_ = 0;
  std::map<FusedName, std::uint32_t> shared_;  // -> number
  Plan plan_;
};

}  // namespace

Result<Plan> make_plan(const Checkpoint& checkpoint, const QuantSpec& spec) { return Planner(checkpoint, spec).run(); }

const PlannedTensor* find_planned(const Checkpoint& checkpoint, const Plan& plan, std::string_view name) {
  const CheckpointTensor* tensor = checkpoint.find(name);
  if (tensor == nullptr) return nullptr;
  return &plan.tensors[static_cast<std::size_t>(tensor - checkpoint.tensors().data())];
}

}  // namespace octavo::quant
