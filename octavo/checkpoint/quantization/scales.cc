// Weights in FP8 and their scales: found by name, judged by shape.
#include <algorithm>
#include <array>

#include "octavo/base/ceil_div.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/group_targets.h"
#include "octavo/checkpoint/quantization.h"

namespace octavo {
namespace {

constexpr std::string_view kWeight = ".weight";

// transformers' Conv1D stores [in, out], so that one scale an output is one a column.
bool is_conv1d(const Checkpoint& checkpoint, std::string_view module) {
  static constexpr std::array<std::string_view, 4> kModels = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"};
  static constexpr std::array<std::string_view, 4> kModules = {".c_attn", ".c_proj", ".c_fc", ".q_attn"};
  const auto it = checkpoint.config().find("model_type");
  if (it == checkpoint.config().end() || !it->is_string()) return false;
  const auto& type = it->get_ref<const std::string&>();
  return std::find(kModels.begin(), kModels.end(), type) != kModels.end() &&
         std::any_of(kModules.begin(), kModules.end(), [&](std::string_view m) { return module.ends_with(m); });
}

// Judges one scale tensor against one weight.
class Fit {
 public:
  Fit(const QuantizationInfo& info, QuantizedWeight& out, bool conv1d)
      : info_(info), out_(out), rows_(out.rows), columns_(out.columns), conv1d_(conv1d) {}

  // Sets granularity, block and grid; false when the shape fits none.
  bool find(const Shape& scale) {
    const Shape& weight = out_.weight->shape;
    if (weight.size() == 2) return find_grid(without_ones(scale), /*one_dimension=*/true);
    // Experts. ModelOpt drops a first dimension of 1.
    if (scale.size() <= 1 && element_count(scale) == 1) return tensor();
    Shape grid = scale;
    if (out_.experts == 1 && (scale.empty() || scale[0] != 1)) grid.insert(grid.begin(), 1);
    if (grid.empty() || grid[0] != out_.experts) return false;
    grid.erase(grid.begin());
    out_.expert_scales = element_count(grid).value_or(0);
    if (out_.expert_scales == 1) return tensor();
    // FBGEMM stores experts [in, out] and their scales, one an output, as [1, out] or [out, 1].
    const bool fbgemm = info_.dialect == Dialect::kFbgemm;
    const bool a_column_each = grid == Shape{1, columns_} || grid == Shape{columns_, 1} || grid == Shape{columns_};
    const bool a_row_each = grid == Shape{rows_, 1} || grid == Shape{rows_};
    if (fbgemm && a_column_each) return columns();
    if (find_blocks(grid)) return true;
    if (a_row_each) return channel();
    return a_column_each ? columns() : false;
  }

 private:
  // ModelOpt's [N/128, 1, K/128, 1] lies in memory as [N/128, K/128].
  static Shape without_ones(const Shape& scale) {
    return scale.size() == 4 && scale[1] == 1 && scale[3] == 1 ? Shape{scale[0], scale[2]} : scale;
  }

  bool find_grid(const Shape& s, bool one_dimension) {
    const auto count = element_count(s).value_or(0);
    if (count == 1 && (s.size() <= 1 || (rows_ > 1 && columns_ > 1))) {
      // [] or [1]; also a [1, 1] grid, where one block covers the whole weight.
      out_.granularity = s.size() <= 1 ? Granularity::kTensor : Granularity::kBlock;
      return true;
    }
    if (find_blocks(s)) return true;
    if (conv1d_ && one_dimension && (s == Shape{columns_} || s == Shape{1, columns_})) return columns();
    if (s == Shape{rows_, 1} || s == Shape{rows_}) return channel();
    return false;
  }

  // A block grid is told by the config's block size; channel scales by their shape.
  bool find_blocks(const Shape& s) {
    for (const QuantizationGroup& group : info_.groups) {
      if (group.granularity != Granularity::kBlock && group.granularity != Granularity::kGroup) continue;
      if (s != Shape{ceil_div(rows_, group.block_n), ceil_div(columns_, group.block_k)}) continue;
      out_.granularity = group.granularity;
      out_.block_n = group.block_n;
      out_.block_k = group.block_k;
      out_.scale_columns = s[1];
      return true;
    }
    return false;
  }

  bool tensor() {
    out_.granularity = Granularity::kTensor;
    return true;
  }
  bool channel() {
    out_.granularity = Granularity::kChannel;
    out_.block_n = 1;
    return true;
  }
  bool columns() {
    out_.granularity = Granularity::kChannel;
    out_.block_k = 1;
    out_.scale_columns = columns_;
    return true;
  }

  const QuantizationInfo& info_;
  QuantizedWeight& out_;
  const std::uint64_t rows_, columns_;
  const bool conv1d_;
};

bool ends_with_any(std::string_view name, std::initializer_list<std::string_view> endings) {
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view e) { return name.ends_with(e); });
}

// "...self_attn.k_cache.head_3.scale": AngelSlim, one scale a head.
bool is_head_scale(std::string_view name) {
  if (!name.ends_with(".scale")) return false;
  name.remove_suffix(std::string_view(".scale").size());
  const std::size_t dot = name.rfind(".head_");
  return dot != std::string_view::npos && name.find('.', dot + 1) == std::string_view::npos &&
         ends_with_any(name.substr(0, dot), {".k_cache", ".v_cache", ".q"});
}

}  // namespace

bool is_scale_name(std::string_view name) {
  return ends_with_any(name, {".weight_scale", ".weight_scale_inv", ".input_scale", ".activation_scale", ".k_scale",
                              ".v_scale", ".q_scale", ".kv_scale", ".prob_scale",
                              // older compressed-tensors, Quark
                              ".output_scale", ".prob_output_scale", ".weight_zero_point", ".input_zero_point",
                              ".output_zero_point", ".k_zero_point", ".v_zero_point", ".q_zero_point",
                              // FBGEMM; Mistral's own files; HYV3 and AngelSlim
                              ".input_scale_ub", ".qscale_weight", ".qscale_act", ".k_cache.scale", ".v_cache.scale",
                              ".self_attn.q.scale"}) ||
         is_head_scale(name);
}

bool is_scale_tensor(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  if (is_scale_name(tensor.name)) return true;
  const auto serves = [&](const std::string& name) {
    const CheckpointTensor* weight = checkpoint.find(name);
    return weight != nullptr && is_fp8(weight->dtype);
  };
  for (const std::string_view suffix : {"_scale_inv", "_activation_scale", "_input_scale", "_weight_scale", "_scale"}) {
    if (!tensor.name.ends_with(suffix)) continue;
    if (serves(tensor.name.substr(0, tensor.name.size() - suffix.size()))) return true;
  }
  constexpr std::string_view kScale = ".scale";
  return tensor.name.ends_with(kScale) &&
         serves(tensor.name.substr(0, tensor.name.size() - kScale.size()) + std::string(kWeight));
}

Result<QuantizedWeight> match_scale(const Checkpoint& checkpoint, const QuantizationInfo& info,
                                    const CheckpointTensor& weight) {
  QuantizedWeight out;
  out.weight = &weight;
  out.module = weight.name;
  const bool plain = weight.name.ends_with(kWeight);
  if (plain) out.module.resize(weight.name.size() - kWeight.size());
  const auto find = [&](const CheckpointTensor*& place, std::initializer_list<std::string> names) {
    for (const std::string& name : names) {
      if (place == nullptr) place = checkpoint.find(name);
    }
  };
  find(out.scale, {weight.name + "_scale", weight.name + "_scale_inv"});
  // ModelOpt's of experts in one tensor.
  if (!plain && weight.shape.size() == 3) find(out.scale, {weight.name + "_weight_scale"});
  if (plain) find(out.scale, {out.module + ".scale", out.module + ".qscale_weight"});
  const std::string joint = plain ? out.module + "." : out.module + "_";
  find(out.input_scale, {joint + "input_scale", joint + "activation_scale"});
  if (plain) find(out.input_scale, {out.module + ".qscale_act"});

  const Shape& shape = weight.shape;
  if (shape.size() != 2 && shape.size() != 3) {
    return failure("tensor \"{}\": an FP8 weight must have two dimensions, or three of experts, not {}",
                   printable(weight.name), shape_string(shape));
  }
  out.experts = shape.size() == 3 ? shape[0] : 1;
  out.rows = shape[shape.size() - 2];
  out.columns = shape[shape.size() - 1];
  out.block_n = std::max<std::uint64_t>(out.rows, 1);
  out.block_k = std::max<std::uint64_t>(out.columns, 1);
  if (out.scale == nullptr) return out;
  if (!Fit(info, out, is_conv1d(checkpoint, out.module)).find(out.scale->shape)) {
    return failure("tensor \"{}\": scale of shape {} fits no granularity of a weight of shape {}",
                   printable(out.scale->name), shape_string(out.scale->shape), shape_string(shape));
  }
  return out;
}

Result<std::vector<QuantizedWeight>> find_quantized_weights(const Checkpoint& checkpoint,
                                                            const QuantizationInfo& info) {
  std::vector<QuantizedWeight> out;
  OCTAVO_ASSIGN(const GroupTargets targets, GroupTargets::compile(info));
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (!is_fp8(tensor.dtype)) continue;
    const bool is_weight = tensor.name.ends_with(kWeight) || tensor.shape.size() == 3 ||
                           checkpoint.find(tensor.name + "_scale") != nullptr ||
                           checkpoint.find(tensor.name + "_scale_inv") != nullptr;
    if (!is_weight) continue;
    OCTAVO_ASSIGN(QuantizedWeight weight, match_scale(checkpoint, info, tensor));
    OCTAVO_ASSIGN(const auto match, targets.find(weight.module, /*linear=*/true));
    if (match) weight.group = match->group;
    out.push_back(std::move(weight));
  }
  return out;
}

}  // namespace octavo
