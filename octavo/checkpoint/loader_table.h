// Who loads what: one row a pair of scheme and dialect, one answer a loader. The only place where this is said; the
// legal pairs of `octavo quantize`, `octavo formats`, its help and `verify --for` are made from it.
//
// Answers hold for pre-quantized files, linear layers and GPUs that have FP8. What depends on shapes or on the model's
// architecture (block sizes that do not divide, experts, the Llama family in SGLang) is judged by octavo/verify;
// the notes name it. Facts: docs/formats.md, "Who loads what".
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "octavo/checkpoint/quantization.h"
#include "octavo/fp8/codec.h"

namespace octavo {

enum class Loader : std::uint8_t { kVllm, kSglang, kTransformers, kTensorRtLlm };
inline constexpr std::array<Loader, 4> kLoaders = {Loader::kVllm, Loader::kSglang, Loader::kTransformers,
                                                   Loader::kTensorRtLlm};
std::string_view loader_name(Loader loader);     // "vllm", "sglang", "transformers", "tensorrt-llm": as --for takes it
std::string_view loader_title(Loader loader);    // "vLLM", "SGLang", "transformers", "TensorRT-LLM"
std::string_view loader_version(Loader loader);  // whose rules these are: "0.33", ..., "main of 2026"
std::optional<Loader> find_loader(std::string_view name);  // by loader_name()
std::string loader_names();                                // "vllm, sglang, transformers, tensorrt-llm"

// What is done to weights and activations, without the names under which it is stored.
enum class SchemeKind : std::uint8_t {
  kTensorStatic,     // one scale a weight, one scale of its input
  kTensorDynamic,    // one scale a weight, inputs per token or per tensor
  kChannelDynamic,   // one scale an output channel, inputs per token
  kBlock,            // 128x128, inputs in groups of 128
  kMxfp8,            // E8M0 scales in groups of 32, inputs likewise
  kWeightOnly,       // one scale a tensor or channel, inputs as they are
  kWeightOnlyBlock,  // blocks, inputs as they are
  kMxfp8WeightOnly,  // groups of 32, inputs as they are
};
inline constexpr std::array<SchemeKind, 8> kSchemeKinds = {
    SchemeKind::kTensorStatic, SchemeKind::kTensorDynamic, SchemeKind::kChannelDynamic,  SchemeKind::kBlock,
    SchemeKind::kMxfp8,        SchemeKind::kWeightOnly,    SchemeKind::kWeightOnlyBlock, SchemeKind::kMxfp8WeightOnly};
// The name of the preset: "static", "tensor", "dynamic", "block", "mxfp8", "weight-only"; where there is no preset
// "weight-only block", "weight-only mxfp8".
std::string_view scheme_kind_name(SchemeKind scheme);
// nullopt: none of them, such as FP8 in groups of 128.
std::optional<SchemeKind> scheme_kind(const QuantizationGroup& group);

enum class Takes : std::uint8_t {
  kNo,           // refuses the file, or would run it wrongly
  kLoads,        // runs in FP8
  kDequantizes,  // runs, but in BF16
  kAsOther,      // runs as another scheme; the note says which
  kUnknown,      // not looked at
};

struct LoaderAnswer {
  Takes takes = Takes::kUnknown;
  std::string_view note;  // why not, or under which condition; "" where there is nothing to say
};

struct LoaderRow {
  SchemeKind scheme;
  Dialect dialect;
  std::string_view scale_name;            // "weight_scale" or "weight_scale_inv": of a dialect that has both, two rows
  std::array<LoaderAnswer, 4> answers{};  // by Loader

  const LoaderAnswer& operator[](Loader loader) const { return answers[static_cast<std::size_t>(loader)]; }
};

// Every pair that exists anywhere, by scheme, then by dialect. The strings live as long as the program.
std::span<const LoaderRow> loader_table();
// nullptr: no file has this pair. "" as scale name: the first row of the pair.
const LoaderRow* find_loader_row(SchemeKind scheme, Dialect dialect, std::string_view scale_name = "");

// Weights in another format than E4M3, whatever the scheme.
LoaderAnswer loader_answer_for(fp8::Format format, Dialect dialect, Loader loader);

// "loads", "loads: no experts", "no: needs input_scale", "dequantized", "as mxfp8: ...", "?".
std::string describe(const LoaderAnswer& answer);
// "vLLM, SGLang (no experts), transformers (dequantized)": those that take the row.
std::string loaders_of(const LoaderRow& row);

}  // namespace octavo
