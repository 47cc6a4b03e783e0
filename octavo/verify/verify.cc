// The order of the checks, the totals and the table by kind.
#include "octavo/verify/verify.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "octavo/base/text.h"
#include "octavo/verify/config_rules.h"
#include "octavo/verify/kv_scales.h"
#include "octavo/verify/loaders.h"
#include "octavo/verify/modules.h"
#include "octavo/verify/scales.h"
#include "octavo/verify/source.h"
#include "octavo/verify/structure.h"
#include "octavo/verify/weights.h"

namespace octavo::verify {
namespace {

void count_tensors(const Checkpoint& checkpoint, const Checkpoint* source, Report& report) {
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (is_scale_tensor(checkpoint, tensor)) {
      ++report.scales;
    } else {
      ++(is_fp8(tensor.dtype) ? report.quantized : report.kept);
    }
  }
  report.tensors = report.quantized + report.kept;
  report.bytes = checkpoint.data_bytes();
  report.source_bytes = source != nullptr ? source->data_bytes() : 0;
  report.against_source = source != nullptr;
}

// Without a source, kept tensors have nothing to be judged by and are not read.
std::uint64_t bytes_read(const Checkpoint& checkpoint, const Checkpoint* source) {
  if (source != nullptr) return checkpoint.data_bytes() + source->data_bytes();
  std::uint64_t bytes = 0;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (is_fp8(tensor.dtype) || is_scale_tensor(checkpoint, tensor)) bytes += tensor.bytes;
  }
  return bytes;
}

void summarize_kinds(const Subject& subject, const std::vector<ScaleRange>& ranges, Report& report) {
  std::map<std::string, KindSummary> kinds;
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (!subject.modules[i].quantized()) continue;
    const std::string kind(subject.modules[i].leaf());
    KindSummary& summary = kinds[kind];
    summary.kind = kind;
    ++summary.tensors;
    if (ranges[i].largest == 0) continue;
    const bool first = summary.max_scale == 0;
    summary.min_scale = first ? ranges[i].smallest : std::min(summary.min_scale, ranges[i].smallest);
    summary.max_scale = std::max(summary.max_scale, ranges[i].largest);
  }
  std::map<std::string_view, std::vector<double>> sqnr;
  for (const TensorError& error : report.errors) sqnr[error.kind].push_back(error.sqnr_db);
  for (auto& [name, summary] : kinds) {
    if (auto& values = sqnr[name]; !values.empty()) {
      std::sort(values.begin(), values.end());
      summary.measured = values.size();
      summary.worst_sqnr_db = values.front();
      summary.median_sqnr_db = values[(values.size() - 1) / 2];
    }
    report.kinds.push_back(summary);
  }
}

void advance_over_kept(const Checkpoint& checkpoint, const Options& options) {
  if (options.progress == nullptr) return;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (!is_fp8(tensor.dtype) && !is_scale_tensor(checkpoint, tensor))
      options.progress->advance(tensor.bytes, tensor.name);
  }
}

Status check_all(const Checkpoint& checkpoint, const Checkpoint* source, const QuantizationInfo& info,
                 const Options& options, Report& report) {
  auto described = describe_subject(checkpoint, info);
  if (!described.ok()) {
    report.violations.push_back({fmt::format("{}: {}", info.file, info.pointer), described.error().message, ""});
    return {};
  }
  const Subject& subject = *described;
  check_config(subject, report);
  check_structure(subject, report);
  check_kv_scales(subject, report);
  OCTAVO_ASSIGN(const auto ranges, check_scales(subject, options, report));
  OCTAVO_TRY(check_weights(subject, ranges, source, options, report));
  if (source != nullptr) {
    OCTAVO_TRY(check_source(subject, *source, options, report));
  } else {
    advance_over_kept(checkpoint, options);
  }
  for (const Loader loader : options.loaders) {
    const std::size_t before = report.violations.size();
    check_loader(subject, loader, report);
    report.loaders.push_back(
        {std::string(loader_name(loader)), std::string(loader_version(loader)), report.violations.size() - before});
  }
  std::stable_sort(report.errors.begin(), report.errors.end(),
                   [](const TensorError& a, const TensorError& b) { return a.sqnr_db < b.sqnr_db; });
  summarize_kinds(subject, ranges, report);
  return {};
}

}  // namespace

Result<Report> verify(const Checkpoint& checkpoint, const Checkpoint* source, const Options& options) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  Report report;
  count_tensors(checkpoint, source, report);
  const std::string config = checkpoint.config_path().filename().string();
  const auto info = read_quantization(checkpoint);
  if (!info.ok()) {
    report.description = "quantization_config cannot be read";
    std::string what = info.error().message, where = config;
    const std::string folder = (checkpoint.dir() / "").string();
    if (what.starts_with(folder)) what.erase(0, folder.size());
    for (const std::string& file : {config, std::string("hf_quant_config.json")}) {
      if (!what.starts_with(file + ": ")) continue;
      where = file;
      what.erase(0, file.size() + 2);
    }
    report.violations.push_back({std::move(where), std::move(what), ""});
  } else if (!info->has_value()) {
    report.description = "not quantized";
    report.violations.push_back({config,
                                 !checkpoint.has_config() ? "is missing"
                                 : report.quantized == 0
                                     ? "not quantized: no quantization_config, and no tensor is FP8"
                                     : "has no quantization_config, but tensors are FP8: loaders read them without "
                                       "their scales",
                                 ""});
  } else {
    report.description = (*info)->describe();
    if (report.quantized == 0) {
      report.violations.push_back({checkpoint.dir().string(), "not quantized: no tensor is FP8", ""});
    }
    OCTAVO_TRY(check_all(checkpoint, source, **info, options, report));
    report.bytes_read = bytes_read(checkpoint, source);
  }
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return report;
}

}  // namespace octavo::verify
