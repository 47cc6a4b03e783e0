// -c, --recipe, --print-spec; contradictions between a file and flags.
#include "cli/quantize_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/command.h"
#include "cli/config_file.h"
#include "octavo/base/text.h"
#include "octavo/dialect/config.h"

namespace octavo::cli {
namespace {

// "said at f.yaml:3:5: path" of a part of the spec; the file itself where only a default of its language says it.
std::string said(const dialect::Config& config, const dialect::Meaning& meaning, const std::string& key) {
  const auto it = meaning.said.find(key);
  return it == meaning.said.end() ? printable(config.origin) : it->second;
}

Error contradiction(std::string_view flag, const std::string& where, std::string_view other) {
  return usage_error("{} contradicts {}, which means {}", flag, where, other);
}

std::string block_text(const quant::Scheme& scheme) { return fmt::format("{}x{}", scheme.block_n, scheme.block_k); }

// "128" and "128,128" as "128x128".
std::string normal_block(std::string text) {
  std::replace(text.begin(), text.end(), ',', 'x');
  return text.find('x') == text.npos ? text + "x" + text : text;
}

class Applier {
 public:
  Applier(const dialect::Config& config, const QuantizeTargets& targets)
      : config_(config), meaning_(config.meanings.front()), t_(targets) {}

  Status run() {
    const quant::QuantSpec& spec = *meaning_.spec;
    OCTAVO_TRY(text("--scheme", "scheme", t_.scheme, std::string(spec.scheme.name)));
    OCTAVO_TRY(text("--format", "format", t_.format, std::string(quant::format_name(spec.format))));
    if (spec.scheme.granularity == quant::Granularity::kBlock) {
      if (!t_.block.empty()) t_.block = normal_block(t_.block);
      OCTAVO_TRY(text("--block-size", "block-size", t_.block, block_text(spec.scheme)));
    }
    OCTAVO_TRY(patterns("--ignore", "ignore", t_.ignore, spec.ignore));
    OCTAVO_TRY(patterns("--only", "only", t_.only, spec.only));
    const auto& ignore = spec.ignore;
    if (t_.lm_head && std::find(ignore.begin(), ignore.end(), "lm_head") != ignore.end()) {
      return contradiction("--lm-head", said(config_, meaning_, "ignore"), "that lm_head stays as it is");
    }
    t_.lm_head = t_.lm_head || spec.lm_head;
    if (t_.model.empty()) t_.model = meaning_.model;
    if (t_.output.empty()) t_.output = meaning_.output;
    return {};
  }

 private:
  // What the file leaves to its language's default can be said by a flag instead.
  bool open(const std::string& key) const { return !meaning_.said.contains(key); }

  Status text(std::string_view flag, const std::string& key, std::string& value, const std::string& wanted) const {
    if (value.empty()) {
      value = wanted;
    } else if (value != wanted && !open(key)) {
      return contradiction(fmt::format("{} {}", flag, printable(value)), said(config_, meaning_, key),
                           fmt::format("{} {}", flag, wanted));
    }
    return {};
  }
  Status patterns(std::string_view flag, const std::string& key, std::vector<std::string>& value,
                  const std::vector<std::string>& wanted) const {
    if (value.empty()) {
      value = wanted;
    } else if (value != wanted && !open(key)) {
      return contradiction(fmt::format("{} {}", flag, printable(value.front())), said(config_, meaning_, key),
                           fmt::format("{} {}", flag, fmt::join(wanted, " ")));
    }
    return {};
  }

  const dialect::Config& config_;
  const dialect::Meaning& meaning_;
  const QuantizeTargets& t_;
};

// The file that is given, in the language of its flag; nullopt when there is none.
Result<std::optional<dialect::Config>> load(const ConfigFile& o) {
  if (!o.angelslim.empty() && !o.recipe.empty()) {
    return usage_error("-c and --recipe exclude each other: one file says what is done");
  }
  if (o.angelslim.empty() && o.recipe.empty()) return std::optional<dialect::Config>();
  const bool recipe = o.angelslim.empty();
  const std::string& path = recipe ? o.recipe : o.angelslim;
  OCTAVO_ASSIGN(dialect::Config config,
                dialect::load_config(path, recipe ? dialect::Language::kLlmCompressor : dialect::Language::kAngelSlim));
  if (!config.errors.empty()) {
    // The wrong flag for the file makes every key unknown: say that instead.
    const auto other = dialect::load_config(path);
    if (other.ok() && other->language != config.language && other->errors.empty()) {
      return usage_error("{} is in the language of {}; {} takes {}'s", printable(path),
                         dialect::language_name(other->language), recipe ? "--recipe" : "-c",
                         dialect::language_name(config.language));
    }
    return config.error();
  }
  return std::optional(std::move(config));
}

}  // namespace

void add_config_file(CLI::App& command, ConfigFile& o) {
  command.add_option("-c,--config", o.angelslim, "AngelSlim's YAML: says MODEL, output and scheme")
      ->option_text("FILE")
      ->group("Files of other programs");
  command.add_option("--recipe", o.recipe, "llm-compressor's recipe YAML: says the scheme")
      ->option_text("FILE")
      ->group("Files of other programs");
  command.add_flag("--print-spec", o.print_spec, "print as JSON what would be done; do nothing")
      ->group("Files of other programs");
}

Status apply_config_file(const ConfigFile& o, const QuantizeTargets& targets, bool quiet) {
  OCTAVO_ASSIGN(const auto config, load(o));
  if (!config) return {};
  OCTAVO_TRY(Applier(*config, targets).run());
  if (o.print_spec || targets.model.empty()) return {};
  print_remarks("quantize", *config, quiet);
  const dialect::Meaning& said = config->meanings.front();
  const auto taken = [&](std::string_view what, const std::string& here, const std::string& there) {
    if (quiet || there.empty() || here == there) return;
    fmt::print(stderr, "octavo quantize: the {} is {}, as the command line says, not {}\n", what, printable(here),
               printable(there));
  };
  taken("model", targets.model, said.model);
  taken("output", targets.output, said.output);
  return {};
}

Status print_spec(const ConfigFile& o, const quant::QuantSpec& spec, const std::string& model,
                  const std::string& output) {
  OCTAVO_ASSIGN(const auto config, load(o));
  dialect::Meaning meaning;
  if (config) meaning = config->meanings.front();
  meaning.spec = spec;
  meaning.model = model;
  meaning.output = output;
  Json json;
  if (config) {
    dialect::Config copy = *config;
    copy.meanings = {meaning};
    json = dialect::config_json(copy);
  } else {
    json = {{"model", model}, {"output", output}, {"spec", quant::spec_json(spec)}};
  }
  CommonOptions common;
  common.json = true;
  return print_result(common, "", json);
}

}  // namespace octavo::cli
