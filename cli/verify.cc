// `octavo verify DIR [--against SRC] [--for LOADER]`: judges a quantized checkpoint.
#include "octavo/verify/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/progress_bar.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"

namespace octavo::cli {
namespace {

struct VerifyCommand {
  CommonOptions common;
  std::string dir;
  std::string against;
  std::vector<std::string> loaders;

  Outcome run() const;
};

Outcome VerifyCommand::run() const {
  verify::Options options;
  options.threads = worker_count(common.threads);
  for (const std::string& name : loaders) {
    const auto loader = find_loader(name);
    if (!loader) return usage_error("--for {}: unknown; one of {}", printable(name), loader_names());
    const bool known = std::find(options.loaders.begin(), options.loaders.end(), *loader) != options.loaders.end();
    if (!known) options.loaders.push_back(*loader);
  }
  OCTAVO_ASSIGN(const Checkpoint checkpoint, open_model(dir, "verify", common.quiet));
  std::optional<Checkpoint> source;
  if (!against.empty()) {
    OCTAVO_ASSIGN(source, open_model(against, "verify", common.quiet));
    // `quantize` writes experts one by one, in whatever form the source has them.
    const auto& tensors = source->tensors();
    if (std::any_of(tensors.begin(), tensors.end(), [&](const CheckpointTensor& t) {
          return t.shape.size() == 3 && checkpoint.find(t.name) == nullptr;
        })) {
      source->split_experts();
    }
  }
  auto progress = std::make_unique<ProgressBar>("verify", checkpoint.data_bytes(), common.quiet);
  options.progress = progress.get();
  Result<verify::Report> report = verify::verify(checkpoint, source ? &*source : nullptr, options);
  progress.reset();  // clears its line before anything is printed
  if (!report.ok()) return std::move(report).error();

  const double rate = report->seconds > 0 ? static_cast<double>(report->bytes_read) / report->seconds : 0;
  Json summary = verify::report_json(*report);
  summary["bytes_read"] = report->bytes_read;
  summary["bytes_per_second"] = rate;
  summary["peak_memory"] = peak_memory();
  const std::string human =
      fmt::format("{}read {} in {:.2f} s, {:.2f} GB/s; peak memory {}\n", verify::format_report(*report),
                  human_bytes(report->bytes_read), report->seconds, rate / 1e9, human_bytes(peak_memory()));
  OCTAVO_TRY(print_result(common, human, summary));
  if (common.quiet) {
    for (const std::string& warning : report->warnings) fmt::print(stderr, "octavo verify: warning: {}\n", warning);
  }
  if (report->ok()) return 0;
  // --quiet hides the report, never that it failed.
  if (common.quiet && !common.json) {
    const verify::Violation& first = report->violations.front();
    const std::size_t count = report->violations.size();
    return failure("{}: {} violation{}, the first: {}: {}", dir, count, count == 1 ? "" : "s", first.where, first.what);
  }
  return 1;
}

}  // namespace

void add_verify(CLI::App& app, Action& action) {
  CLI::App* command =
      add_command(app, "verify",
                  "Judge a quantized model: config, names, shapes, scales, loaders, and the error against its source",
                  "octavo verify Qwen3-8B-FP8 --against Qwen3-8B --for vllm,sglang");
  const auto self = std::make_shared<VerifyCommand>();
  command->add_option("DIR", self->dir, "folder of the quantized model")->required()->option_text(" ")->group("Input");
  command
      ->add_option("--against", self->against,
                   "folder it was quantized from: checks every code and kept tensor, reports SQNR and cosine")
      ->option_text("SRC")
      ->group("Input");
  command
      ->add_option("--for", self->loaders,
                   loader_names() + " (repeatable, or a comma list): also what that loader would refuse")
      ->option_text("LOADER")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->group("Checks");
  add_common_options(*command, self->common);
  command->callback([self, &action] { action = [self] { return self->run(); }; });
}

}  // namespace octavo::cli
