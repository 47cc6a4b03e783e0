// octavo config: what another program's configuration file means here, and everything that is wrong in it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/command.h"
#include "cli/config_file.h"
#include "octavo/base/text.h"

namespace octavo::cli {
namespace {

constexpr int kExitUsage = 2;

struct Options {
  std::string action, file;
  bool quiet = false, json = false;
};

std::string line(std::string_view name, std::string_view value) { return fmt::format("  {:<13} {}\n", name, value); }

std::string list(const std::vector<std::string>& entries) {
  return fmt::format("{}", fmt::join(entries, "\n                "));
}

std::string describe(const dialect::Meaning& m) {
  std::string text;
  if (!m.worker.empty()) text += fmt::format("{}\n", m.worker);
  if (!m.model.empty()) text += line("model", printable(m.model));
  if (!m.output.empty()) text += line("output", printable(m.output));
  if (!m.spec) {
    text += line("scheme", "none: it runs as its folder has it");
  } else {
    const quant::QuantSpec& spec = *m.spec;
    const std::string how =
        m.online ? fmt::format("--quantization {}", m.online_name)
                 : fmt::format("--scheme {} --format {}", spec.scheme.name, quant::format_name(spec.format));
    const bool blocks = spec.scheme.granularity == quant::Granularity::kBlock;
    text += line("scheme", how + (blocks ? fmt::format(", blocks of {}x{}", spec.scheme.block_n, spec.scheme.block_k)
                                         : std::string()));
    if (spec.pow2_scales) text += line("scales", "powers of two");
    if (!spec.ignore.empty()) text += line("ignore", list(spec.ignore));
    if (!spec.only.empty()) text += line("only", list(spec.only));
    if (spec.keep_first > 0) text += line("keep first", fmt::format("{} layers", spec.keep_first));
    if (spec.keep_last > 0) text += line("keep last", fmt::format("{} layers", spec.keep_last));
    if (spec.lm_head) text += line("lm_head", "quantized too");
  }
  if (!m.kv_cache_dtype.empty()) text += line("KV cache", m.kv_cache_dtype);
  if (const std::string command = dialect::command_line(m); !command.empty()) text += line("command", command);
  return text;
}

Outcome run(const Options& o) {
  OCTAVO_ASSIGN(const dialect::Config config, dialect::load_config(o.file));
  CommonOptions common;
  common.json = o.json;
  common.quiet = o.quiet;
  if (!config.errors.empty()) {
    if (!o.json) return config.error();
    OCTAVO_TRY(print_result(common, "", {{"file", o.file}, {"errors", config.errors}}));
    return kExitUsage;
  }
  std::string text = fmt::format("{}: {}\n", printable(o.file), dialect::language_name(config.language));
  for (const dialect::Meaning& meaning : config.meanings) text += describe(meaning);
  for (const std::string& note : config.notes) text += line("note", note);
  if (const auto keys = config.meaningless(); !keys.empty())
    text += line("no meaning", fmt::format("{}", fmt::join(keys, ", ")));
  if (!o.json) {
    for (const std::string& warning : config.warnings) fmt::print(stderr, "octavo config: warning: {}\n", warning);
  }
  OCTAVO_TRY(print_result(common, text, dialect::config_json(config)));
  return 0;
}

}  // namespace

void add_config(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  Options& o = *options;
  CLI::App* command = add_command(app, "config", "Say what another program's configuration file means here",
                                  "octavo config check qwen3-8b_fp8_dynamic.yaml");
  command->add_option("ACTION", o.action, "check: read FILE whole, and name everything that is wrong in it")
      ->required()
      ->check(CLI::IsMember({"check"}))
      ->option_text(" ");
  command->add_option("FILE", o.file, "YAML of AngelSlim, llm-compressor, ROLL, NeMo-RL or vLLM; its keys say which")
      ->required()
      ->option_text(" ");
  command->add_flag("-q,--quiet", o.quiet, "print nothing when the file is sound; errors and warnings still appear")
      ->group("Output");
  command->add_flag("--json,--print-spec", o.json, "print one JSON object: the spec, the notes, keys without meaning")
      ->group("Output");
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
