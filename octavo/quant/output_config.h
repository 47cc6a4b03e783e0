// The quantization_config that the output's config.json gains. Write side only: octavo/checkpoint/quantization.h reads.
#pragma once

#include <string>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/quant/spec.h"

namespace octavo::quant {

// Modules by what happens to them; names without ".weight".
struct ModuleLists {
  std::vector<std::string> quantized;     // in the scheme itself
  std::vector<std::string> edge_channel;  // per channel instead of per block
  std::vector<std::string> kept;          // linears left unquantized
  std::vector<std::string> heads;         // output heads that are quantized
};

Json quantization_config(const QuantSpec& spec, const ModuleLists& modules);

}  // namespace octavo::quant
