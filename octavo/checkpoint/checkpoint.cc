// Opening a Hugging Face model folder.
#include "octavo/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstring>

#include "octavo/base/text.h"
#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIndexName = "model.safetensors.index.json";
// A config that names every linear of the largest mixtures twice has 8 MB, their index 25 MB.
constexpr std::uint64_t kMaxConfigBytes = 32ull << 20;
constexpr std::uint64_t kMaxIndexBytes = 128ull << 20;

// The first link of `dir` whose target is absent: in a download cut short, or a cache that lost its blobs.
Status check_links(const fs::path& dir) {
  std::error_code error;
  std::vector<std::string> broken;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    const std::string name = it->path().filename().string();
    if (name.front() != '.' && it->is_symlink(ignored) && !it->exists(ignored)) broken.push_back(name);
  }
  if (error) return failure("{}: cannot list: {}", dir.string(), error.message());
  if (broken.empty()) return {};
  const std::string& first = *std::min_element(broken.begin(), broken.end());
  return failure("{}: a link to nowhere: an incomplete download?", (dir / printable(first)).string());
}

// Names of the regular files (links followed) in `dir`, sorted.
Result<std::vector<std::string>> list_files(const fs::path& dir) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) names.push_back(it->path().filename().string());
  }
  if (error) return failure("{}: cannot list: {}", dir.string(), error.message());
  std::sort(names.begin(), names.end());
  return names;
}

bool has_suffix(const std::vector<std::string>& names, std::string_view suffix) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) { return name.ends_with(suffix); });
}

// The single weight file of a folder without an index.
Result<std::string> single_weight_file(const fs::path& dir, const std::vector<std::string>& names) {
  if (std::binary_search(names.begin(), names.end(), "model.safetensors")) return std::string("model.safetensors");
  std::vector<std::string> found;
  std::copy_if(names.begin(), names.end(), std::back_inserter(found),
               [](const std::string& name) { return name.ends_with(".safetensors"); });
  if (found.size() == 1) return found.front();
  if (found.size() > 1) {
    return failure("{}: {} safetensors files but no {}: an incomplete download?", dir.string(), found.size(),
                   kIndexName);
  }
  if (has_suffix(names, ".bin") || has_suffix(names, ".pth") || has_suffix(names, ".pt")) {
    return failure(
        "{}: holds only PyTorch pickle weights; Octavo reads safetensors: save the model again with "
        "save_pretrained(..., safe_serialization=True)",
        dir.string());
  }
  if (has_suffix(names, ".gguf")) {
    return failure("{}: holds a GGUF file; run `octavo import FILE.gguf -o DIR` first", dir.string());
  }
  std::error_code error;
  if (fs::is_directory(dir / "snapshots", error)) {
    return failure("{}: a folder of the Hugging Face cache; the model is one of its snapshots/*", dir.string());
  }
  return failure("{}: no model.safetensors and no {}", dir.string(), kIndexName);
}

// Which tensor of which shard a checkpoint shows: those the index maps to that shard, or all without an index. Knows
// which of them it was asked for.
class Visible {
  auto name_of() const {
    return [this](std::uint32_t i) -> std::string_view { return index_->weight_map[i].first; };
  }

 public:
  explicit Visible(const std::optional<ShardIndex>& index) : index_(index) {
    if (!index) return;
    for (std::uint32_t i = 0; i < index->weight_map.size(); ++i) numbers_.add(index->weight_map[i].first, i, name_of());
    seen_.assign(index->weight_map.size(), false);
  }
  bool operator()(std::string_view tensor, std::uint32_t shard) {
    if (!index_) return true;
    const std::uint32_t number = numbers_.find(tensor, name_of());
    if (number == NameTable::kNone || index_->weight_map[number].second != shard) return false;
    seen_[number] = true;
    return true;
  }
  // The first tensor that the index names and no shard has shown.
  const std::pair<std::string, std::uint32_t>* missing() const {
    const auto it = std::find(seen_.begin(), seen_.end(), false);
    return it == seen_.end() ? nullptr : &index_->weight_map[static_cast<std::size_t>(it - seen_.begin())];
  }

 private:
  const std::optional<ShardIndex>& index_;
  NameTable numbers_;
  std::vector<bool> seen_;
};

Result<ShardIndex> read_shard_index(const fs::path& path) {
  OCTAVO_ASSIGN(const File file, File::open_read(path));
  if (file.size() > kMaxIndexBytes) {
    return failure("{}: {} bytes, more than the {} that an index may have", path.string(), file.size(), kMaxIndexBytes);
  }
  JsonRange json{file};
  json.length = file.size();
  return parse_shard_index(json, path.string());
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const fs::path& dir) {
  std::error_code error;
  if (dir.empty()) return usage_error("the model folder's name is empty");
  if (!fs::exists(dir, error)) {
    return error ? failure("{}: {}", dir.string(), error.message()) : failure("{}: no such folder", dir.string());
  }
  if (!fs::is_directory(dir, error)) {
    const bool gguf = dir.extension() == ".gguf";
    return failure("{}: is a file, a model folder is needed{}", dir.string(),
                   gguf ? "; run `octavo import FILE.gguf -o DIR` first" : "");
  }
  Checkpoint checkpoint;
  checkpoint.dir_ = dir;
  OCTAVO_TRY(check_links(dir));
  OCTAVO_ASSIGN(const auto names, list_files(dir));

  std::vector<std::string> shard_names;
  if (fs::exists(dir / kIndexName, error)) {
    OCTAVO_ASSIGN(checkpoint.index_, read_shard_index(dir / kIndexName));
    shard_names = checkpoint.index_->shards;
    checkpoint.tensors_.reserve(checkpoint.index_->weight_map.size());
  } else {
    OCTAVO_ASSIGN(std::string name, single_weight_file(dir, names));
    shard_names.push_back(std::move(name));
  }

  Visible visible(checkpoint.index_);
  for (std::uint32_t i = 0; i < shard_names.size(); ++i) {
    const fs::path path = dir / shard_names[i];
    if (checkpoint.index_ && !fs::exists(path, error)) {
      return failure("{}: shard {} is missing, {} names it: an incomplete download?", dir.string(),
                     printable(shard_names[i]), kIndexName);
    }
    OCTAVO_ASSIGN(File file, File::open_read(path));
    OCTAVO_ASSIGN(SafetensorsHeader header, read_safetensors_header(file));
    if (!checkpoint.index_) checkpoint.tensors_.reserve(header.tensors.size());
    for (TensorEntry& t : header.tensors) {
      if (!visible(t.name, i)) {
        checkpoint.unindexed_.push_back(t.name);
        continue;
      }
      checkpoint.data_bytes_ += t.bytes();
      checkpoint.tensors_.push_back(
          {std::move(t.name), t.dtype, std::move(t.shape), i, header.data_begin + t.begin, t.end - t.begin});
    }
    checkpoint.shards_.push_back(
        {shard_names[i], std::move(header.metadata), std::make_shared<const File>(std::move(file))});
  }
  if (const auto* missing = visible.missing()) {
    return failure("{}: {} says tensor \"{}\" is in {}, which does not hold it", dir.string(), kIndexName,
                   printable(missing->first), printable(checkpoint.index_->shards[missing->second]));
  }
  if (checkpoint.index_) decltype(ShardIndex::weight_map)().swap(checkpoint.index_->weight_map);
  for (std::uint32_t i = 0; i < checkpoint.tensors_.size(); ++i) {
    checkpoint.by_name_.add(checkpoint.tensors_[i].name, i, checkpoint.name_of());
  }

  if (fs::exists(checkpoint.config_path(), error)) {
    OCTAVO_ASSIGN(checkpoint.config_text_, read_text_file(checkpoint.config_path(), kMaxConfigBytes));
    JsonOptions options;
    options.python_constants = true;
    OCTAVO_ASSIGN(checkpoint.config_, parse_json(checkpoint.config_text_, checkpoint.config_path().string(), options));
    if (!checkpoint.config_.is_object()) {
      return failure("{}: must be an object, not {}", checkpoint.config_path().string(),
                     json_type_name(checkpoint.config_));
    }
  }
  return checkpoint;
}

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  const std::uint32_t number = by_name_.find(name, name_of());
  return number == NameTable::kNone ? nullptr : &tensors_[number];
}

Result<std::vector<float>> Checkpoint::read_scales(const CheckpointTensor& tensor, std::uint64_t limit) const {
  if (tensor.bytes > limit) {
    return failure("tensor \"{}\": {} bytes are too many for a scale", printable(tensor.name), tensor.bytes);
  }
  return read_scales(tensor, 0, element_count(tensor.shape).value_or(0));
}

Result<std::vector<float>> Checkpoint::read_scales(const CheckpointTensor& tensor, std::uint64_t first,
                                                   std::uint64_t count) const {
  const std::uint64_t width = dtype_bytes(tensor.dtype);
  const std::uint64_t stored = width == 0 ? 0 : tensor.bytes / width;
  if (first > stored || count > stored - first) {
    return failure("tensor \"{}\": has no scales {} to {}", printable(tensor.name), first, first + count);
  }
  std::vector<std::byte> raw(count * width);
  OCTAVO_TRY(read(tensor, first * width, raw));
  std::vector<float> out(count);
  const auto u16 = [&](std::size_t i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, raw.data() + 2 * i, 2);
    return bits;
  };
  switch (tensor.dtype) {
    case DType::kF32:
      if (count != 0) std::memcpy(out.data(), raw.data(), raw.size());
      return out;
    case DType::kBF16:
      for (std::size_t i = 0; i < count; ++i) out[i] = fp8::bf16_to_float(u16(i));
      return out;
    case DType::kF16:
      for (std::size_t i = 0; i < count; ++i) out[i] = fp8::f16_to_float(u16(i));
      return out;
    case DType::kF8E8M0:
    case DType::kU8:
      for (std::size_t i = 0; i < count; ++i) out[i] = fp8::e8m0_decode(std::to_integer<std::uint8_t>(raw[i]));
      return out;
    default:
      return failure("tensor \"{}\": {} is not a scale's dtype", printable(tensor.name), dtype_name(tensor.dtype));
  }
}

std::vector<std::string> Checkpoint::other_files() const {
  static constexpr std::array kWeightSuffixes = {".safetensors", ".bin",     ".pt", ".pth",        ".gguf",  ".onnx",
                                                 ".h5",          ".msgpack", ".ot", ".index.json", ".tflite"};
  std::vector<std::string> out;
  const auto names = list_files(dir_);
  if (!names.ok()) return out;  // the folder was listed at open; one that vanished since has nothing to copy
  for (const std::string& name : *names) {
    const bool weights = std::any_of(kWeightSuffixes.begin(), kWeightSuffixes.end(),
                                     [&](std::string_view suffix) { return name.ends_with(suffix); });
    if (!weights && name != "config.json" && name.front() != '.') out.push_back(name);
  }
  return out;
}

std::vector<std::string> Checkpoint::left_out() const {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator it(dir_, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    std::error_code ignored;
    if (it->is_directory(ignored) && name.front() != '.') out.push_back(name + "/");
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace octavo
