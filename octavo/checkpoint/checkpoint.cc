// Opening a Hugging Face model folder.
#include "octavo/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstring>

#include "octavo/base/text.h"
#include "octavo/checkpoint/weight_files.h"
#include "octavo/fp8/half.h"
#include "octavo/fp8/scale.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

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

Result<ShardIndex> read_shard_index(const fs::path& path, std::string_view suffix) {
  OCTAVO_ASSIGN(const File file, File::open_read(path));
  if (file.size() > kMaxIndexBytes) {
    return failure("{}: {} bytes, more than the {} that an index may have", path.string(), file.size(), kMaxIndexBytes);
  }
  JsonRange json{file};
  json.length = file.size();
  return parse_shard_index(json, path.string(), suffix);
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

  OCTAVO_TRY(checkpoint.read_config());

  OCTAVO_ASSIGN(const WeightFiles weights, find_weight_files(dir, names));
  checkpoint.index_name_ = weights.index;
  std::vector<std::string> shard_names{weights.single};
  if (!weights.index.empty()) {
    OCTAVO_ASSIGN(checkpoint.index_, read_shard_index(dir / weights.index, weight_suffix(weights.format)));
    shard_names = checkpoint.index_->shards;
    checkpoint.tensors_.reserve(checkpoint.index_->weight_map.size());
  }

  Visible visible(checkpoint.index_);
  for (std::uint32_t i = 0; i < shard_names.size(); ++i) {
    const fs::path path = dir / shard_names[i];
    if (checkpoint.index_ && !fs::exists(path, error)) {
      return failure("{}: shard {} is missing, {} names it: an incomplete download?", dir.string(),
                     printable(shard_names[i]), weights.index);
    }
    OCTAVO_ASSIGN(File file, File::open_read(path));
    OCTAVO_ASSIGN(ShardHead head, read_shard_head(file, weights.format));
    if (!checkpoint.index_) checkpoint.tensors_.reserve(head.tensors.size());
    for (TensorEntry& t : head.tensors) {
      if (!visible(t.name, i)) {
        checkpoint.unindexed_.push_back(t.name);
        continue;
      }
      checkpoint.tensors_.push_back({std::move(t.name), t.dtype, std::move(t.shape), i, t.begin, t.bytes()});
    }
    for (const std::string& note : head.notes) {
      checkpoint.notes_.push_back(fmt::format("{}: {}", printable(shard_names[i]), note));
    }
    std::string output_name = output_shard_name(shard_names[i], weights.format);
    for (const Shard& other : checkpoint.shards_) {
      if (other.output_name != output_name) continue;
      return failure("{}: shards {} and {} would both become {}", dir.string(), printable(other.name),
                     printable(shard_names[i]), printable(output_name));
    }
    checkpoint.shards_.push_back({shard_names[i], std::move(output_name), std::move(head.metadata),
                                  std::make_shared<const File>(std::move(file))});
  }
  if (const auto* missing = visible.missing()) {
    return failure("{}: {} says tensor \"{}\" is in {}, which does not hold it", dir.string(), weights.index,
                   printable(missing->first), printable(checkpoint.index_->shards[missing->second]));
  }
  if (checkpoint.index_) decltype(ShardIndex::weight_map)().swap(checkpoint.index_->weight_map);
  if (weights.format == WeightFormat::kTorch) {
    checkpoint.leave_out_tied_head();
    // Its writers differ in whether tensors that share their bytes count twice.
    if (checkpoint.index_) checkpoint.index_->total_size.reset();
  }
  for (std::uint32_t i = 0; i < checkpoint.tensors_.size(); ++i) {
    checkpoint.data_bytes_ += checkpoint.tensors_[i].bytes;
    checkpoint.by_name_.add(checkpoint.tensors_[i].name, i, checkpoint.name_of());
  }
  return checkpoint;
}

Status Checkpoint::read_config() {
  std::error_code error;
  if (!fs::exists(config_path(), error)) return {};
  OCTAVO_ASSIGN(config_text_, read_text_file(config_path(), kMaxConfigBytes));
  JsonOptions options;
  options.python_constants = true;
  OCTAVO_ASSIGN(config_, parse_json(config_text_, config_path().string(), options));
  if (!config_.is_object()) {
    return failure("{}: must be an object, not {}", config_path().string(), json_type_name(config_));
  }
  return {};
}

// torch.save writes a tied head as a second name of the embedding's bytes. save_pretrained does not, where the config
// ties them, and neither do our outputs.
void Checkpoint::leave_out_tied_head() {
  const auto tied = config_.find("tie_word_embeddings");
  if (tied == config_.end() || *tied != true) return;
  const auto is_head = [](const CheckpointTensor& t) {
    return t.name == "lm_head.weight" || t.name.ends_with(".lm_head.weight");
  };
  const auto head = std::find_if(tensors_.begin(), tensors_.end(), is_head);
  if (head == tensors_.end()) return;
  const auto other = std::find_if(tensors_.begin(), tensors_.end(), [&](const CheckpointTensor& t) {
    return !is_head(t) && t.shard == head->shard && t.offset == head->offset && t.dtype == head->dtype &&
           t.shape == head->shape;
  });
  if (other == tensors_.end()) return;
  notes_.push_back(fmt::format("\"{}\" is the same data as \"{}\" and is left out: config.json ties them",
                               printable(head->name), printable(other->name)));
  tensors_.erase(head);
}

const CheckpointTensor* Checkpoint::find(std::string_view name) const {
  const std::uint32_t number = by_name_.find(name, name_of());
  return number == NameTable::kNone ? nullptr : &tensors_[number];
}

Status Checkpoint::read_rectangle(const CheckpointTensor& tensor, const Rectangle& rect,
                                  std::span<std::byte> out) const {
  const std::uint64_t width = dtype_bytes(tensor.dtype), k = tensor.shape.back();
  const File& file = *shards_[tensor.shard].file;
  if (tensor.pitch != 0) return read_transposed(file, {tensor.offset, tensor.pitch, width}, rect, out);
  const std::uint64_t bytes = (rect.col_end - rect.col_begin) * width;
  if (rect.col_end - rect.col_begin == k) return file.read_at(tensor.offset + rect.row_begin * bytes, out);
  for (std::uint64_t row = rect.row_begin; row < rect.row_end; ++row, out = out.subspan(bytes)) {
    OCTAVO_TRY(file.read_at(tensor.offset + (row * k + rect.col_begin) * width, out.first(bytes)));
  }
  return {};
}

// The end of a row, whole rows, the beginning of one.
Status Checkpoint::read_transposed_range(const CheckpointTensor& tensor, std::uint64_t offset,
                                         std::span<std::byte> out) const {
  const std::uint64_t width = dtype_bytes(tensor.dtype), k = tensor.shape.back();
  if (offset % width != 0 || out.size() % width != 0 || offset > tensor.bytes || out.size() > tensor.bytes - offset) {
    return failure("tensor \"{}\": {} bytes from byte {} are not whole values of it", printable(tensor.name),
                   out.size(), offset);
  }
  std::uint64_t at = offset / width;
  while (!out.empty()) {
    const std::uint64_t row = at / k, col = at % k, left = out.size() / width;
    const std::uint64_t rows = col == 0 ? std::max<std::uint64_t>(1, left / k) : 1;
    const std::uint64_t cols = std::min(k - col, left);
    const std::uint64_t count = rows * cols;
    OCTAVO_TRY(read_rectangle(tensor, {row, row + rows, col, col + cols}, out.first(count * width)));
    at += count;
    out = out.subspan(count * width);
  }
  return {};
}

void Checkpoint::read_ahead(const CheckpointTensor& tensor) const {
  if (tensor.pitch == 0 || tensor.bytes == 0) return;  // the kernel does that by itself
  const std::uint64_t width = dtype_bytes(tensor.dtype), columns = tensor.shape.back();
  shards_[tensor.shard].file->read_ahead(tensor.offset, ((columns - 1) * tensor.pitch + tensor.shape[0]) * width);
}

void Checkpoint::drop_cache(const CheckpointTensor& tensor, std::uint64_t offset, std::uint64_t bytes) const {
  const File& file = *shards_[tensor.shard].file;
  if (tensor.pitch == 0) return file.drop_cache(tensor.offset + offset, bytes);
  if (offset + bytes != tensor.bytes) return;
  const std::uint64_t width = dtype_bytes(tensor.dtype);
  for (std::uint64_t column = 0; column < tensor.shape.back(); ++column) {
    file.drop_cache(tensor.offset + column * tensor.pitch * width, tensor.shape[0] * width);
  }
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
