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

// All of the folder but the weights' data.
struct Plan {
  std::vector<TextFile> texts;
  std::string header;  // of model.safetensors
  std::vector<TranscodeJob> jobs;
  std::uint64_t weights_bytes = 0;  // header and data
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

Status plan_weights(std::vector<MappedTensor> tensors, DType dtype, Plan& plan) {
  std::vector<TensorEntry> entries;
  for (const MappedTensor& tensor : tensors) {
    TensorEntry entry;
    entry.name = tensor.name;
    entry.dtype = dtype;
    entry.shape = tensor.source->shape;
    entries.push_back(std::move(entry));
  }
  OCTAVO_ASSIGN(plan.header, lay_out_safetensors(entries, {{"format", "pt"}}));
  std::map<std::string_view, std::uint64_t> begins;
  plan.weights_bytes = plan.header.size();
  for (const TensorEntry& entry : entries) {
    begins.emplace(entry.name, plan.header.size() + entry.begin);
    plan.weights_bytes = std::max(plan.weights_bytes, plan.header.size() + entry.end);
  }
  // In file order, so that the source is read front to back.
  for (MappedTensor& tensor : tensors) {
    const std::uint64_t target = begins.at(tensor.name);
    plan.jobs.push_back({std::move(tensor), target});
  }
  return {};
}

// What the file says of its tensors. That their values did not change is told by the file's time.
std::string fingerprint(const GgufImportOptions& options, const Plan& plan) {
  Fingerprint print;
  for (const TextFile& text : plan.texts) print.add(text.name).add(text.text);
  for (const TranscodeJob& job : plan.jobs) {
    print.add(job.tensor.name).add(job.tensor.source->type->name).add(job.tensor.source->offset).add(job.target);
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
  job.files.push_back({"model.safetensors", plan.weights_bytes});
  job.head = [&plan](std::size_t) { return plan.header; };
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
  OCTAVO_TRY(plan_weights(std::move(tensors), options.dtype, plan));
  OCTAVO_ASSIGN(const auto name, file.string("general.name"));
  summary.architecture = model.architecture;
  summary.name = name.value_or("");
  summary.tensors = plan.jobs.size();
  summary.output_bytes = plan.weights_bytes;
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
    OCTAVO_ASSIGN(const auto missing, job.finish());
    static_cast<void>(missing);  // there is one part
  }
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

}  // namespace octavo
