// The parsers of quantization_config, one a family of dialects. Each fills everything of a QuantizationInfo but file,
// pointer and json. Facts: docs/formats.md.
#pragma once

#include <string_view>

#include "octavo/checkpoint/quantization.h"
#include "octavo/checkpoint/quantization/node.h"

namespace octavo::quantization {

// quant_method fp8: AutoFP8, DeepSeek, transformers, AngelSlim. w8a8_fp8 is SGLang's name for channels.
Result<QuantizationInfo> parse_fp8(const Node& node, std::string_view method);
// quant_method mxfp8: E8M0 scales in groups of 32.
Result<QuantizationInfo> parse_mxfp8(const Node& node);
Result<QuantizationInfo> parse_compressed_tensors(const Node& node);
// NVIDIA Model Optimizer: hf_quant_config.json (details under "quantization") or flat in config.json.
Result<QuantizationInfo> parse_modelopt(const Node& node);
// FBGEMM's rows, as Meta published Llama 3.1 405B.
Result<QuantizationInfo> parse_fbgemm(const Node& node);
// AMD Quark.
Result<QuantizationInfo> parse_quark(const Node& node);

// Every spelling of the list that is present.
Status parse_ignore(const Node& node, std::initializer_list<const char*> keys, QuantizationInfo& info);

}  // namespace octavo::quantization
