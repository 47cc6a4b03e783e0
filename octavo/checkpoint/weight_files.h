// Which files of a model folder hold its weights, and reading the head of one, whatever its format.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo {

enum class WeightFormat { kSafetensors, kTorch };

struct WeightFiles {
  WeightFormat format = WeightFormat::kSafetensors;
  std::string index;   // the index's file name; "" when there is none
  std::string single;  // the one file of a folder without an index
};

// In the order of transformers: safetensors (with an index, or model.safetensors), then pytorch_model.bin.index.json or
// pytorch_model.bin; last a single *.safetensors of another name. `names`: the folder's files, sorted. Fails in one
// sentence that says what stands there instead.
Result<WeightFiles> find_weight_files(const std::filesystem::path& dir, const std::vector<std::string>& names);

std::string_view weight_suffix(WeightFormat format);  // ".safetensors"

// The name that a shard of this name has in an output, which is always safetensors:
// pytorch_model-00001-of-00002.bin -> model-00001-of-00002.safetensors.
std::string output_shard_name(std::string_view name, WeightFormat format);

struct ShardHead {
  std::vector<TensorEntry> tensors;  // begin and end from the start of the file; by place
  std::map<std::string, std::string> metadata;
  std::vector<std::string> notes;  // a sentence each: what lies in the file and is not read
};
Result<ShardHead> read_shard_head(const ByteSource& source, WeightFormat format);

}  // namespace octavo
