// Small Hugging Face folders for tests: tensors in memory that can be changed, then written as one file or as shards
// with an index. Writes safetensors with code of its own, so that the readers and writers under test meet a stranger.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/dtype.h"
#include "octavo/base/json.h"
#include "octavo/checkpoint/checkpoint.h"

namespace octavo::test {

struct BuiltTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;  // little-endian, row-major
  std::size_t shard = 0;         // counted from 0
};

// Mistakes of the test itself (an unknown name, bytes that do not fit the shape) abort with a message.
class CheckpointBuilder {
 public:
  // Adds a tensor behind the others; the files hold their tensors in this order.
  CheckpointBuilder& add(std::string name, DType dtype, Shape shape, std::vector<std::byte> bytes,
                         std::size_t shard = 0);
  CheckpointBuilder& add_bf16(std::string name, Shape shape, std::span<const std::uint16_t> bits,
                              std::size_t shard = 0);
  CheckpointBuilder& add_f32(std::string name, Shape shape, std::span<const float> values, std::size_t shard = 0);
  // Values of tests/support/random_tensor.h; dtype BF16, F16 or F32.
  CheckpointBuilder& add_random(std::string name, DType dtype, Shape shape, std::uint64_t seed, std::size_t shard = 0);

  const std::vector<BuiltTensor>& tensors() const& { return tensors_; }
  std::vector<BuiltTensor> tensors() && { return std::move(tensors_); }  // `for (x : tiny_model().tensors())` is safe
  bool has(std::string_view name) const;
  BuiltTensor& at(std::string_view name);
  void remove(std::string_view name);
  void rename(std::string_view from, std::string to);
  // Every tensor of shard `i % shards` in turn; with more than one shard write() makes an index.
  void spread(std::size_t shards);

  // config.json. Set to null, the folder gets none.
  Json& config() { return config_; }
  const Json& config() const { return config_; }
  // Further files: name and content.
  CheckpointBuilder& add_file(std::string name, std::string text) {
    files_.emplace_back(std::move(name), std::move(text));
    return *this;
  }
  // The index as it will be written, to be changed; nullopt: as it should be (and none for one shard).
  std::optional<Json>& index() { return index_; }
  Json correct_index() const;

  // Writes the folder (made if needed; files of the same name are replaced) and returns `dir`.
  std::filesystem::path write(const std::filesystem::path& dir) const;
  // Writes and opens it; fails the test when that fails.
  Checkpoint open(const std::filesystem::path& dir) const;

 private:
  std::size_t shard_count() const;
  std::string shard_name(std::size_t shard) const;  // "model.safetensors" or "model-00001-of-00003.safetensors"

  std::vector<BuiltTensor> tensors_;
  std::vector<std::pair<std::string, std::string>> files_;
  Json config_ = Json::object();
  std::optional<Json> index_;
};

// The bytes of a vector of numbers.
template <typename T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span<const T>(values));
  return {bytes.begin(), bytes.end()};
}

// A decoder with random weights under the names of Llama, Qwen and their mixtures of experts.
struct TinyModel {
  std::string model_type = "qwen3";
  std::uint64_t layers = 2, hidden = 256, intermediate = 384, vocab = 320;
  std::uint64_t heads = 4, kv_heads = 2, head_dim = 64;
  std::uint64_t experts = 0;  // routed experts a layer (mlp.gate, mlp.experts.N.*); 0: a dense model
  bool tied = false;          // no lm_head.weight
  DType dtype = DType::kBF16;
  std::uint64_t seed = 1;
};
CheckpointBuilder tiny_model(const TinyModel& model = {});

}  // namespace octavo::test
