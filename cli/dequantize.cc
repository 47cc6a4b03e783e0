// octavo dequantize: an FP8 folder back to BF16 or F32.
#include "octavo/quant/dequantize.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/job_flags.h"
#include "cli/model_source.h"
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

Outcome run(const Options& o) {
  OCTAVO_ASSIGN(const Isa isa, select_isa());
  OCTAVO_TRY(parse_memory(o.job.memory));
  OCTAVO_ASSIGN(const Checkpoint checkpoint, open_model(o.source, "dequantize", o.common.quiet));
  for (const std::string& folder : checkpoint.left_out()) {
    fmt::print(stderr, "octavo dequantize: warning: {} is not copied: only the files of the model folder are\n",
               printable(folder));
  }
  quant::DequantizeOptions options;
  options.dtype = o.dtype == "f32" ? DType::kF32 : DType::kBF16;
  options.threads = worker_count(o.common.threads);
  options.isa = isa;
  const std::uint64_t written = checkpoint.data_bytes() * dtype_bytes(options.dtype);
  OCTAVO_ASSIGN(const JobSetup setup,
                set_up_job(o.job, checkpoint.tensors().size(), checkpoint.data_bytes() + written, options.threads));
  options.window_bytes = setup.window_bytes;
  options.job = setup.job;
  catch_interrupts();
  quant::DequantizeSummary s;
  {
    ProgressBar progress("dequantize", checkpoint.data_bytes(), o.common.quiet);
    options.progress = &progress;
    auto result = quant::dequantize(checkpoint, o.out, options);
    if (!result.ok() && result.error().kind == ErrorKind::kInterrupted) return interrupted(o.out);
    OCTAVO_ASSIGN(s, std::move(result));
  }
  const double gb_per_s = static_cast<double>(s.source_bytes - s.resumed_bytes) / 1e9 / s.seconds;
  std::string human = fmt::format(
      "{}: {} weights to {}, {} tensors kept, {} scales dropped\n  bytes        {} -> {}\n"
      "  time         {:.2f} s, {:.2f} GB/s of source\n  peak memory  {}\n",
      o.out, s.dequantized, o.dtype, s.kept, s.dropped, human_bytes(s.source_bytes), human_bytes(s.output_bytes),
      s.seconds, gb_per_s, human_bytes(peak_memory()));
  if (s.already_finished) human = fmt::format("{}: finished already; nothing to do\n", o.out);
  human += missing_text(o.job, s.missing_parts, o.out);
  const Json json = {{"output", o.out},
                     {"already_finished", s.already_finished},
                     {"resumed_bytes", s.resumed_bytes},
                     {"missing_parts", s.missing_parts},
                     {"dequantized", s.dequantized},
                     {"kept", s.kept},
                     {"dropped", s.dropped},
                     {"source_bytes", s.source_bytes},
                     {"output_bytes", s.output_bytes},
                     {"seconds", s.seconds},
                     {"gb_per_s", gb_per_s},
                     {"peak_memory_bytes", peak_memory()}};
  OCTAVO_TRY(print_result(o.common, human, json));
  return 0;
}

}  // namespace

void add_dequantize(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  Options& o = *options;
  CLI::App* command = add_command(app, "dequantize", "Turn an FP8 model folder back into a plain BF16 or F32 one",
                                  "octavo dequantize Qwen3-8B-FP8 -o Qwen3-8B-BF16");
  command->add_option("MODEL", o.source, "model folder in FP8")->required()->option_text(" ");
  command->add_option("-o,--output", o.out, "folder to write; OUT.partial until it is whole")
      ->option_text("OUT")
      ->required();
  command->add_option("--dtype", o.dtype, "of the weights that were FP8: bf16 (default) or f32")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->option_text("NAME");
  add_job_flags(*command, o.job, true);
  add_common_options(*command, o.common);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
