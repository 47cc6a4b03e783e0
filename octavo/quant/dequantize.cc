// Decode, scale, round; kept tensors are copied byte for byte.
#include "octavo/quant/dequantize.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <unordered_map>

#include "octavo/backend/cpu/encode.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/checkpoint/job_inputs.h"
#include "octavo/checkpoint/output_job.h"
#include "octavo/checkpoint/quantization.h"
#include "octavo/fp8/nan_codes.h"
#include "octavo/quant/decode_piece.h"
#include "octavo/quant/schedule.h"

namespace octavo::quant {
namespace {

// A code in memory: itself, at most four bytes of result, and in the worst case (one scale a code) eight of scales.
constexpr std::uint64_t kWindowPerCode = 13;
constexpr std::uint64_t kPieceCodes = 512 << 10;  // what a worker holds at a time stays in the second-level cache

constexpr std::size_t kNoFile = std::numeric_limits<std::size_t>::max();

// config.json without any word of quantization, every other byte as it stood.
std::string plain_config(const Checkpoint& checkpoint) {
  std::string text = checkpoint.config_text();
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (checkpoint.config().contains(key)) text = remove_top_level_key(text, key);
  }
  for (const auto& [key, value] : checkpoint.config().items()) {
    if (!value.is_object() || !key.ends_with("_config") || !value.contains("quantization_config")) continue;
    Json part = value;
    part.erase("quantization_config");
    text = set_top_level_key(text, key, part);
  }
  return text;
}

// A tensor of the output and where it comes from.
struct Item {
  const CheckpointTensor* source = nullptr;
  const QuantizedWeight* weight = nullptr;  // nullptr: copied
  DType dtype = DType::kBF16;
  std::uint64_t offset = 0;  // in the output's file
};

// A unit of the job.
struct Part {
  std::size_t item = 0;
  Extent extent;  // of a copy: bytes in [row_begin, row_end)
};

// A worker's own.
struct Buffers {
  std::vector<std::byte> codes, values;
};

class Dequantizer {
 public:
  Dequantizer(const Checkpoint& checkpoint, const DequantizeOptions& options)
      : checkpoint_(checkpoint), options_(options), kernels_(cpu::encode_kernels(options.isa)) {}

  Status plan() {
    if (!checkpoint_.has_config()) return failure("{}: no config.json", checkpoint_.dir().string());
    OCTAVO_ASSIGN(const auto info, read_quantization(checkpoint_));
    if (!info) return failure("{}: not quantized: config.json has no quantization_config", checkpoint_.dir().string());
    OCTAVO_ASSIGN(weights_, find_quantized_weights(checkpoint_, *info));
    std::unordered_map<std::string_view, const QuantizedWeight*> by_name;
    for (const QuantizedWeight& weight : weights_) {
      if (weight.scale == nullptr) {
        return failure("tensor \"{}\": in FP8 without a scale (\"{}_scale\" or \"{}_scale_inv\")",
                       printable(weight.weight->name), printable(weight.weight->name), printable(weight.weight->name));
      }
      by_name.emplace(weight.weight->name, &weight);
    }
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) {
      const auto it = by_name.find(tensor.name);
      if (it == by_name.end() && is_fp8(tensor.dtype)) {
        return failure("tensor \"{}\": {} {} is no weight with a scale; Octavo cannot dequantize it",
                       printable(tensor.name), dtype_name(tensor.dtype), shape_string(tensor.shape));
      }
      OCTAVO_TRY(check_not_packed(tensor));
      if (is_scale_tensor(checkpoint_, tensor)) {
        ++summary_.dropped;
        continue;
      }
      const bool quantized = it != by_name.end();
      ++(quantized ? summary_.dequantized : summary_.kept);
      items_.push_back({&tensor, quantized ? it->second : nullptr, quantized ? options_.dtype : tensor.dtype, 0});
    }
    if (summary_.dequantized == 0) return failure("{}: holds no FP8 weight", checkpoint_.dir().string());
    return {};
  }

  Result<DequantizeSummary> run(const std::filesystem::path& out) {
    summary_.source_bytes = checkpoint_.data_bytes();
    OCTAVO_ASSIGN(JobDescription description, describe());
    OCTAVO_ASSIGN(OutputJob job, OutputJob::open(out, {checkpoint_.dir()}, std::move(description), options_.job));
    summary_.already_finished = job.finished();
    if (job.finished()) return summary_;
    job_ = &job;
    OCTAVO_TRY(work());
    OCTAVO_ASSIGN(summary_.missing_parts, job.finish());
    return summary_;
  }

 private:
  // FP4 or integers with a scale of their own: dequantized only in part, the model would be wrong without a word.
  Status check_not_packed(const CheckpointTensor& tensor) const {
    constexpr std::string_view kWeight = ".weight";
    const std::string& name = tensor.name;
    if (is_fp8(tensor.dtype) || dtype_bits(tensor.dtype) > 8) return {};
    const bool weight = name.ends_with(kWeight);
    const std::string module = weight ? name.substr(0, name.size() - kWeight.size()) : name;
    for (const std::string& scale : {name + "_scale", name + "_scale_inv", module + ".scale"}) {
      if (scale == name || checkpoint_.find(scale) == nullptr) continue;
      return failure("tensor \"{}\": is {} with a scale, so packed FP4 or integers; Octavo dequantizes FP8 only",
                     printable(name), dtype_name(tensor.dtype));
    }
    return {};
  }

  std::uint32_t file_of(const Item& item) const { return static_cast<std::uint32_t>(files_[item.source->shard]); }

  Result<JobDescription> describe() {
    JobDescription job;
    job.record.command = "dequantize";
    job.record.options = {{"dtype", dtype_name(options_.dtype)}};
    job.record.source = checkpoint_fingerprint(checkpoint_);
    job.inputs = input_files(checkpoint_);
    OCTAVO_TRY(lay_out(job));
    const std::uint64_t bytes = unit_bytes(checkpoint_.data_bytes());
    for (std::size_t i = 0; i < items_.size(); ++i) {
      const Item& item = items_[i];
      const Extent all = item.weight != nullptr ? whole_extent(*item.weight) : Extent{0, item.source->bytes, 0, 1};
      for (const Extent& extent : cut_extent(all, bytes)) {
        parts_.push_back({i, extent});
        const std::uint64_t width = item.weight != nullptr ? dtype_bytes(item.dtype) : 1;
        job.units.push_back({file_of(item), extent.count() * width});
      }
    }
    // hf_quant_config.json would still call the model quantized.
    job.copies = copied_files(checkpoint_, {"hf_quant_config.json"});
    job.texts.push_back({"config.json", plain_config(checkpoint_)});
    return job;
  }

  // The shards, the index, and every item's place.
  Status lay_out(JobDescription& job) {
    std::vector<std::vector<TensorEntry>> entries(checkpoint_.shards().size());
    std::unordered_map<std::string_view, Item*> by_name;
    for (Item& item : items_) {
      entries[item.source->shard].push_back({item.source->name, item.dtype, item.source->shape, 0, 0});
      by_name.emplace(item.source->name, &item);
    }
    std::map<std::string, std::string> weight_map;
    files_.assign(entries.size(), kNoFile);
    for (std::size_t s = 0; s < entries.size(); ++s) {
      if (entries[s].empty() && checkpoint_.has_index()) continue;  // it held nothing but scales
      files_[s] = job.files.size();
      const Shard& shard = checkpoint_.shards()[s];
      auto metadata = shard.metadata;
      metadata.try_emplace("format", "pt");  // transformers before 5 refuses files without it
      OCTAVO_ASSIGN(std::string header, lay_out_safetensors(entries[s], std::move(metadata)).context(shard.name));
      std::uint64_t data = 0;
      for (const TensorEntry& entry : entries[s]) {
        by_name.at(entry.name)->offset = header.size() + entry.begin;
        data = std::max(data, entry.end);
        weight_map.emplace(entry.name, shard.output_name);
      }
      job.files.push_back({shard.output_name, header.size() + data});
      headers_.push_back(std::move(header));
      summary_.output_bytes += data;
    }
    job.head = [this](std::size_t file) { return headers_[file]; };
    if (checkpoint_.has_index()) {
      job.texts.push_back({"model.safetensors.index.json", format_shard_index(summary_.output_bytes, weight_map)});
    }
    return {};
  }

  Status work() {
    for (std::uint32_t i = 0; i < parts_.size(); ++i) {
      if (job_->is_complete(i)) summary_.resumed_bytes += parts_[i].extent.count() * source_width(parts_[i]);
    }
    if (options_.progress != nullptr) options_.progress->skip(summary_.resumed_bytes);
    std::vector<Buffers> buffers(static_cast<std::size_t>(options_.threads));
    return job_->for_each_unit(options_.threads, parts_.size(), [&](std::uint32_t i, int worker) -> Status {
      const bool weight = items_[parts_[i].item].weight != nullptr;
      for (const Extent& extent : cut_extent(parts_[i].extent, piece_codes())) {
        const Part piece{parts_[i].item, extent};
        Buffers& own = buffers[static_cast<std::size_t>(worker)];
        OCTAVO_TRY(weight ? decode(piece, own) : copy(piece, own));
      }
      return {};
    });
  }

  std::uint64_t source_width(const Part& part) const {
    const Item& item = items_[part.item];
    return item.weight != nullptr ? dtype_bytes(item.source->dtype) : 1;
  }
  std::uint64_t piece_codes() const {
    const std::uint64_t most = options_.window_bytes / static_cast<std::uint64_t>(options_.threads) / kWindowPerCode;
    return std::clamp<std::uint64_t>(most, 1, kPieceCodes);
  }

  void report(const Item& item, std::uint64_t bytes) {
    if (options_.progress != nullptr) options_.progress->advance(bytes, item.source->name);
  }

  Status copy(const Part& part, Buffers& buffers) {
    const Item& item = items_[part.item];
    buffers.codes.resize(part.extent.row_end - part.extent.row_begin);
    OCTAVO_TRY(checkpoint_.read(*item.source, part.extent.row_begin, buffers.codes));
    OCTAVO_TRY(job_->write(file_of(item), item.offset + part.extent.row_begin, buffers.codes));
    report(item, buffers.codes.size());
    return {};
  }

  Status decode(const Part& part, Buffers& buffers) {
    const Item& item = items_[part.item];
    if (part.extent.count() == 0) return {};
    buffers.values.resize(static_cast<std::size_t>(part.extent.count() * dtype_bytes(item.dtype)));
    OCTAVO_TRY(
        decode_extent(checkpoint_, *item.weight, part.extent, item.dtype, kernels_, buffers.codes, buffers.values));
    const std::uint64_t at = part.extent.row_begin * item.weight->columns + part.extent.col_begin;
    const auto* codes = reinterpret_cast<const std::uint8_t*>(buffers.codes.data());
    const auto nan = fp8::find_nan(code_format(item.source->dtype), {codes, buffers.codes.size()});
    if (nan) {
      const std::uint64_t width = part.extent.cols();
      return failure("tensor \"{}\" in {}: NaN at [{}, {}]; the model is damaged", printable(item.source->name),
                     checkpoint_.shards()[item.source->shard].name, part.extent.row_begin + *nan / width,
                     part.extent.col_begin + *nan % width);
    }
    OCTAVO_TRY(job_->write(file_of(item), item.offset + at * dtype_bytes(item.dtype), buffers.values));
    report(item, part.extent.count());
    return {};
  }

  const Checkpoint& checkpoint_;
  const DequantizeOptions& options_;
  const cpu::EncodeKernels& kernels_;
  std::vector<QuantizedWeight> weights_;
  std::vector<Item> items_;
  std::vector<Part> parts_;
  std::vector<std::size_t> files_;    // by shard of the source; kNoFile: the output has none
  std::vector<std::string> headers_;  // by file of the output
  OutputJob* job_ = nullptr;
  DequantizeSummary summary_;
};

}  // namespace

Result<DequantizeSummary> dequantize(const Checkpoint& checkpoint, const std::filesystem::path& out,
                                     const DequantizeOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  Dequantizer job(checkpoint, options);
  OCTAVO_TRY(job.plan());
  OCTAVO_ASSIGN(DequantizeSummary summary, job.run(out));
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

}  // namespace octavo::quant
