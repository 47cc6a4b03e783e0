// What to do to a model: the scheme, which modules, in which output format. Every flag, YAML dialect and HTTP option
// becomes a QuantSpec; nothing below knows where it came from. One set of defaults for offline, online and refit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/loader_table.h"
#include "octavo/fp8/codec.h"
#include "octavo/fp8/scale.h"

namespace octavo::quant {

// Where one weight scale applies.
enum class Granularity : std::uint8_t { kTensor, kChannel, kBlock, kGroup };
// What a serving engine does with the activations of a quantized linear.
enum class Activation : std::uint8_t { kNone, kDynamicToken, kDynamicGroup, kStaticTensor };
// The dialect of the output's quantization_config.
enum class OutputFormat : std::uint8_t { kFp8, kCompressedTensors, kModelOpt, kMxfp8 };
// What the scale of P.weight is called in the mxfp8 format: no name serves all loaders.
enum class ScaleName : std::uint8_t { kWeightScale, kWeightScaleInv };
// What to do with NaN or infinity in a weight.
enum class NonFinite : std::uint8_t { kError, kZero };
// What blocks do where the block size does not divide a dimension.
enum class Edge : std::uint8_t { kPartial, kChannel };

struct Scheme {
  std::string_view name;  // the preset's name: "dynamic", "block", "tensor", "weight-only", "mxfp8", "static"
  Granularity granularity = Granularity::kChannel;
  std::uint64_t block_n = 1, block_k = 1;  // kBlock: rows and columns; kGroup: 1 and the group size
  Activation activation = Activation::kDynamicToken;
};

// The presets by name; nullopt when unknown.
std::optional<Scheme> find_scheme(std::string_view name);
std::vector<std::string> scheme_names();
std::string_view format_name(OutputFormat format);  // "fp8", "compressed-tensors", "modelopt", "mxfp8"
std::vector<std::string> format_names();
std::optional<OutputFormat> find_format(std::string_view name);

struct QuantSpec {
  Scheme scheme;
  OutputFormat format = OutputFormat::kCompressedTensors;
  fp8::Format dtype = fp8::Format::kE4M3;
  // nullopt: BF16 in compressed-tensors (F32 for F16 sources), F32 in the other formats, E8M0 in groups
  std::optional<fp8::ScaleDType> scale_dtype;
  bool pow2_scales = false;  // scales rounded up to powers of two
  bool direct = false;       // FP32 sources are quantized as they are, not via BF16
  // Rounds as llm-compressor does on a CPU, so that bytes can be compared: quotients to BF16 first, its scales of zero
  // regions, its exponents of mxfp8, no scale shared. Less exact: for comparisons only (docs/numerics.md).
  bool bf16_arithmetic = false;
  NonFinite nonfinite = NonFinite::kError;
  Edge edge = Edge::kPartial;
  std::optional<ScaleName> scale_name;  // of the mxfp8 format, which needs it

  std::vector<std::string> ignore;  // exact names, globs, re:...; of modules or of their tensors
  std::vector<std::string> only;    // when not empty, nothing else is quantized
  std::uint64_t keep_first = 0;     // layers left as they are
  std::uint64_t keep_last = 0;
  bool lm_head = false;  // quantize the output head too
  bool online = false;   // for a model in memory: what loaders make of a folder is no concern, and no warning

  // Of a module whose scales have this granularity: heads and edges are per channel in a scheme of blocks or groups.
  fp8::ScaleDType scale_dtype_for(bool f16_source, Granularity granularity) const;
};

std::string_view scale_name_text(ScaleName name);  // "weight_scale", "weight_scale_inv"

// A QuantSpec of a preset, with the format that goes with it when none is given ("" = default).
Result<QuantSpec> make_spec(std::string_view scheme, std::string_view format);

// Everything of a spec that decides the bytes of a folder, in a canonical order; all that is not said is the default of
// its name. (NonFinite is not among it: where both ways succeed they write the same.)
Json spec_json(const QuantSpec& spec);

// Refuses, in one line, combinations that no loader takes or that make no sense.
Status check_spec(const QuantSpec& spec);

// Refuses what a loader does not load, of what check_spec() lets pass.
Status check_loader(const QuantSpec& spec, Loader loader);

// What is written, and who loads it by octavo/checkpoint/loader_table.h. The same table prints `octavo formats`, the
// help of the commands and the refusals. "static" only where a source has scales of activations.
struct LegalPair {
  std::string_view scheme;
  OutputFormat format;
  std::string loaders;  // "vLLM, SGLang, transformers (dequantized), TensorRT-LLM"
};
const std::vector<LegalPair>& legal_pairs();
std::string legal_pairs_table();

}  // namespace octavo::quant
