// 3-D experts as 2-D tensors: slices of a row-major tensor along its first two dimensions lie in one piece each, those
// of a transposed one have a pitch.
#include <algorithm>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "octavo/base/text.h"
#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/model_config.h"

namespace octavo {
namespace {

constexpr std::string_view kExperts = ".experts.";

// Of the config, "" when it has none; and whether a level says one of the families with transposed experts.
struct Family {
  std::string model_type;
  bool transposed = false;
};

Family family_of(const Json& config) {
  Family out;
  for (const Json* level : config_levels(config)) {
    const auto type = level->find("model_type");
    if (type == level->end() || !type->is_string()) continue;
    if (out.model_type.empty()) out.model_type = type->get<std::string>();
    out.transposed = out.transposed || has_transposed_experts(type->get_ref<const std::string&>());
  }
  return out;
}

// The two tensors of a block of experts.
struct Block {
  const CheckpointTensor *gate_up = nullptr, *down = nullptr;
  bool biased = false;
  bool transposed = false;
};

// Whether they are [experts, 2 x intermediate, hidden] and [experts, hidden, intermediate], or `transposed` [experts,
// hidden, 2 x intermediate] and [experts, intermediate, hidden]: only both together say it, as hidden may equal
// intermediate, or twice that. No pair is both.
bool lies(const Block& block, std::uint64_t hidden, bool transposed) {
  const Shape &a = block.gate_up->shape, &b = block.down->shape;
  const std::size_t out = transposed ? 2 : 1, in = transposed ? 1 : 2;
  return a[0] == b[0] && a[in] == hidden && b[out] == hidden && b[in] != 0 && a[out] / 2 == b[in] && a[out] % 2 == 0 &&
         block.gate_up->dtype == block.down->dtype;
}

// A part of the outputs of an expert.
struct Slice {
  std::string_view leaf;              // "gate_proj"
  std::uint64_t first = 0, rows = 0;  // of an expert's matrix [out, in]
};

// How a 3-D tensor is cut.
struct Layout {
  std::uint64_t experts = 0, outputs = 0, inputs = 0;
  bool transposed = false;
  std::vector<Slice> slices;  // empty: not at all
};

Layout layout_of(const CheckpointTensor& tensor, const Block& block, bool mixtral) {
  const bool gate_up = &tensor == block.gate_up, t = block.transposed;
  const std::uint64_t rows = tensor.shape[t ? 2 : 1];
  Layout out{tensor.shape[0], rows, tensor.shape[t ? 1 : 2], t, {}};
  if (gate_up) {
    out.slices = {{mixtral ? "w1" : "gate_proj", 0, rows / 2}, {mixtral ? "w3" : "up_proj", rows / 2, rows / 2}};
  } else {
    out.slices = {{mixtral ? "w2" : "down_proj", 0, rows}};
  }
  return out;
}

CheckpointTensor slice_weight(const CheckpointTensor& tensor, const Layout& layout, std::uint64_t expert,
                              const Slice& slice) {
  const std::uint64_t width = dtype_bytes(tensor.dtype), matrix = layout.outputs * layout.inputs;
  const std::uint64_t first = expert * matrix + slice.first * (layout.transposed ? 1 : layout.inputs);
  CheckpointTensor out{"",
                       tensor.dtype,
                       {slice.rows, layout.inputs},
                       tensor.shard,
                       tensor.offset + first * width,
                       slice.rows * layout.inputs * width};
  if (layout.transposed) out.pitch = layout.outputs;
  return out;
}

// The scales of a slice of an expert, as a tensor of their own: one for all experts, one an expert, one an output, or a
// grid that lies as the weight lies and whose blocks end where the slice ends. nullopt: they lie otherwise.
std::optional<CheckpointTensor> slice_scale(const CheckpointTensor& scale, const Layout& layout, std::uint64_t expert,
                                            const Slice& slice) {
  const std::uint64_t width = dtype_bytes(scale.dtype), count = element_count(scale.shape).value_or(0);
  if (width == 0 || count == 0) return std::nullopt;
  CheckpointTensor out{"", scale.dtype, {}, scale.shard, scale.offset, width};
  if (count == 1) return out;
  if (scale.shape[0] != layout.experts) return std::nullopt;
  const std::uint64_t each = count / layout.experts;
  out.offset += expert * each * width;
  if (each == 1) return out;
  // FBGEMM's are [experts, 1, out] or [experts, out, 1], whichever way the weight lies.
  const bool column = layout.transposed && each == layout.outputs;
  if (column && (scale.shape.size() == 2 || scale.shape[1] == 1 || scale.shape[2] == 1)) {
    out.shape = {slice.rows, 1};
    out.offset += slice.first * width;
    out.bytes = slice.rows * width;
    return out;
  }
  if (scale.shape.size() != 3) return std::nullopt;
  const std::uint64_t rows = scale.shape[layout.transposed ? 2 : 1], cols = scale.shape[layout.transposed ? 1 : 2];
  std::uint64_t first = 0, count_rows = rows;
  if (slice.rows != layout.outputs) {
    const std::uint64_t block = layout.outputs / rows;
    if (layout.outputs % rows != 0 || slice.first % block != 0 || slice.rows % block != 0) return std::nullopt;
    first = slice.first / block;
    count_rows = slice.rows / block;
  }
  out.shape = {count_rows, cols};
  out.offset += first * (layout.transposed ? 1 : cols) * width;
  out.bytes = count_rows * cols * width;
  if (layout.transposed) out.pitch = rows;
  return out;
}

// A scale of a 3-D tensor, and how a slice's is called behind the slice's module.
struct Scale {
  const CheckpointTensor* tensor;
  std::string_view suffix;
};

std::vector<Scale> scales_of(const Checkpoint& checkpoint, const CheckpointTensor& weight) {
  std::vector<Scale> out;
  const auto add_first = [&](std::initializer_list<std::pair<const char*, const char*>> names) {
    for (const auto& [name, suffix] : names) {
      const CheckpointTensor* scale = checkpoint.find(weight.name + name);
      if (scale == nullptr) continue;
      out.push_back({scale, suffix});
      return true;
    }
    return false;
  };
  // ModelOpt's is "gate_up_proj_weight_scale".
  const bool scaled =
      add_first({{"_scale_inv", ".weight_scale_inv"}, {"_scale", ".weight_scale"}, {"_weight_scale", ".weight_scale"}});
  if (!scaled) return {};
  add_first({{"_input_scale", ".input_scale"}, {"_activation_scale", ".activation_scale"}});
  return out;
}

std::string_view prefix_of(std::string_view name) { return name.substr(0, name.find(kExperts) + kExperts.size()); }

std::string_view leaf_of(std::string_view name) {
  std::string_view leaf = name.substr(prefix_of(name).size());
  if (leaf.ends_with(".weight")) leaf.remove_suffix(7);
  return leaf;
}

// Sets Block::transposed, or says why the block stays in one piece.
std::string why_whole(Block& block, std::uint64_t hidden, const Family& family) {
  const std::string model = printable(family.model_type);
  if (family.model_type.starts_with("gpt_oss")) {
    return "gate and up of gpt-oss alternate and have biases: loaders take such experts in BF16 or MXFP4, and in none "
           "of "
           "the FP8 forms that Octavo writes";
  }
  if (block.biased) return "they have biases, and no loader is known to take such experts one by one";
  if (block.gate_up == nullptr || block.down == nullptr) return "only gate_up_proj and down_proj together are split";
  if (hidden == 0) return "config.json has no hidden_size, so it is not known how they lie";
  if (lies(block, hidden, false)) return "";
  if (!lies(block, hidden, true)) {
    return fmt::format("gate_up_proj {} and down_proj {} lie in no known way for a hidden_size of {}",
                       shape_string(block.gate_up->shape), shape_string(block.down->shape), hidden);
  }
  if (!family.transposed) {
    return fmt::format(
        "they lie transposed, [experts, in, out], and of model_type \"{}\" it is not known whether gate "
        "and up are halves",
        model);
  }
  block.transposed = true;
  return "";
}

}  // namespace

std::string_view Checkpoint::why_joined(std::string_view tensor) const {
  if (tensor.find(kExperts) == std::string_view::npos) return "";
  const auto it = joined_.find(prefix_of(tensor));
  return it == joined_.end() ? std::string_view() : it->second;
}

void Checkpoint::split_experts() {
  std::unordered_map<std::string_view, Block> blocks;  // by "model.layers.3.mlp.experts."
  std::unordered_set<std::string_view> three;          // those that have a 3-D weight
  for (const CheckpointTensor& tensor : tensors_) {
    if (tensor.name.find(kExperts) == std::string::npos) continue;
    Block& block = blocks[prefix_of(tensor.name)];
    block.biased = block.biased || tensor.name.ends_with("_bias") || tensor.name.ends_with(".bias");
    const bool weight = is_quantizable(tensor.dtype) || is_fp8(tensor.dtype);
    if (tensor.shape.size() != 3 || tensor.bytes == 0 || !weight) continue;
    three.insert(prefix_of(tensor.name));
    if (leaf_of(tensor.name) == "gate_up_proj") block.gate_up = &tensor;
    if (leaf_of(tensor.name) == "down_proj") block.down = &tensor;
  }
  const std::uint64_t hidden = language_model_number(config_, "hidden_size");
  const Family family = family_of(config_);
  joined_.clear();
  for (const std::string_view prefix : three) {
    std::string why = why_whole(blocks.at(prefix), hidden, family);
    if (!why.empty()) joined_.emplace(prefix, std::move(why));
  }
  const auto layout = [&](const CheckpointTensor& tensor) -> Layout {
    if (tensor.shape.size() != 3 || tensor.name.find(kExperts) == std::string::npos) return {};
    const std::string_view prefix = prefix_of(tensor.name);
    const Block& block = blocks.at(prefix);
    if ((&tensor != block.gate_up && &tensor != block.down) || joined_.contains(prefix)) return {};
    return layout_of(tensor, block, tensor.name.find("block_sparse_moe") != std::string::npos);
  };
  // Scales go where their weight goes, and only with it.
  std::unordered_set<const CheckpointTensor*> scales;
  for (const CheckpointTensor& tensor : tensors_) {
    if (!is_fp8(tensor.dtype)) continue;
    const Layout cut = layout(tensor);
    if (cut.slices.empty()) continue;
    const auto own = scales_of(*this, tensor);
    for (const Scale& scale : own) scales.insert(scale.tensor);
    const CheckpointTensor* wrong = nullptr;
    for (const Slice& slice : cut.slices) {
      for (const Scale& scale : own) {
        if (!slice_scale(*scale.tensor, cut, 0, slice)) wrong = scale.tensor;
      }
    }
    if (!own.empty() && wrong == nullptr) continue;
    joined_.emplace(prefix_of(tensor.name),
                    own.empty() ? fmt::format("\"{}\" has no scale of a known name", printable(tensor.name))
                                : fmt::format("the scale \"{}\" {} cannot be cut where gate ends and up begins",
                                              printable(wrong->name), shape_string(wrong->shape)));
  }
  std::vector<CheckpointTensor> split;
  std::vector<SplitTensor> stored;
  split.reserve(tensors_.size());
  for (const CheckpointTensor& tensor : tensors_) {
    if (scales.contains(&tensor) && !joined_.contains(prefix_of(tensor.name))) continue;
    const Layout cut = layout(tensor);
    if (cut.slices.empty()) {
      split.push_back(tensor);
      continue;
    }
    const std::string prefix(prefix_of(tensor.name));
    const auto own = is_fp8(tensor.dtype) ? scales_of(*this, tensor) : std::vector<Scale>();
    const auto number = static_cast<std::uint32_t>(stored.size());
    stored.push_back({tensor.name, tensor.dtype, tensor.shape, cut.transposed});
    for (std::uint64_t expert = 0; expert < cut.experts; ++expert) {
      for (const Slice& slice : cut.slices) {
        const std::string module = fmt::format("{}{}.{}", prefix, expert, slice.leaf);
        CheckpointTensor weight = slice_weight(tensor, cut, expert, slice);
        weight.name = module + ".weight";
        weight.part_of = number;
        split.push_back(std::move(weight));
        for (const Scale& scale : own) {
          CheckpointTensor part = *slice_scale(*scale.tensor, cut, expert, slice);
          part.name = module + std::string(scale.suffix);
          split.push_back(std::move(part));
        }
      }
    }
  }
  // Shard by shard, as plans and schedules take them; within a shard, scales stand beside their weights.
  std::stable_sort(split.begin(), split.end(), [](const auto& a, const auto& b) { return a.shard < b.shard; });
  // A folder that has both forms keeps what it has.
  NameTable names;
  const auto name_at = [&](std::uint32_t i) -> std::string_view { return split[i].name; };
  for (std::uint32_t i = 0; i < split.size(); ++i) {
    if (names.add(split[i].name, i, name_at)) continue;
    for (const CheckpointTensor& tensor : tensors_) {
      if (layout(tensor).slices.empty()) continue;
      joined_.emplace(prefix_of(tensor.name), fmt::format("the folder holds some of them one by one as well (\"{}\")",
                                                          printable(split[i].name)));
    }
    return;
  }
  split_tensors_ = std::move(stored);
  tensors_ = std::move(split);
  by_name_ = std::move(names);
}

}  // namespace octavo
