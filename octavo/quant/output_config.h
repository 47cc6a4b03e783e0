// The quantization_config that the output's config.json gains. Write side only: octavo/checkpoint/quantization.h reads.
#pragma once

#include <string_view>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/quant/spec.h"

namespace octavo::quant {

// Modules by what happens to them; names without ".weight", which are the checkpoint's.
struct ModuleLists {
  std::vector<std::string_view> quantized;     // in the scheme itself
  std::vector<std::string_view> edge_channel;  // per channel instead of per block
  std::vector<std::string_view> kept;          // linears left unquantized
  std::vector<std::string_view> heads;         // output heads that are quantized
  bool fp8_cache = false;                      // the model has scales for an FP8 KV cache
};

Json quantization_config(const QuantSpec& spec, const ModuleLists& modules);
// hf_quant_config.json, the older place of the modelopt dialect that TensorRT-LLM reads; null in other formats.
Json hf_quant_config(const QuantSpec& spec, const ModuleLists& modules);

}  // namespace octavo::quant
