// How a model is to be quantized while it is loaded, from the options that say so: --quantization,
// --quantization-config, --hf-overrides, --edge, --ignore, --keep-first, --keep-last; of the command, and of the C ABI
// and Python by the same names.
#pragma once

#include <optional>
#include <string>

#include "octavo/dialect/config.h"
#include "octavo/quant/spec_options.h"

namespace octavo::dialect {

struct OnlineChoice {
  std::string quantization, edge;                 // "": not given
  std::string quantization_config, hf_overrides;  // JSON
  quant::KeepOptions keep;
  std::optional<Meaning> file;  // --from; excludes the first and the JSON
};

struct OnlineQuantization {
  std::optional<quant::QuantSpec> spec;  // nullopt: it runs as its folder has it
  std::string kv_cache_dtype;            // "" where nothing is said of it
};
// Usage errors name the options as the command has them.
Result<OnlineQuantization> online_quantization(const OnlineChoice& choice);

}  // namespace octavo::dialect
