// 3-D experts as 2-D tensors: slices of a row-major tensor along its first two dimensions lie in one piece each.
#include <algorithm>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/model_config.h"

namespace octavo {
namespace {

constexpr std::string_view kExperts = ".experts.";

// hidden_size, also of the language model inside a multimodal one; 0 when unknown.
std::uint64_t hidden_size(const Json& config) {
  const auto size_in = [](const Json& part) -> std::uint64_t {
    const auto size = part.find("hidden_size");
    return size != part.end() && size->is_number_unsigned() ? size->get<std::uint64_t>() : 0;
  };
  if (const std::uint64_t size = size_in(config)) return size;
  for (const char* key : kLanguageModelKeys) {
    const auto part = config.find(key);
    if (part == config.end() || !part->is_object()) continue;
    if (const std::uint64_t size = size_in(*part)) return size;
  }
  return 0;
}

struct Slice {
  std::string_view leaf;              // "gate_proj"
  std::uint64_t first = 0, rows = 0;  // of an expert's matrix
};

// The two tensors of a block of experts.
struct Block {
  const CheckpointTensor *gate_up = nullptr, *down = nullptr;
  bool biased = false;
};

// Whether they are [experts, 2 x intermediate, hidden] and [experts, hidden, intermediate]: only both together say it,
// as hidden may equal intermediate, or twice that.
bool is_standard(const Block& block, std::uint64_t hidden) {
  if (block.gate_up == nullptr || block.down == nullptr || block.biased) return false;
  const Shape &a = block.gate_up->shape, &b = block.down->shape;
  return a[0] == b[0] && a[2] == hidden && b[1] == hidden && b[2] != 0 && a[1] / 2 == b[2] && a[1] % 2 == 0 &&
         block.gate_up->dtype == block.down->dtype;
}

// What a 3-D tensor consists of.
std::vector<Slice> slices_of(const CheckpointTensor& tensor, bool gate_up, bool mixtral) {
  const std::uint64_t rows = tensor.shape[1];
  if (!gate_up) return {{mixtral ? "w2" : "down_proj", 0, rows}};
  return {{mixtral ? "w1" : "gate_proj", 0, rows / 2}, {mixtral ? "w3" : "up_proj", rows / 2, rows / 2}};
}

// The scales of a slice of an expert, as a tensor of their own: one an expert, one a row, or a grid whose blocks end
// where the slice ends. nullopt: they lie otherwise.
std::optional<CheckpointTensor> slice_scale(const CheckpointTensor& scale, const CheckpointTensor& weight,
                                            std::uint64_t expert, const Slice& slice) {
  const std::uint64_t experts = weight.shape[0], rows = weight.shape[1], width = dtype_bytes(scale.dtype);
  if (scale.shape.empty() || scale.shape[0] != experts || width == 0) return std::nullopt;
  const std::uint64_t each = scale.bytes / experts;  // bytes
  CheckpointTensor out{"", scale.dtype, {}, scale.shard, scale.offset + expert * each, each};
  if (each == width) return out;
  if (scale.shape.size() != 3 || rows % scale.shape[1] != 0) return std::nullopt;
  const std::uint64_t block = rows / scale.shape[1];
  if (slice.first % block != 0 || slice.rows % block != 0) return std::nullopt;
  out.shape = {slice.rows / block, scale.shape[2]};
  out.offset += slice.first / block * scale.shape[2] * width;
  out.bytes = out.shape[0] * out.shape[1] * width;
  return out;
}

}  // namespace

void Checkpoint::split_experts() {
  const std::uint64_t hidden = hidden_size(config_);
  std::unordered_map<std::string_view, Block> blocks;  // by "model.layers.3.mlp.experts."
  const auto prefix_of = [](std::string_view name) { return name.substr(0, name.find(kExperts) + kExperts.size()); };
  const auto leaf_of = [&](std::string_view name) {
    std::string_view leaf = name.substr(prefix_of(name).size());
    if (leaf.ends_with(".weight")) leaf.remove_suffix(7);
    return leaf;
  };
  for (const CheckpointTensor& tensor : tensors_) {
    if (tensor.name.find(kExperts) == std::string::npos) continue;
    Block& block = blocks[prefix_of(tensor.name)];
    block.biased = block.biased || tensor.name.ends_with("_bias") || tensor.name.ends_with(".bias");
    const bool weight = is_quantizable(tensor.dtype) || is_fp8(tensor.dtype);
    if (tensor.shape.size() != 3 || tensor.bytes == 0 || !weight) continue;
    if (leaf_of(tensor.name) == "gate_up_proj") block.gate_up = &tensor;
    if (leaf_of(tensor.name) == "down_proj") block.down = &tensor;
  }
  const auto layout = [&](const CheckpointTensor& tensor) -> std::vector<Slice> {
    if (tensor.shape.size() != 3 || tensor.name.find(kExperts) == std::string::npos) return {};
    const Block& block = blocks.at(prefix_of(tensor.name));
    if ((&tensor != block.gate_up && &tensor != block.down) || !is_standard(block, hidden)) return {};
    return slices_of(tensor, &tensor == block.gate_up, tensor.name.find("block_sparse_moe") != std::string::npos);
  };
  // Scales go where their weight goes, and only with it.
  std::unordered_map<const CheckpointTensor*, std::string> scales;  // -> their suffix
  std::unordered_set<std::string_view> whole;                       // blocks where a scale cannot be split
  const auto scale_of = [&](const CheckpointTensor& weight) -> std::pair<const CheckpointTensor*, const char*> {
    for (const char* suffix : {"_scale_inv", "_scale"}) {
      if (const CheckpointTensor* scale = find(weight.name + suffix)) return {scale, suffix};
    }
    return {nullptr, ""};
  };
  for (const CheckpointTensor& tensor : tensors_) {
    if (!is_fp8(tensor.dtype)) continue;
    const auto slices = layout(tensor);
    if (slices.empty()) continue;
    const auto [scale, suffix] = scale_of(tensor);
    const bool can = scale != nullptr && std::all_of(slices.begin(), slices.end(), [&](const Slice& slice) {
                       return slice_scale(*scale, tensor, 0, slice).has_value();
                     });
    if (can) {
      scales.emplace(scale, suffix);
    } else {
      whole.insert(prefix_of(tensor.name));
    }
  }
  std::vector<CheckpointTensor> split;
  split.reserve(tensors_.size());
  for (const CheckpointTensor& tensor : tensors_) {
    if (scales.contains(&tensor) && !whole.contains(prefix_of(tensor.name))) continue;
    const auto slices = whole.contains(prefix_of(tensor.name)) ? std::vector<Slice>() : layout(tensor);
    if (slices.empty()) {
      split.push_back(tensor);
      continue;
    }
    const std::string prefix = tensor.name.substr(0, tensor.name.find(kExperts) + kExperts.size());
    const std::uint64_t row_bytes = tensor.shape[2] * dtype_bytes(tensor.dtype);
    const auto [scale, suffix] =
        is_fp8(tensor.dtype) ? scale_of(tensor) : std::pair<const CheckpointTensor*, const char*>{};
    for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert) {
      for (const Slice& slice : slices) {
        const std::uint64_t at = tensor.offset + (expert * tensor.shape[1] + slice.first) * row_bytes;
        const std::string name = prefix + std::to_string(expert) + "." + std::string(slice.leaf) + ".weight";
        split.push_back({name, tensor.dtype, {slice.rows, tensor.shape[2]}, tensor.shard, at, slice.rows * row_bytes});
        if (scale == nullptr) continue;
        CheckpointTensor part = *slice_scale(*scale, tensor, expert, slice);
        part.name = name + suffix;
        split.push_back(std::move(part));
      }
    }
  }
  // Shard by shard, as plans and schedules take them; within a shard, scales stand beside their weights.
  std::stable_sort(split.begin(), split.end(), [](const auto& a, const auto& b) { return a.shard < b.shard; });
  // A folder that has both forms keeps what it has.
  NameTable names;
  const auto name_at = [&](std::uint32_t i) -> std::string_view { return split[i].name; };
  for (std::uint32_t i = 0; i < split.size(); ++i) {
    if (!names.add(split[i].name, i, name_at)) return;
  }
  tensors_ = std::move(split);
  by_name_ = std::move(names);
}

}  // namespace octavo
