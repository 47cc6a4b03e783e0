// octavo convert: an FP8 model to another scheme or dialect, codes untouched where they can be.
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/plan_run.h"
#include "cli/scheme_options.h"
#include "octavo/base/cpu.h"
#include "octavo/quant/plan.h"

namespace octavo::cli {
namespace {

struct ConvertOptions {
  PlanRun run;
  std::string source;
  SchemeOptions scheme;
};

// What the source is, for a missing --scheme.
Result<quant::Scheme> source_scheme(const Checkpoint& checkpoint) {
  OCTAVO_ASSIGN(const auto info, read_quantization(checkpoint));
  if (!info) return failure("{}: not quantized; `octavo quantize` takes it to FP8", checkpoint.dir().string());
  OCTAVO_ASSIGN(const auto weights, find_quantized_weights(checkpoint, *info));
  return quant::scheme_of(*info, weights).context(checkpoint.dir().string());
}

Outcome run_convert(const ConvertOptions& o) {
  if (o.scheme.scheme.empty() && o.scheme.format.empty()) {
    return usage_error("say what the model shall become: --scheme, --format, or both");
  }
  if (!o.scheme.scheme.empty()) {
    OCTAVO_TRY(make_spec(o.scheme, *quant::find_scheme("dynamic")));  // what is wrong of itself, before the files
  }
  OCTAVO_ASSIGN(const Isa isa, select_isa());
  OCTAVO_TRY(check_plan_run(o.run));
  OCTAVO_ASSIGN(Checkpoint checkpoint, open_model(o.source, "convert", o.run.common.quiet));
  checkpoint.split_experts();
  quant::Scheme scheme;
  if (o.scheme.scheme.empty()) {
    OCTAVO_ASSIGN(scheme, source_scheme(checkpoint));
  }
  OCTAVO_ASSIGN(const quant::QuantSpec spec, make_spec(o.scheme, scheme));
  OCTAVO_ASSIGN(const quant::Plan plan, quant::make_convert_plan(checkpoint, spec));
  PlanRun run = o.run;
  run.loader = find_loader(o.scheme.loader);
  return run_plan("convert", checkpoint, plan, run, isa);
}

}  // namespace

void add_convert(CLI::App& app, Action& action) {
  auto options = std::make_shared<ConvertOptions>();
  ConvertOptions& o = *options;
  CLI::App* command =
      add_command(app, "convert", "Take an FP8 model to another scheme or format, codes untouched where they can be",
                  "octavo convert DeepSeek-V3 -o DeepSeek-V3-CT --format compressed-tensors");
  command->add_option("MODEL", o.source, "FP8 model: a folder, or ORG/NAME")->required()->option_text(" ");
  command->add_option("-o,--output", o.run.out, "folder to write; OUT.partial until it is whole")->option_text("OUT");
  add_scheme_options(*command, o.scheme, "the source's");
  command->add_flag("--sqnr", o.run.sqnr, "measure what encoding again does to each weight: signal to noise in dB")
      ->group("Numbers");
  add_plan_run(*command, o.run);
  command->footer("Legal pairs of --scheme and --format, and who loads them:\n" + quant::legal_pairs_table() +
                  "\nExample:\n  octavo convert DeepSeek-V3 -o DeepSeek-V3-CT --format compressed-tensors");
  command->callback([options, &action] { action = [options] { return run_convert(*options); }; });
}

}  // namespace octavo::cli
