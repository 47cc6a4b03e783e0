// 3-D experts as 2-D tensors: slices of a row-major tensor along its first two dimensions lie in one piece each.
#include <algorithm>
#include <optional>
#include <string_view>

#include "octavo/checkpoint/checkpoint.h"

namespace octavo {
namespace {

constexpr std::string_view kExperts = ".experts.";

// hidden_size, also of the language model inside a multimodal one; 0 when unknown.
std::uint64_t hidden_size(const Json& config) {
  for (const char* inside : {"", "text_config", "llm_config"}) {
    const Json* part = &config;
    if (*inside != 0) {
      const auto it = config.find(inside);
      if (it == config.end() || !it->is_object()) continue;
      part = &*it;
    }
    const auto size = part->find("hidden_size");
    if (size != part->end() && size->is_number_unsigned()) return size->get<std::uint64_t>();
  }
  return 0;
}

struct Slice {
  std::string_view leaf;              // "gate_proj"
  std::uint64_t first = 0, rows = 0;  // of an expert's matrix
};

// What a 3-D tensor consists of; empty where its layout is another.
std::vector<Slice> slices_of(const CheckpointTensor& tensor, std::string_view leaf, bool mixtral,
                             std::uint64_t hidden) {
  const std::uint64_t rows = tensor.shape[1], columns = tensor.shape[2];
  if (hidden == 0) return {};
  if (leaf == "gate_up_proj" && columns == hidden && rows != hidden && rows % 2 == 0) {
    return {{mixtral ? "w1" : "gate_proj", 0, rows / 2}, {mixtral ? "w3" : "up_proj", rows / 2, rows / 2}};
  }
  if (leaf == "down_proj" && rows == hidden && columns != hidden) return {{mixtral ? "w2" : "down_proj", 0, rows}};
  return {};
}

}  // namespace

void Checkpoint::split_experts() {
  const std::uint64_t hidden = hidden_size(config_);
  const auto layout = [&](const CheckpointTensor& tensor) -> std::vector<Slice> {
    const std::size_t at = tensor.name.find(kExperts);
    if (at == std::string::npos || tensor.shape.size() != 3 || !is_quantizable(tensor.dtype) || tensor.bytes == 0) {
      return {};
    }
    std::string_view leaf = std::string_view(tensor.name).substr(at + kExperts.size());
    const std::string prefix = tensor.name.substr(0, at + kExperts.size());
    if (leaf.ends_with(".weight")) leaf.remove_suffix(7);
    for (const char* bias : {"gate_up_proj_bias", "gate_up_proj.bias", "down_proj_bias", "down_proj.bias"}) {
      if (find(prefix + bias) != nullptr) return {};
    }
    return slices_of(tensor, leaf, tensor.name.find("block_sparse_moe") != std::string::npos, hidden);
  };
  std::vector<CheckpointTensor> split;
  split.reserve(tensors_.size());
  for (CheckpointTensor& tensor : tensors_) {
    const auto slices = layout(tensor);
    if (slices.empty()) {
      split.push_back(tensor);
      continue;
    }
    const std::string prefix = tensor.name.substr(0, tensor.name.find(kExperts) + kExperts.size());
    const std::uint64_t row_bytes = tensor.shape[2] * dtype_bytes(tensor.dtype);
    for (std::uint64_t expert = 0; expert < tensor.shape[0]; ++expert) {
      for (const Slice& slice : slices) {
        const std::uint64_t at = tensor.offset + (expert * tensor.shape[1] + slice.first) * row_bytes;
        split.push_back({prefix + std::to_string(expert) + "." + std::string(slice.leaf) + ".weight",
                         tensor.dtype,
                         {slice.rows, tensor.shape[2]},
                         tensor.shard,
                         at,
                         slice.rows * row_bytes});
      }
    }
  }
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
