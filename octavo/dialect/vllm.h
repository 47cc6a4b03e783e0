// vLLM's words for quantization on the way in: the values of `--quantization` and the object of
// `--quantization-config`.
#pragma once

#include <string>
#include <string_view>

#include "octavo/dialect/config.h"

namespace octavo::dialect {

// A value of `--quantization` as users of vLLM and SGLang know it: quant::online_spec, and for names that mean
// something else there (a checkpoint that is quantized already, another number format) an error that says so.
Result<quant::QuantSpec> online_spec(std::string_view name, quant::Edge edge = quant::Edge::kPartial);

// `--quantization-config JSON`: {"linear", "moe", "ignore"} or {"targets", "ignore"}; `name` is that of
// `--quantization`,
// "" or "online" when there is none. `origin` starts the messages.
Config read_quantization_config(std::string_view json, std::string_view name, std::string_view origin);

// `--hf-overrides JSON`, of which the quantization_config is understood, as ROLL writes it: {"quantization_config":
// {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128]}}. (roll.cc)
Config read_hf_overrides(std::string_view json, std::string_view name, std::string_view origin);

}  // namespace octavo::dialect
