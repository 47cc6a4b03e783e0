// Who is told of what: facts in docs/formats.md, "The pairs that are written" and "Tensor parallelism".
#include "octavo/quant/plan_warnings.h"

#include <algorithm>
#include <map>
#include <set>

#include "octavo/base/text.h"
#include "octavo/quant/module_kinds.h"

namespace octavo::quant {
namespace {

// Linears whose input is split over the ranks of tensor parallelism; the others' output is.
bool is_row_parallel(std::string_view leaf) {
  return one_of(leaf,
                {"o_proj", "out_proj", "wo", "dense", "down_proj", "w2", "fc2", "dense_4h_to_h", "c_proj", "wo_b"});
}

class Warnings {
 public:
  Warnings(const Checkpoint& checkpoint, const ModelConfig& config, const Selection& selection, Plan& plan)
      : checkpoint_(checkpoint), config_(config), selection_(selection), plan_(plan) {}

  void run(const std::map<std::string, std::uint64_t>& joined) {
    const QuantSpec& spec = plan_.spec;
    if (!checkpoint_.unindexed().empty()) {
      plan_.warnings.push_back(
          fmt::format("{} tensors stand in shards but not in the index and are left out, \"{}\" first",
                      checkpoint_.unindexed().size(), printable(checkpoint_.unindexed().front())));
    }
    for (const auto& [why, bytes] : joined) {
      plan_.warnings.push_back(fmt::format("{} of experts in 3-D tensors are kept as they are{}{}", human_bytes(bytes),
                                           why.empty() ? "" : ": ", why));
    }
    for (const std::string& note : checkpoint_.notes()) plan_.warnings.push_back(note);
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
    warn_tensor_parallel();
    warn_split_fusions();
    if (plan_.convert) warn_unequal_scales();
  }

  // What loaders refuse of an otherwise legal pair: docs/formats.md, "The pairs that are written".
  void warn_loaders() {
    const QuantSpec& spec = plan_.spec;
    const bool block = spec.scheme.granularity == Granularity::kBlock;
    const bool compressed = spec.format == OutputFormat::kCompressedTensors;
    bool experts = false, split = false;  // FP8 ones; ones that the source holds in one tensor
    for (const PlannedTensor& planned : plan_.tensors) {
      const CheckpointTensor& tensor = checkpoint_.tensors()[planned.source];
      if (!experts_block(tensor.name)) continue;
      experts = experts || planned.quantized();
      split = split || tensor.part_of != CheckpointTensor::kWhole;
    }
    if ((experts || split) && transformers_wants_one_tensor(config_.model_type, compressed)) {
      warn_of({Loader::kTransformers},
              fmt::format("transformers' {} loads experts in one tensor only and finds none of these; vLLM and SGLang "
                          "take them",
                          printable(config_.model_type)));
    }
    const bool modelopt = spec.format == OutputFormat::kModelOpt;
    const bool dynamic_token = spec.scheme.activation == Activation::kDynamicToken;
    if (experts && compressed && dynamic_token && spec.scheme.granularity == Granularity::kTensor) {
      warn_of({Loader::kVllm, Loader::kSglang},
              "vLLM and SGLang refuse experts with one scale a tensor and activations per token; --scheme dynamic or "
              "block has no such limit");
    }
    // Of families that store them transposed it makes linears of experts, or does not come to their scales.
    if (experts && compressed && !has_transposed_experts(config_.model_type) &&
        (block || spec.scheme.granularity == Granularity::kGroup)) {
      warn_of({Loader::kTransformers},
              fmt::format("transformers cannot dequantize experts in {} of compressed-tensors; --format {} can",
                          block ? "blocks" : "groups", block ? "fp8" : "mxfp8"));
    }
    if (experts && modelopt && (block || dynamic_token)) {
      warn_of({Loader::kVllm},
              "vLLM's experts of modelopt have one scale each; --format compressed-tensors has no "
              "such limit");
    }
    if (block && spec.format == OutputFormat::kFp8 && sglang_loses_block_scales(config_.model_type)) {
      warn_of({Loader::kSglang},
              fmt::format("SGLang's loader of {} loses weight_scale_inv; --format compressed-tensors has no such limit",
                          printable(config_.model_type)));
    }
    std::size_t bare = 0;
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) bare += !plan_.convert && is_fp8(tensor.dtype) ? 1 : 0;
    if (bare > 0) {
      plan_.warnings.push_back(
          fmt::format("{} tensors are FP8 already though config.json has no quantization_config: they "
                      "are copied as they are, and no loader knows their scales",
                      bare));
    }
  }

  // A warning to all, and what those loaders say no to.
  void warn_of(std::initializer_list<Loader> loaders, std::string text) {
    for (const Loader loader : loaders) plan_.refused.push_back({loader, text});
    plan_.warnings.push_back(std::move(text));
  }

  void warn_partial_blocks() {
    std::size_t partial = 0;
    const CheckpointTensor* first = nullptr;
    const Granularity granularity = plan_.spec.scheme.granularity;
    if (granularity != Granularity::kBlock && granularity != Granularity::kGroup) return;
    for (const PlannedTensor& planned : plan_.tensors) {
      const CheckpointTensor& tensor = checkpoint_.tensors()[planned.source];
      if (!planned.encoding || planned.encoding->granularity != granularity) continue;
      if (divides(*planned.encoding, tensor.shape)) continue;
      if (partial++ == 0) first = &tensor;
    }
    if (partial == 0) return;
    if (granularity == Granularity::kGroup) {
      warn_of(
          {Loader::kVllm, Loader::kSglang, Loader::kTransformers, Loader::kTensorRtLlm},
          fmt::format("{} weights have columns that are not whole groups of {} ({} is {}): no loader has a scale for "
                      "the rest; --scheme dynamic has no such limit, --ignore keeps them in BF16",
                      partial, plan_.spec.scheme.block_k, printable(first->name), shape_string(first->shape)));
      return;
    }
    warn_of(
        {Loader::kTransformers},
        fmt::format("{} weights end in partial blocks ({} is {}): transformers refuses or misreads them and engines "
                    "need K in whole blocks; --edge channel or --scheme dynamic has no such limit",
                    partial, printable(first->name), shape_string(first->shape)));
  }

  // Engines split a weight over the ranks of tensor parallelism, and whole blocks must fall to each: by kind of module,
  // the first size of 2, 4, 8 where that fails though the dimension itself could be split.
  void warn_tensor_parallel() {
    const Granularity granularity = plan_.spec.scheme.granularity;
    if (granularity != Granularity::kBlock && granularity != Granularity::kGroup) return;
    struct Failing {
      std::uint64_t ranks, each;
      bool rows;
      Shape shape;
      auto operator<=>(const Failing&) const = default;
    };
    std::map<Failing, std::string> failing;  // -> kinds of modules
    std::set<std::string_view> seen;
    for (const PlannedTensor& planned : plan_.tensors) {
      if (!planned.quantized() || planned.encoding->granularity != granularity) continue;
      const CheckpointTensor& tensor = checkpoint_.tensors()[planned.source];
      const std::string_view leaf = module_leaf(module_name(tensor.name));
      if (!seen.insert(leaf).second) continue;
      const bool rows = !is_row_parallel(leaf);
      const std::uint64_t size = tensor.shape[rows ? 0 : 1];
      const std::uint64_t block = rows ? planned.encoding->block_n : planned.encoding->block_k;
      if (size % block != 0) continue;  // warn_partial_blocks() has said so
      for (const std::uint64_t ranks : {2u, 4u, 8u}) {
        if (size % ranks != 0 || (one_of(leaf, {"k_proj", "v_proj"}) && ranks > kv_heads()))
          break;  // heads are repeated
        if (size / ranks % block == 0) continue;
        std::string& kinds = failing[{ranks, size / ranks, rows, tensor.shape}];
        kinds += (kinds.empty() ? "" : ", ") + printable(leaf);
        break;
      }
    }
    if (failing.empty()) return;
    std::string list;
    for (const auto& [f, kinds] : failing) {
      list += fmt::format("{}{} {} at {} ranks ({} {} each)", list.empty() ? "" : "; ", kinds, shape_string(f.shape),
                          f.ranks, f.each, f.rows ? "rows" : "columns");
    }
    plan_.warnings.push_back(fmt::format(
        "tensor parallelism: whole blocks do not divide {}. SGLang refuses that, vLLM all but experts of the "
        "fp8 format; --scheme dynamic has no such limit",
        list));
  }

  std::uint64_t kv_heads() const {
    return std::max<std::uint64_t>(1, language_model_number(checkpoint_.config(), "num_key_value_heads"));
  }

  // Engines that fuse q/k/v or gate/up refuse a file where only some of them are quantized.
  void warn_split_fusions() {
    std::map<FusedName, std::pair<bool, bool>> groups;  // some quantized, some kept
    for (const PlannedTensor& planned : plan_.tensors) {
      const auto& name = checkpoint_.tensors()[planned.source].name;
      if (!planned.quantized() && !selection_.decisions[planned.source].linear) continue;
      const std::string_view module = module_name(name);
      const auto note = [&](const FusedName& key) {
        auto& [some_quantized, some_kept] = groups[key];
        (planned.quantized() ? some_quantized : some_kept) = true;
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
        fmt::format("{} quantized only in part ({} first): vLLM and SGLang fuse them "
                    "and refuse that; keep or quantize all their parts",
                    split == 1 ? "1 fused layer or block of experts is"
                               : fmt::format("{} fused layers or blocks of experts are", split),
                    printable(first)));
  }

  // Codes that stay keep their scales, equal or not. One value a tensor is looked at; what cannot be read fails later.
  void warn_unequal_scales() {
    std::map<FusedName, std::vector<float>> groups;
    for (const PlannedTensor& planned : plan_.tensors) {
      if (planned.action != Action::kRelabel || planned.encoding->granularity != Granularity::kTensor) continue;
      const auto key = fused_name(module_name(checkpoint_.tensors()[planned.source].name));
      const auto scale = key ? checkpoint_.read_scales(*plan_.fp8_weights[*planned.fp8].scale, 0, 1)
                             : Result<std::vector<float>>(std::vector<float>());
      if (key && scale.ok()) groups[*key].push_back(scale->front());
    }
    std::size_t unequal = 0;
    std::string first;
    for (const auto& [key, scales] : groups) {
      const float wanted = scales.front();
      const bool equal = std::all_of(scales.begin(), scales.end(), [wanted](float scale) { return scale == wanted; });
      if (!equal && unequal++ == 0) first = fmt::format("{}{}", key.parent, key.leaf);
    }
    if (unequal == 0) return;
    plan_.warnings.push_back(fmt::format(
        "{} different scales, as the source has them ({} first): engines encode "
        "such parts again with the largest scale when they load them",
        unequal == 1 ? "the parts of 1 fused layer have" : fmt::format("the parts of {} fused layers have", unequal),
        printable(first)));
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const Selection& selection_;
  Plan& plan_;
};

}  // namespace

bool divides(const WeightEncoding& e, const Shape& shape) {
  return shape[0] % e.block_n == 0 && shape[1] % e.block_k == 0;
}

std::optional<std::string_view> experts_block(std::string_view module) {
  constexpr std::string_view kExperts = ".experts.";
  const std::size_t at = module.find(kExperts);
  if (at == std::string_view::npos) return std::nullopt;
  return module.substr(0, at + kExperts.size() - 1);
}

void add_warnings(const Checkpoint& checkpoint, const ModelConfig& config, const Selection& selection,
                  const std::map<std::string, std::uint64_t>& joined, Plan& plan) {
  Warnings(checkpoint, config, selection, plan).run(joined);
}

}  // namespace octavo::quant
