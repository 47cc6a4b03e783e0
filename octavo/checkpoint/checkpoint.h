// A Hugging Face model folder as it lies on disk: config.json, the shards' headers, every tensor's place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/json.h"
#include "octavo/base/name_table.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo {

struct CheckpointTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::uint32_t shard = 0;   // index into Checkpoint::shards()
  std::uint64_t offset = 0;  // from the start of the shard's file
  std::uint64_t bytes = 0;
};

struct Shard {
  std::string name;         // file name inside the folder
  std::string output_name;  // its name in an output, which is always safetensors: differs for pytorch_model*.bin
  std::map<std::string, std::string> metadata;
  std::shared_ptr<const File> file;
};

// Immutable after open; reading is safe from several threads. Move-only: plans and commands hold views of its names.
class Checkpoint {
 public:
  Checkpoint(Checkpoint&&) = default;
  Checkpoint& operator=(Checkpoint&&) = default;
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  // Opens `dir` (a folder with the weights that find_weight_files() finds: safetensors or pytorch_model.bin, one file
  // or shards with an index), reads every header and config.json. Fails in one sentence; a link to nowhere among the
  // files (hidden ones aside) is a failure too.
  static Result<Checkpoint> open(const std::filesystem::path& dir);

  const std::filesystem::path& dir() const { return dir_; }
  const std::vector<Shard>& shards() const { return shards_; }
  const std::vector<CheckpointTensor>& tensors() const { return tensors_; }  // by shard, then by offset
  const CheckpointTensor* find(std::string_view name) const;                 // nullptr when absent
  std::uint64_t data_bytes() const { return data_bytes_; }                   // sum of all tensors
  bool has_index() const { return index_.has_value(); }
  const std::string& index_name() const { return index_name_; }  // its file; "" without one
  // Without its weight_map, which has been checked: tensors() say the same.
  const std::optional<ShardIndex>& index() const { return index_; }

  // Tensors that stand in a shard but not, or elsewhere, in the index: loaders leave them out, so do all of ours.
  const std::vector<std::string>& unindexed() const { return unindexed_; }
  // What else of the weight files is not among tensors(), a sentence each (pytorch_model.bin only).
  const std::vector<std::string>& notes() const { return notes_; }

  const Json& config() const { return config_; }                   // config.json; an empty object when absent
  const std::string& config_text() const { return config_text_; }  // as it stands on disk; "" when absent
  bool has_config() const { return !config_text_.empty(); }
  std::filesystem::path config_path() const { return dir_ / "config.json"; }

  // Shows experts that are stored in one 3-D tensor, [experts, 2 x intermediate, hidden] and [experts, hidden,
  // intermediate], one by one, under the names that loaders give them: "experts.3.gate_proj.weight" and so on, with the
  // scales of those that are FP8. Nothing is read. Other layouts (transposed, interleaved or with biases) stay as they
  // are. To be called before anything holds views of the tensors.
  void split_experts();

  // Fills `out` with bytes of the tensor from `offset` (relative to the tensor).
  Status read(const CheckpointTensor& tensor, std::uint64_t offset, std::span<std::byte> out) const {
    return shards_[tensor.shard].file->read_at(tensor.offset + offset, out);
  }
  // `count` scales from index `first` as floats; the tensor is F32, BF16, F16, F8_E8M0, or U8 read as E8M0.
  Result<std::vector<float>> read_scales(const CheckpointTensor& tensor, std::uint64_t first,
                                         std::uint64_t count) const;
  // All scales of a tensor of at most `limit` bytes.
  Result<std::vector<float>> read_scales(const CheckpointTensor& tensor, std::uint64_t limit) const;

  // Files of the folder that are neither shards nor the index nor config.json: tokenizer and so on, sorted by name.
  // Sub-folders and weights in any format (*.bin, *.pth, *.gguf, ...) are left out.
  std::vector<std::string> other_files() const;
  // Sub-folders (links followed, hidden ones aside), sorted, with a '/' at the end: no command copies them.
  std::vector<std::string> left_out() const;

 private:
  Checkpoint() = default;
  Status read_config();
  void leave_out_tied_head();
  auto name_of() const {
    return [this](std::uint32_t i) -> std::string_view { return tensors_[i].name; };
  }
  std::filesystem::path dir_;
  std::vector<Shard> shards_;
  std::vector<CheckpointTensor> tensors_;
  NameTable by_name_;  // of tensors_
  std::optional<ShardIndex> index_;
  std::string index_name_;
  std::vector<std::string> unindexed_, notes_;
  Json config_ = Json::object();
  std::string config_text_;
  std::uint64_t data_bytes_ = 0;
};

}  // namespace octavo
