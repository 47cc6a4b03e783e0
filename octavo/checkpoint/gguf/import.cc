// An import from end to end. Everything that can be wrong with the metadata is found before a byte is written.
#include "octavo/checkpoint/gguf/import.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <system_error>

#include "octavo/base/file.h"
#include "octavo/base/hash.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/checkpoint/gguf/container.h"
#include "octavo/checkpoint/gguf/model.h"
#include "octavo/checkpoint/gguf/tensor_map.h"
#include "octavo/checkpoint/gguf/tokenizer.h"
#include "octavo/checkpoint/gguf/transcode.h"
#include "octavo/checkpoint/output_job.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

struct ShardPlan {
  std::string name, header;
  std::uint64_t bytes = 0;  // header and data
};

// All of the folder but the weights' data.
struct Plan {
  std::vector<TextFile> texts;
  std::vector<ShardPlan> shards;
  std::vector<TranscodeJob> jobs;
};

std::string document(const Json& json) { return json.dump(2) + "\n"; }

Status plan_texts(const GgufFile& file, const GgufModel& model, DType dtype, std::vector<std::string>& notes,
                  Plan& plan) {
  plan.texts.push_back({"config.json", document(make_config(model, dtype))});
  plan.texts.push_back({"generation_config.json", document(make_generation_config(file, model))});
  OCTAVO_ASSIGN(const std::optional<GgufVocabulary> vocabulary, read_gguf_vocabulary(file, model, notes));
  if (!vocabulary) return {};
  OCTAVO_ASSIGN(std::string tokenizer, make_tokenizer_json(file, *vocabulary, notes));
  plan.texts.push_back({"tokenizer.json", std::move(tokenizer)});
  OCTAVO_ASSIGN(const Json config, make_tokenizer_config(file, *vocabulary, model));
  plan.texts.push_back({"tokenizer_config.json", document(config)});
  return {};
}

// Tensors in file order, so that the source is read front to back; a shard is full when the next would not fit.
std::vector<std::vector<TensorEntry>> divide(const std::vector<MappedTensor>& tensors,
                                             const GgufImportOptions& options) {
  std::vector<std::vector<TensorEntry>> shards(1);
  std::uint64_t bytes = 0;  // of the last
  for (const MappedTensor& tensor : tensors) {
    TensorEntry entry;
    entry.name = tensor.name;
    entry.dtype = options.dtype;
    entry.shape = tensor.source->shape;
    std::uint64_t size = dtype_bytes(options.dtype);
    for (const std::uint64_t dimension : entry.shape) size *= dimension;
    if (!shards.back().empty() && bytes + size > options.shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += size;
    shards.back().push_back(std::move(entry));
  }
  return shards;
}

Status plan_weights(std::vector<MappedTensor> tensors, const GgufImportOptions& options, Plan& plan) {
  std::vector<std::vector<TensorEntry>> shards = divide(tensors, options);
  std::map<std::string, std::string> weight_map;
  std::uint64_t total = 0;
  auto next = tensors.begin();
  for (std::size_t i = 0; i < shards.size(); ++i) {
    ShardPlan shard;
    shard.name = shards.size() == 1 ? "model.safetensors"
                                    : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    OCTAVO_ASSIGN(shard.header, lay_out_safetensors(shards[i], {{"format", "pt"}}));
    std::map<std::string_view, std::uint64_t> begins;
    std::uint64_t data = 0;
    for (const TensorEntry& entry : shards[i]) {
      begins.emplace(entry.name, shard.header.size() + entry.begin);
      data = std::max(data, entry.end);
      weight_map.emplace(entry.name, shard.name);
    }
    for (std::size_t t = 0; t < shards[i].size(); ++t, ++next) {
      const std::uint64_t target = begins.at(next->name);
      plan.jobs.push_back({std::move(*next), target, static_cast<std::uint32_t>(i)});
    }
    shard.bytes = shard.header.size() + data;
    total += data;
    plan.shards.push_back(std::move(shard));
  }
  if (shards.size() > 1) plan.texts.push_back({"model.safetensors.index.json", format_shard_index(total, weight_map)});
  return {};
}

// What the file says of its tensors. That their values did not change is told by the file's time.
std::string fingerprint(const GgufImportOptions& options, const Plan& plan) {
  Fingerprint print;
  for (const TextFile& text : plan.texts) print.add(text.name).add(text.text);
  for (const TranscodeJob& job : plan.jobs) {
    print.add(job.tensor.name)
        .add(job.tensor.source->type->name)
        .add(job.tensor.source->offset)
        .add(job.target)
        .add(job.file);
  }
  print.add(dtype_name(options.dtype)).add(options.window_bytes);
  return print.hex();
}

JobDescription describe_job(const fs::path& path, const Plan& plan, const TranscodeOptions& transcoding,
                            const GgufImportOptions& options) {
  JobDescription job;
  job.record.command = "import";
  job.record.options = {{"dtype", dtype_name(options.dtype)}};
  job.record.source = fingerprint(options, plan);
  job.inputs.push_back({path.filename().string(), path});
  for (const ShardPlan& shard : plan.shards) job.files.push_back({shard.name, shard.bytes});
  job.head = [&plan](std::size_t file) { return plan.shards[file].header; };
  job.units = transcode_units(plan.jobs, transcoding);
  job.texts = plan.texts;
  return job;
}

}  // namespace

Result<ImportSummary> import_gguf(const fs::path& path, const fs::path& out, const GgufImportOptions& options) {
  if (!is_quantizable(options.dtype)) {
    return usage_error("an import writes BF16, F16 or F32, not {}", dtype_name(options.dtype));
  }
  const auto start = std::chrono::steady_clock::now();
  ImportSummary summary;
  OCTAVO_ASSIGN(const File source, File::open_read(path));
  OCTAVO_ASSIGN(const GgufFile file, parse_gguf(source));
  OCTAVO_ASSIGN(const GgufModel model, describe_gguf_model(file, source, summary.notes));
  OCTAVO_ASSIGN(std::vector<MappedTensor> tensors, map_gguf_tensors(file, model));
  Plan plan;
  OCTAVO_TRY(plan_texts(file, model, options.dtype, summary.notes, plan));
  OCTAVO_TRY(plan_weights(std::move(tensors), options, plan));
  OCTAVO_ASSIGN(const auto name, file.string("general.name"));
  summary.architecture = model.architecture;
  summary.name = name.value_or("");
  summary.tensors = plan.jobs.size();
  for (const ShardPlan& shard : plan.shards) summary.output_bytes += shard.bytes;
  for (const TranscodeJob& job : plan.jobs) {
    summary.source_bytes += job.tensor.source->bytes;
    ++summary.types[std::string(job.tensor.source->type->name)];
  }
  const TranscodeOptions transcoding{options.dtype, worker_count(options.threads), options.window_bytes,
                                     options.progress};
  OCTAVO_ASSIGN(OutputJob job,
                OutputJob::open(out, {path}, describe_job(path, plan, transcoding, options), options.job));
  summary.already_finished = job.finished();
  if (!job.finished()) {
    OCTAVO_TRY(transcode(source, plan.jobs, transcoding, job));
    OCTAVO_ASSIGN(summary.missing_parts, job.finish());
  }
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

}  // namespace octavo
