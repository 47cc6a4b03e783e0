// octavo formats: who loads what, from the one table of it.
#include <fmt/format.h>

#include "cli/command.h"
#include "octavo/checkpoint/loader_table.h"
#include "octavo/quant/spec.h"

namespace octavo::cli {
namespace {

bool is_written(const LoaderRow& row) {
  for (const quant::LegalPair& pair : quant::legal_pairs()) {
    if (pair.scheme == scheme_kind_name(row.scheme) && quant::format_name(pair.format) == dialect_name(row.dialect)) {
      // Of the fp8 dialect's scale names that of transformers is only read.
      return row.dialect == Dialect::kMxfp8 || &row == find_loader_row(row.scheme, row.dialect);
    }
  }
  return false;
}

Json rows_json() {
  Json loaders = Json::object(), rows = Json::array();
  for (const Loader loader : kLoaders) loaders[std::string(loader_name(loader))] = loader_version(loader);
  for (const LoaderRow& row : loader_table()) {
    Json answers = Json::object();
    for (const Loader loader : kLoaders) answers[std::string(loader_name(loader))] = describe(row[loader]);
    rows.push_back({{"scheme", scheme_kind_name(row.scheme)},
                    {"format", dialect_name(row.dialect)},
                    {"scale", row.scale_name},
                    {"written", is_written(row)},
                    {"loads", std::move(answers)}});
  }
  return {{"loaders", std::move(loaders)}, {"formats", std::move(rows)}};
}

std::string rows_text() {
  std::string text = fmt::format("{:<18} {:<19} {:<17} {:<7} loads in\n", "scheme", "format", "scale", "written");
  for (const LoaderRow& row : loader_table()) {
    const std::string loaders = loaders_of(row);
    text += fmt::format("{:<18} {:<19} {:<17} {:<7} {}\n", scheme_kind_name(row.scheme), dialect_name(row.dialect),
                        row.scale_name, is_written(row) ? "yes" : "", loaders.empty() ? "-" : loaders);
  }
  text += "\nAll are read. \"static\" is written where the source has scales of activations. Checked against";
  for (const Loader loader : kLoaders) {
    text +=
        fmt::format("{} {} {}", loader == kLoaders.front() ? "" : ",", loader_title(loader), loader_version(loader));
  }
  return text + ".\nWhy a loader is missing from a row: octavo formats --json\n";
}

}  // namespace

void add_formats(CLI::App& app, Action& action) {
  auto options = std::make_shared<CommonOptions>();
  CLI::App* command =
      add_command(app, "formats", "Print the schemes and formats there are, and who loads them", "octavo formats");
  add_common_options(*command, *options);
  command->callback([options, &action] {
    action = [options]() -> Outcome {
      OCTAVO_TRY(print_result(*options, rows_text(), rows_json()));
      return 0;
    };
  });
}

}  // namespace octavo::cli
