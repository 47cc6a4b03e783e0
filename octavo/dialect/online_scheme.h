// What ROLL, NeMo-RL and vLLM share: names of online schemes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "octavo/dialect/reader.h"

namespace octavo::dialect {

// A name of vLLM's `--quantization`, or a weight key of its quantization_config, as `--quantization` of Octavo calls
// the scheme: "fp8_per_block_static" is "fp8_per_block". An error says what a foreign name is.
Result<std::string> online_name(std::string_view name);

// The same for the value of a key; nullopt after an error there.
std::optional<quant::QuantSpec> online_scheme(const Section& section, std::string_view key, std::string_view name,
                                              Meaning& meaning);

// A mixture of experts, going by a model's name: "Qwen3-30B-A3B", "Mixtral".
bool sounds_like_experts(std::string_view model);

}  // namespace octavo::dialect
