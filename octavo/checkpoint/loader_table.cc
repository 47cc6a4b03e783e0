// The rows. Sources: docs/formats.md, "Who loads what".
#include "octavo/checkpoint/loader_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

namespace octavo {
namespace {

struct LoaderFacts {
  std::string_view name, title, version;
};
constexpr std::array<LoaderFacts, 4> kFacts{{{"vllm", "vLLM", "0.33"},
                                             {"sglang", "SGLang", "0.5.23"},
                                             {"transformers", "transformers", "5.23"},
                                             {"tensorrt-llm", "TensorRT-LLM", "main of 2026"}}};

constexpr std::uint64_t kMxGroup = 32;

constexpr std::string_view kPlain = "weight_scale", kInverse = "weight_scale_inv";
constexpr LoaderAnswer kLoads{Takes::kLoads, ""};
constexpr LoaderAnswer kDequantized{Takes::kDequantizes, ""};

constexpr LoaderAnswer loads(std::string_view condition) { return {Takes::kLoads, condition}; }
constexpr LoaderAnswer dequantized(std::string_view condition) { return {Takes::kDequantizes, condition}; }
constexpr LoaderAnswer as(std::string_view what) { return {Takes::kAsOther, what}; }
constexpr LoaderAnswer no(std::string_view why) { return {Takes::kNo, why}; }
constexpr LoaderAnswer unknown(std::string_view note) { return {Takes::kUnknown, note}; }

constexpr LoaderAnswer kHfNames = no("wants weight_scale_inv, activation_scale and a null block size");
constexpr LoaderAnswer kHfModelOpt = no("an unknown method: the FP8 codes load without their scales");
constexpr LoaderAnswer kHfQuark = unknown("needs AMD's quark library");
constexpr LoaderAnswer kTrtTensor = no("strategy tensor raises");
constexpr LoaderAnswer kTrtGroup = no("strategy group raises");
constexpr LoaderAnswer kTrtWeightOnly = no("input_activations of null fail");
constexpr LoaderAnswer kTrtQuark = no("no such method");
constexpr LoaderAnswer kSglangOneAlgorithm = no("of modelopt only the algorithm FP8");
constexpr LoaderAnswer kRenamesVllm = as("weight_scale in Mistral3 only, which renames it");
constexpr LoaderAnswer kRenamesSglang = as("weight_scale in the Llama family only, which renames it");

using enum SchemeKind;
constexpr Dialect kFp8 = Dialect::kFp8, kCt = Dialect::kCompressedTensors, kOpt = Dialect::kModelOpt,
                  kMx = Dialect::kMxfp8, kFb = Dialect::kFbgemm, kQk = Dialect::kQuark;

//                                                 vLLM, SGLang, transformers, TensorRT-LLM
constexpr LoaderRow kRows[] = {
    {kTensorStatic, kFp8, kPlain, {kLoads, kLoads, kHfNames, as("blocks, the one scale spread over the grid")}},
    {kTensorStatic, kFp8, kInverse, {kRenamesVllm, kRenamesSglang, kLoads, no("a null block size fails")}},
    {kTensorStatic, kCt, kPlain, {kLoads, kLoads, kDequantized, kTrtTensor}},
    {kTensorStatic, kOpt, kPlain, {kLoads, kLoads, kHfModelOpt, kLoads}},
    {kTensorStatic, kQk, kPlain, {kLoads, kLoads, kHfQuark, kTrtQuark}},

    {kTensorDynamic, kFp8, kPlain, {kLoads, kLoads, kHfNames, no("not recognised")}},
    {kTensorDynamic, kFp8, kInverse, {kRenamesVllm, kRenamesSglang, kLoads, no("not recognised")}},
    {kTensorDynamic, kCt, kPlain, {loads("no experts"), loads("no experts"), kDequantized, kTrtTensor}},
    {kTensorDynamic, kOpt, kPlain, {no("expects input_scale"), no("expects input_scale"), kHfModelOpt, unknown("")}},
    {kTensorDynamic, kQk, kPlain, {kLoads, kLoads, kHfQuark, kTrtQuark}},

    {kChannelDynamic,
     kFp8,
     kPlain,
     {no("one scale a tensor only"), no("only as w8a8_fp8"), no("one scale a tensor or block"),
      no("one scale a tensor or block")}},
    {kChannelDynamic, kCt, kPlain, {kLoads, kLoads, kDequantized, kLoads}},
    {kChannelDynamic, kOpt, kPlain, {loads("no experts"), kSglangOneAlgorithm, kHfModelOpt, kLoads}},
    {kChannelDynamic,
     kFb,
     kPlain,
     {loads("deprecated (--allow-deprecated-quantization), no experts"), no("no such method"),
      loads("with the fbgemm library"), no("no such method")}},
    {kChannelDynamic, kQk, kPlain, {kLoads, kLoads, kHfQuark, kTrtQuark}},

    {kBlock,
     kFp8,
     kInverse,
     {kLoads, loads("not the Llama family"), loads("shapes that the block divides"), loads("128x128")}},
    {kBlock, kCt, kPlain, {kLoads, kLoads, dequantized("no experts"), loads("128x128")}},
    {kBlock,
     kOpt,
     kPlain,
     {loads("columns divisible by 128; no experts"), no("only inside MIXED_PRECISION"), kHfModelOpt,
      loads("spelled fp8_pb_wo")}},
    {kBlock, kQk, kPlain, {loads("128x128"), unknown(""), kHfQuark, kTrtQuark}},

    {kMxfp8, kMx, kPlain, {kLoads, no("wants weight_scale_inv"), no("wants weight_scale_inv"), kLoads}},
    {kMxfp8, kMx, kInverse, {no("wants weight_scale"), loads("Blackwell GPUs"), kLoads, kLoads}},
    {kMxfp8, kCt, kPlain, {kLoads, no("no such scheme"), dequantized("no experts"), kTrtGroup}},
    {kMxfp8, kOpt, kPlain, {kLoads, no("rerouted to mxfp8, which wants weight_scale_inv"), kHfModelOpt, kLoads}},

    {kWeightOnly, kCt, kPlain, {kLoads, kLoads, kDequantized, kTrtWeightOnly}},
    {kWeightOnlyBlock,
     kCt,
     kPlain,
     {kLoads, no("tensor and channel scales only"), dequantized("no experts"), kTrtWeightOnly}},
    {kMxfp8WeightOnly,
     kCt,
     kPlain,
     {as("mxfp8: activations are quantized too"), no("no such scheme"), dequantized("no experts"), kTrtWeightOnly}},
};

const LoaderFacts& facts(Loader loader) { return kFacts[static_cast<std::size_t>(loader)]; }

}  // namespace

std::string_view loader_name(Loader loader) { return facts(loader).name; }
std::string_view loader_title(Loader loader) { return facts(loader).title; }
std::string_view loader_version(Loader loader) { return facts(loader).version; }

std::optional<Loader> find_loader(std::string_view name) {
  for (const Loader loader : kLoaders) {
    if (loader_name(loader) == name) return loader;
  }
  return std::nullopt;
}

std::string loader_names() {
  std::vector<std::string_view> names;
  for (const Loader loader : kLoaders) names.push_back(loader_name(loader));
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string_view scheme_kind_name(SchemeKind scheme) {
  static constexpr std::array<std::string_view, 8> kNames = {
      "static", "tensor", "dynamic", "block", "mxfp8", "weight-only", "weight-only block", "weight-only mxfp8"};
  return kNames[static_cast<std::size_t>(scheme)];
}

std::optional<SchemeKind> scheme_kind(const QuantizationGroup& group) {
  const bool weight_only = group.activation == ActivationScheme::kNone;
  const bool is_static = group.activation == ActivationScheme::kStaticTensor;
  switch (group.granularity) {
    case Granularity::kTensor:
      if (weight_only) return kWeightOnly;
      return is_static ? kTensorStatic : kTensorDynamic;
    case Granularity::kChannel:
      if (is_static) return std::nullopt;
      return weight_only ? kWeightOnly : kChannelDynamic;
    case Granularity::kBlock:
      if (is_static) return std::nullopt;
      return weight_only ? kWeightOnlyBlock : kBlock;
    case Granularity::kGroup:
      if (group.block_k != kMxGroup || is_static) return std::nullopt;
      return weight_only ? kMxfp8WeightOnly : kMxfp8;
  }
  return std::nullopt;
}

std::span<const LoaderRow> loader_table() { return kRows; }

const LoaderRow* find_loader_row(SchemeKind scheme, Dialect dialect, std::string_view scale_name) {
  const auto* row = std::find_if(std::begin(kRows), std::end(kRows), [&](const LoaderRow& r) {
    return r.scheme == scheme && r.dialect == dialect && (scale_name.empty() || r.scale_name == scale_name);
  });
  return row == std::end(kRows) ? nullptr : row;
}

LoaderAnswer loader_answer_for(fp8::Format format, Dialect dialect, Loader loader) {
  if (format == fp8::Format::kE4M3) return {Takes::kLoads, ""};
  if (format != fp8::Format::kE5M2) return no("no loader expects FNUZ codes in a file; they are made while loading");
  if (dialect == Dialect::kCompressedTensors) return no("8-bit floats mean E4M3");
  if (loader == Loader::kTransformers) {
    return dialect == Dialect::kFp8 || dialect == Dialect::kMxfp8 ? dequantized("only where it dequantizes") : no("");
  }
  return no("its parameters are E4M3, and the copy changes the values");
}

std::string describe(const LoaderAnswer& answer) {
  const auto with = [&](std::string_view word) {
    return answer.note.empty() ? std::string(word) : fmt::format("{}: {}", word, answer.note);
  };
  switch (answer.takes) {
    case Takes::kNo: return with("no");
    case Takes::kLoads: return with("loads");
    case Takes::kDequantizes: return with("dequantized");
    case Takes::kAsOther: return fmt::format("as {}", answer.note);
    case Takes::kUnknown: break;
  }
  return with("?");
}

std::string loaders_of(const LoaderRow& row) {
  std::vector<std::string> out;
  for (const Loader loader : kLoaders) {
    const LoaderAnswer& answer = row[loader];
    std::string name(loader_title(loader));
    switch (answer.takes) {
      case Takes::kNo:
      case Takes::kUnknown: continue;
      case Takes::kLoads:
        if (!answer.note.empty()) name += fmt::format(" ({})", answer.note);
        break;
      case Takes::kDequantizes:
        name += answer.note.empty() ? " (dequantized)" : fmt::format(" (dequantized; {})", answer.note);
        break;
      case Takes::kAsOther: name += fmt::format(" (as {})", answer.note); break;
    }
    out.push_back(std::move(name));
  }
  return fmt::format("{}", fmt::join(out, ", "));
}

}  // namespace octavo
