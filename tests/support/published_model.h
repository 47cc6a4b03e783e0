// Checkpoints of published models from their config.json alone: every tensor's name, shape and dtype as the release has
// them, in files that are all header (their data is never written). For planning at full size without a download.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "octavo/base/dtype.h"
#include "octavo/base/json.h"
#include "octavo/base/status.h"

namespace octavo::test {

// What the model's own code makes of a tensor.
enum class PublishedKind : std::uint8_t {
  kLinear,     // nn.Linear inside a decoder layer
  kRouter,     // what chooses the experts, whether the code has it as nn.Linear or as a bare parameter
  kHead,       // the output head
  kMtpLinear,  // what joins a multi-token-prediction layer to the model: eh_proj, its copy of the head
  kEmbedding,
  kOther,  // norms, biases
};

struct PublishedTensor {
  std::string name;
  Shape shape;
  DType dtype = DType::kBF16;
  PublishedKind kind = PublishedKind::kOther;
};

// The unquantized model of a config.json (its quantization_config is not looked at). Known are the model_types llama,
// qwen2, qwen3, qwen3_moe, mixtral, deepseek_v3, glm_moe_dsa and opt; others are an error.
Result<std::vector<PublishedTensor>> published_tensors(const Json& config);

// The same model as DeepSeek released it: the linears of layers in E4M3 with F32 `weight_scale_inv` for 128x128 blocks.
std::vector<PublishedTensor> as_block_fp8(const std::vector<PublishedTensor>& tensors);

// Writes config.json and about `shards` files of equal size (with an index beside more than one) into a new folder.
Status write_header_only(const std::filesystem::path& dir, const Json& config,
                         const std::vector<PublishedTensor>& tensors, std::size_t shards);

}  // namespace octavo::test
