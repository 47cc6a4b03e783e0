// Choosing among a folder's weight files, and their two formats.
#include "octavo/checkpoint/weight_files.h"

#include <algorithm>

#include "octavo/base/text.h"
#include "octavo/checkpoint/torch/torch_file.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSafetensorsIndex = "model.safetensors.index.json";
constexpr const char* kTorchIndex = "pytorch_model.bin.index.json";

template <typename Predicate>
std::vector<std::string> filter(const std::vector<std::string>& names, Predicate predicate) {
  std::vector<std::string> out;
  std::copy_if(names.begin(), names.end(), std::back_inserter(out), predicate);
  return out;
}

// Why there is nothing to open.
Error no_weights(const fs::path& dir, const std::vector<std::string>& names) {
  const auto some = [&](std::string_view suffix) {
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return name.ends_with(suffix); });
  };
  const auto shards = filter(
      names, [](const std::string& name) { return name.starts_with("pytorch_model-") && name.ends_with(".bin"); });
  if (!shards.empty()) {
    return failure("{}: {} of a model's shards but no {}: an incomplete download?", dir.string(), shards.size(),
                   kTorchIndex);
  }
  if (some(".bin") || some(".pth") || some(".pt")) {
    return failure(
        "{}: holds PyTorch weights that are not called pytorch_model.bin; Octavo reads that and safetensors: save the "
        "model again with save_pretrained(..., safe_serialization=True)",
        dir.string());
  }
  if (some(".gguf")) {
    return failure("{}: holds a GGUF file; run `octavo import FILE.gguf -o DIR` first", dir.string());
  }
  std::error_code error;
  if (fs::is_directory(dir / "snapshots", error)) {
    return failure("{}: a folder of the Hugging Face cache; the model is one of its snapshots/*", dir.string());
  }
  return failure("{}: no model.safetensors and no {}", dir.string(), kSafetensorsIndex);
}

}  // namespace

Result<WeightFiles> find_weight_files(const fs::path& dir, const std::vector<std::string>& names) {
  const auto has = [&](std::string_view name) { return std::binary_search(names.begin(), names.end(), name); };
  std::error_code error;
  if (fs::exists(dir / kSafetensorsIndex, error)) return WeightFiles{WeightFormat::kSafetensors, kSafetensorsIndex, ""};
  if (has("model.safetensors")) return WeightFiles{WeightFormat::kSafetensors, "", "model.safetensors"};
  if (fs::exists(dir / kTorchIndex, error)) return WeightFiles{WeightFormat::kTorch, kTorchIndex, ""};
  if (has("pytorch_model.bin")) return WeightFiles{WeightFormat::kTorch, "", "pytorch_model.bin"};
  const auto found = filter(names, [](const std::string& name) { return name.ends_with(".safetensors"); });
  if (found.size() == 1) return WeightFiles{WeightFormat::kSafetensors, "", found.front()};
  if (found.size() > 1) {
    return failure("{}: {} safetensors files but no {}: an incomplete download?", dir.string(), found.size(),
                   kSafetensorsIndex);
  }
  return no_weights(dir, names);
}

std::string_view weight_suffix(WeightFormat format) { return format == WeightFormat::kTorch ? ".bin" : ".safetensors"; }

std::string output_shard_name(std::string_view name, WeightFormat format) {
  if (format == WeightFormat::kSafetensors) return std::string(name);
  constexpr std::string_view kPrefix = "pytorch_";
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  if (name.ends_with(weight_suffix(format))) name.remove_suffix(weight_suffix(format).size());
  return std::string(name) + ".safetensors";
}

Result<ShardHead> read_shard_head(const ByteSource& source, WeightFormat format) {
  ShardHead out;
  if (format == WeightFormat::kTorch) {
    OCTAVO_ASSIGN(TorchFile file, read_torch_file(source));
    out.tensors = std::move(file.tensors);
    out.notes = std::move(file.notes);
    out.metadata = {{"format", "pt"}};
    return out;
  }
  OCTAVO_ASSIGN(SafetensorsHeader header, read_safetensors_header(source));
  for (TensorEntry& tensor : header.tensors) {
    tensor.begin += header.data_begin;
    tensor.end += header.data_begin;
  }
  out.tensors = std::move(header.tensors);
  out.metadata = std::move(header.metadata);
  return out;
}

}  // namespace octavo
