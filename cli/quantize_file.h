// -c, --recipe and --print-spec of `quantize`: a job as another program's file says it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/quant/spec.h"

namespace octavo::cli {

// Of an offline job.
struct ConfigFile {
  std::string angelslim, recipe;
  bool print_spec = false;
};
// -c, --recipe, --print-spec.
void add_config_file(CLI::App& command, ConfigFile& options);

// What `quantize` is told by flags and can be told by a file.
struct QuantizeTargets {
  std::string &scheme, &format, &block;
  std::vector<std::string>&ignore, &only;
  bool& lm_head;
  std::string &model, &output;
};
// Fills in what the command line leaves open, and says on standard error what there is to say about the file (notes not
// with `quiet`). A flag that contradicts the file is a usage error that names both; a MODEL and an output on the
// command line say where, not what, and win. Without a file nothing happens.
Status apply_config_file(const ConfigFile& options, const QuantizeTargets& targets, bool quiet);

// --print-spec: the whole of what will be done, as one JSON object on standard output.
Status print_spec(const ConfigFile& options, const quant::QuantSpec& spec, const std::string& model,
                  const std::string& output);

}  // namespace octavo::cli
