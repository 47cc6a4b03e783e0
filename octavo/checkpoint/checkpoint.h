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
#include "octavo/checkpoint/transpose.h"

namespace octavo {

struct CheckpointTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::uint32_t shard = 0;   // index into Checkpoint::shards()
  std::uint64_t offset = 0;  // from the start of the shard's file
  std::uint64_t bytes = 0;
  // Not 0: a matrix that lies transposed. Element (r, c) is at offset + (c * pitch + r) elements, and only the reading
  // functions of Checkpoint know it: to all others such a tensor is row-major like any.
  std::uint64_t pitch = 0;
  std::uint32_t part_of = kWhole;  // of a slice of a 3-D tensor: index into Checkpoint::split_tensors()

  static constexpr std::uint32_t kWhole = ~std::uint32_t{0};
};

// A 3-D tensor of experts that split_experts() shows one by one.
struct SplitTensor {
  std::string name;  // in the file
  DType dtype = DType::kF32;
  Shape shape;
  bool transposed = false;  // [experts, in, out]
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

  // Shows experts that are stored in one 3-D tensor one by one, under the names that loaders give them:
  // "experts.3.gate_proj.weight" and so on, with the scales of those that are FP8. Two layouts are split: [experts, 2 x
  // intermediate, hidden] with [experts, hidden, intermediate], and, of the architectures that are known to store them
  // so, the transposed [experts, hidden, 2 x intermediate] with [experts, intermediate, hidden]. Others stay as they
  // are, and why_joined() says why. Nothing is read. To be called before anything holds views of the tensors.
  void split_experts();
  const std::vector<SplitTensor>& split_tensors() const { return split_tensors_; }
  // The 3-D tensor that a tensor is a slice of; nullptr: it is what the file has under its name.
  const SplitTensor* split_tensor_of(const CheckpointTensor& tensor) const {
    return tensor.part_of == CheckpointTensor::kWhole ? nullptr : &split_tensors_[tensor.part_of];
  }
  // Why split_experts() left the 3-D tensor of experts as it is; "" for other tensors.
  std::string_view why_joined(std::string_view tensor) const;

  // Fills `out` with bytes of the tensor from `offset` (relative to the tensor, its elements row by row). Of a tensor
  // that lies transposed: whole elements, best whole rows, and many of them.
  Status read(const CheckpointTensor& tensor, std::uint64_t offset, std::span<std::byte> out) const {
    if (tensor.pitch != 0) return read_transposed_range(tensor, offset, out);
    return shards_[tensor.shard].file->read_at(tensor.offset + offset, out);
  }
  // The same of a rectangle, row by row and contiguous. The columns are those of the last dimension, the rows all that
  // stand before it.
  Status read_rectangle(const CheckpointTensor& tensor, const Rectangle& rectangle, std::span<std::byte> out) const;
  // Hints about the file's cache, for a tensor that is read from its first to its last row: read_ahead() before, and
  // drop_cache() of rows that are done with. Of a transposed tensor they mean all of it, as its rows share their pages.
  void read_ahead(const CheckpointTensor& tensor) const;
  void drop_cache(const CheckpointTensor& tensor, std::uint64_t offset, std::uint64_t bytes) const;

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
  Status read_transposed_range(const CheckpointTensor& tensor, std::uint64_t offset, std::span<std::byte> out) const;
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
  std::vector<SplitTensor> split_tensors_;
  std::map<std::string, std::string, std::less<>> joined_;  // "model.layers.0.mlp.experts." -> why
  std::vector<std::string> unindexed_, notes_;
  Json config_ = Json::object();
  std::string config_text_;
  std::uint64_t data_bytes_ = 0;
};

}  // namespace octavo
