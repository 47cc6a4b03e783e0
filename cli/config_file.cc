// What there is to say about a configuration file, and which of its workers is meant.
#include "cli/config_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "octavo/base/text.h"

namespace octavo::cli {

void print_remarks(std::string_view command, const dialect::Config& config, bool quiet) {
  const std::string start = command.empty() ? "octavo" : fmt::format("octavo {}", command);
  for (const std::string& warning : config.warnings) fmt::print(stderr, "{}: warning: {}\n", start, warning);
  if (quiet) return;
  for (const std::string& note : config.notes) fmt::print(stderr, "{}: {}\n", start, note);
  if (const auto keys = config.meaningless(); !keys.empty()) {
    fmt::print(stderr, "{}: {}: no meaning here: {}\n", start, printable(config.origin), fmt::join(keys, ", "));
  }
}

Result<dialect::Meaning> choose_worker(const dialect::Config& config, const std::string& worker) {
  std::vector<std::string> names;
  for (const dialect::Meaning& meaning : config.meanings) {
    if (!meaning.online) {
      return usage_error("{} is in the language of {}, which says how a folder is quantized: octavo quantize takes it",
                         printable(config.origin), dialect::language_name(config.language));
    }
    if (worker.empty() ? meaning.worker == "actor_infer" || config.meanings.size() == 1 : meaning.worker == worker) {
      return meaning;
    }
    names.push_back(meaning.worker);
  }
  if (worker.empty()) {
    return usage_error("{} has several workers: --worker {}", printable(config.origin), fmt::join(names, " or "));
  }
  return usage_error("--worker {}: {} has {}{}", printable(worker), printable(config.origin), fmt::join(names, ", "),
                     did_you_mean(worker, names, 1));
}

}  // namespace octavo::cli
