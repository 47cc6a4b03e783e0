// octavo quantize: flags to a QuantSpec, plan, execute, summary.
#include "cli/command.h"
#include "cli/model_source.h"
#include "cli/plan_run.h"
#include "cli/quantize_file.h"
#include "cli/scheme_options.h"
#include "octavo/base/cpu.h"
#include "octavo/quant/plan.h"

namespace octavo::cli {
namespace {

struct QuantizeOptions {
  PlanRun run;
  std::string source;
  SchemeOptions scheme;
  std::vector<std::string> only;
  bool lm_head = false, has_model = false;
  ConfigFile file;
};

Outcome run_quantize(QuantizeOptions o) {
  const QuantizeTargets targets{o.scheme.scheme, o.scheme.format, o.scheme.block, o.scheme.keep.ignore,
                                o.only,          o.lm_head,       o.source,       o.run.out};
  OCTAVO_TRY(apply_config_file(o.file, targets, o.run.common.quiet));
  OCTAVO_ASSIGN(quant::QuantSpec spec, make_spec(o.scheme, *quant::find_scheme("dynamic")));
  spec.only = o.only;
  spec.lm_head = o.lm_head;
  OCTAVO_TRY(quant::check_spec(spec));
  if (o.file.print_spec) {
    OCTAVO_TRY(print_spec(o.file, spec, o.source, o.run.out));
    return 0;
  }
  if (!o.has_model && o.source.empty()) return usage_error("MODEL is required: the folder or the name of a model");
  OCTAVO_ASSIGN(const Isa isa, select_isa());
  OCTAVO_TRY(check_plan_run(o.run));
  OCTAVO_ASSIGN(Checkpoint checkpoint, open_model(o.source, "quantize", o.run.common.quiet));
  checkpoint.split_experts();
  OCTAVO_ASSIGN(const quant::Plan plan, quant::make_plan(checkpoint, spec));
  PlanRun run = o.run;
  run.loader = find_loader(o.scheme.loader);
  return run_plan("quantize", checkpoint, plan, run, isa);
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  auto options = std::make_shared<QuantizeOptions>();
  QuantizeOptions& o = *options;
  CLI::App* command = add_command(app, "quantize", "Write a model folder in FP8, streaming, in bounded memory",
                                  "octavo quantize Qwen3-8B -o Qwen3-8B-FP8 --scheme block");
  const CLI::Option* model =
      command->add_option("MODEL", o.source, "Hugging Face model folder (safetensors)")->option_text(" ");
  command->add_option("-o,--output", o.run.out, "folder to write; OUT.partial until it is whole")->option_text("OUT");
  add_scheme_options(*command, o.scheme, "dynamic");
  command->add_option("--only", o.only, "quantize nothing but these; repeatable")
      ->allow_extra_args(false)
      ->option_text("PATTERN")
      ->group("Selection");
  command->add_flag("--lm-head", o.lm_head, "quantize the output head too, per channel (compressed-tensors)")
      ->group("Selection");
  command->add_flag("--sqnr", o.run.sqnr, "measure what quantization does to each weight: signal to noise in dB")
      ->group("Numbers");
  add_plan_run(*command, o.run);
  add_config_file(*command, o.file);
  command->footer("Legal pairs of --scheme and --format, and who loads them:\n" + quant::legal_pairs_table() +
                  "\nExample:\n  octavo quantize Qwen3-8B -o Qwen3-8B-FP8 --scheme block");
  command->callback([options, model, &action] {
    options->has_model = model->count() > 0;
    action = [options] { return run_quantize(*options); };
  });
}

}  // namespace octavo::cli
