// octavo dequantize: an FP8 folder back to BF16 or F32.
#include "octavo/quant/dequantize.h"

#include <fmt/format.h>

#include "cli/command.h"
#include "cli/progress_bar.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"

namespace octavo::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string source, out, dtype = "bf16";
};

Outcome run(const Options& o) {
  OCTAVO_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(o.source));
  for (const std::string& folder : checkpoint.left_out()) {
    fmt::print(stderr, "octavo dequantize: warning: {} is not copied: only the files of the model folder are\n",
               printable(folder));
  }
  quant::DequantizeOptions options;
  options.dtype = o.dtype == "f32" ? DType::kF32 : DType::kBF16;
  options.threads = worker_count(o.common.threads);
  quant::DequantizeSummary s;
  {
    ProgressBar progress("dequantize", checkpoint.data_bytes(), o.common.quiet);
    options.progress = &progress;
    OCTAVO_ASSIGN(s, quant::dequantize(checkpoint, o.out, options));
  }
  const double gb_per_s = static_cast<double>(s.source_bytes) / 1e9 / s.seconds;
  const std::string human = fmt::format(
      "{}: {} weights to {}, {} tensors kept, {} scales dropped\n  bytes        {} -> {}\n"
      "  time         {:.2f} s, {:.2f} GB/s of source\n  peak memory  {}\n",
      o.out, s.dequantized, o.dtype, s.kept, s.dropped, human_bytes(s.source_bytes), human_bytes(s.output_bytes),
      s.seconds, gb_per_s, human_bytes(peak_memory()));
  const Json json = {{"output", o.out},      {"dequantized", s.dequantized},   {"kept", s.kept},
                     {"dropped", s.dropped}, {"source_bytes", s.source_bytes}, {"output_bytes", s.output_bytes},
                     {"seconds", s.seconds}, {"gb_per_s", gb_per_s},           {"peak_memory_bytes", peak_memory()}};
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
  command->add_option("-o,--output", o.out, "folder to write; must not exist, or be empty")
      ->option_text("OUT")
      ->required();
  command->add_option("--dtype", o.dtype, "of the weights that were FP8: bf16 (default) or f32")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->option_text("NAME");
  add_common_options(*command, o.common);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
