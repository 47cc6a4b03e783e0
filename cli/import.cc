// octavo import: a GGUF file to a Hugging Face folder.
#include "octavo/checkpoint/gguf/import.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/job_flags.h"
#include "cli/progress_bar.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"

namespace octavo::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string source, out, dtype = "bf16";
  JobFlags job;
};

DType dtype_of(const std::string& name) {
  if (name == "f32") return DType::kF32;
  return name == "f16" ? DType::kF16 : DType::kBF16;
}

Outcome run(const Options& o) {
  GgufImportOptions options;
  options.dtype = dtype_of(o.dtype);
  options.threads = worker_count(o.common.threads);
  std::error_code error;
  const auto size = std::filesystem::file_size(o.source, error);  // nearly all of it is tensors
  OCTAVO_ASSIGN(const JobSetup setup, set_up_job(o.job, 0, error ? 0 : 3 * size, options.threads));
  options.job = setup.job;
  // A thread takes two windows; where memory is for fewer, fewer work.
  const auto most = static_cast<int>(setup.window_bytes / (2 * options.window_bytes));
  options.threads = std::clamp(options.threads, 1, std::max(most, 1));
  catch_interrupts();
  ImportSummary s;
  {
    ProgressBar progress("import", error ? 0 : size, o.common.quiet);
    options.progress = &progress;
    auto result = import_gguf(o.source, o.out, options);
    if (!result.ok() && result.error().kind == ErrorKind::kInterrupted) return interrupted(o.out);
    OCTAVO_ASSIGN(s, std::move(result));
  }
  for (const std::string& note : s.notes) fmt::print(stderr, "octavo import: note: {}\n", note);
  std::string types;
  for (const auto& [type, count] : s.types) types += fmt::format("{}{} {}", types.empty() ? "" : ", ", count, type);
  const double read = static_cast<double>(s.source_bytes) / 1e9 / s.seconds;
  const double written = static_cast<double>(s.output_bytes) / 1e9 / s.seconds;
  std::string human = fmt::format(
      "{}: {} model, {} tensors to {}\n  GGUF types   {}\n  bytes        {} -> {}\n"
      "  time         {:.2f} s, {:.2f} GB/s read, {:.2f} GB/s written\n  peak memory  {}\n",
      o.out, s.architecture, s.tensors, o.dtype, types, human_bytes(s.source_bytes), human_bytes(s.output_bytes),
      s.seconds, read, written, human_bytes(peak_memory()));
  if (s.already_finished) human = fmt::format("{}: finished already; nothing to do\n", o.out);
  human += missing_text(o.job, s.missing_parts, o.out);
  const Json json = {{"output", o.out},
                     {"already_finished", s.already_finished},
                     {"missing_parts", s.missing_parts},
                     {"architecture", s.architecture},
                     {"name", printable(s.name)},
                     {"dtype", o.dtype},
                     {"tensors", s.tensors},
                     {"gguf_types", s.types},
                     {"source_bytes", s.source_bytes},
                     {"output_bytes", s.output_bytes},
                     {"seconds", s.seconds},
                     {"read_gb_per_s", read},
                     {"written_gb_per_s", written},
                     {"peak_memory_bytes", peak_memory()},
                     {"notes", s.notes}};
  OCTAVO_TRY(print_result(o.common, human, json));
  return 0;
}

}  // namespace

void add_import(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  Options& o = *options;
  CLI::App* command = add_command(app, "import", "Make a Hugging Face folder of a GGUF file (llama, qwen2, qwen3)",
                                  "octavo import SmolLM2-135M-Instruct.Q4_1.gguf -o SmolLM2-135M");
  command->add_option("FILE", o.source, "GGUF file")->required()->option_text(" ");
  command->add_option("-o,--output", o.out, "folder to write; OUT.partial until it is whole")
      ->option_text("OUT")
      ->required();
  command->add_option("--dtype", o.dtype, "bf16 (default), f32 or f16: type of the tensors written")
      ->check(CLI::IsMember({"bf16", "f32", "f16"}))
      ->option_text("NAME")
      ->group("Numbers");
  add_job_flags(*command, o.job, true);
  add_common_options(*command, o.common);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
