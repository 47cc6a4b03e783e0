// quantization_config in each dialect, key for key as the loaders read it:
// docs/formats.md.
#include "octavo/quant/output_config.h"

#include <algorithm>

namespace octavo::quant {
namespace {

// The compressed-tensors release whose schema is written.
constexpr const char* kCompressedTensorsVersion = "0.20.0";
constexpr const char* kModelOptVersion = "0.47.0";
// vLLM and SGLang look for the head by this name in every architecture; regexes are not remapped, so it is robust.
constexpr const char* kHeadPattern = "re:.*lm_head$";

// Unquantized linears, and the head whether or not it has a tensor (a tied head is still a module).
std::vector<std::string_view> ignore_list(const ModuleLists& modules) {
  std::vector<std::string_view> out;
  const bool listed = std::find(modules.kept.begin(), modules.kept.end(), "lm_head") != modules.kept.end();
  if (modules.heads.empty() && !listed) out.emplace_back("lm_head");
  out.insert(out.end(), modules.kept.begin(), modules.kept.end());
  return out;
}

// The fp8 and the mxfp8 dialect.
Json fp8_config(const QuantSpec& spec, const ModuleLists& modules) {
  const bool is_static = spec.scheme.activation == Activation::kStaticTensor;
  Json config = {{"quant_method", format_name(spec.format)},
                 {"fmt", fp8::format_name(spec.dtype)},
                 {"activation_scheme", is_static ? "static" : "dynamic"}};
  if (spec.format == OutputFormat::kMxfp8) {  // in the words of transformers, which has one class for both
    config["weight_block_size"] = {1, spec.scheme.block_k};
    config["scale_fmt"] = "ue8m0";
  } else if (spec.scheme.granularity == Granularity::kBlock) {
    config["weight_block_size"] = {spec.scheme.block_n, spec.scheme.block_k};
    if (spec.pow2_scales) config["scale_fmt"] = "ue8m0";
  }
  // vLLM reads one spelling, SGLang and transformers the other; neither may be empty.
  const auto ignore = ignore_list(modules);
  config["modules_to_not_convert"] = ignore;
  config["ignored_layers"] = ignore;
  return config;
}

Json float8_args() { return {{"dynamic", false}, {"group_size", nullptr}, {"num_bits", 8}}; }

Json finish(Json args, const char* strategy) {
  args["strategy"] = strategy;
  args["symmetric"] = true;
  args["type"] = "float";
  return args;
}

Json weight_args(Granularity granularity, std::uint64_t block_n, std::uint64_t block_k) {
  switch (granularity) {
    case Granularity::kTensor: return finish(float8_args(), "tensor");
    case Granularity::kChannel: return finish(float8_args(), "channel");
    case Granularity::kBlock: {
      Json args = {{"block_structure", {block_n, block_k}}};
      args.update(float8_args());
      return finish(std::move(args), "block");
    }
    case Granularity::kGroup: {
      Json args = float8_args();
      args["group_size"] = block_k;
      args["scale_dtype"] = "torch.uint8";
      return finish(std::move(args), "group");
    }
  }
  return nullptr;
}

// `mx`: groups share an exponent, not an F32 scale.
Json activation_args(Activation activation, std::uint64_t group, bool mx) {
  Json args = float8_args();
  args["dynamic"] = true;
  switch (activation) {
    case Activation::kNone: return nullptr;
    case Activation::kDynamicToken: return finish(std::move(args), "token");
    case Activation::kDynamicGroup:
      args["group_size"] = group;
      if (mx) args["scale_dtype"] = "torch.uint8";
      return finish(std::move(args), "group");
    case Activation::kStaticTensor:
      args["dynamic"] = false;
      args["observer"] = "static_minmax";
      return finish(std::move(args), "tensor");
  }
  return nullptr;
}

Json config_group(const char* format, Json activations, std::vector<std::string_view> targets, Json weights) {
  return {{"format", format},
          {"input_activations", std::move(activations)},
          {"output_activations", nullptr},
          {"targets", std::move(targets)},
          {"weights", std::move(weights)}};
}

Json compressed_tensors_config(const QuantSpec& spec, const ModuleLists& modules) {
  const Scheme& scheme = spec.scheme;
  // float-quantized requires activations, so FP8 weights alone are "naive-quantized".
  const bool mx = scheme.granularity == Granularity::kGroup;
  const char* format = mx                                       ? "mxfp8-quantized"
                       : scheme.activation == Activation::kNone ? "naive-quantized"
                                                                : "float-quantized";
  const char* channel_format = scheme.activation == Activation::kNone ? "naive-quantized" : "float-quantized";

  // The head and the modules that blocks do not fit go per channel; where that is the scheme itself, it is one group.
  const bool same = scheme.granularity == Granularity::kChannel;
  std::vector<std::string_view> head_targets;
  if (!modules.heads.empty()) {
    head_targets.emplace_back(kHeadPattern);
    for (const std::string_view head : modules.heads) {
      if (!head.ends_with("lm_head")) head_targets.push_back(head);
    }
  }
  std::vector<std::string_view> targets = {"Linear"};
  std::vector<std::string_view> channel_targets = modules.edge_channel;
  // With two groups a class name would take the modules of both, and TensorRT-LLM refuses it: names instead.
  if (!modules.edge_channel.empty() || (!same && !modules.heads.empty())) targets = modules.quantized;
  auto& head_group = same ? targets : channel_targets;
  head_group.insert(head_group.end(), head_targets.begin(), head_targets.end());

  Json groups = Json::object();
  if (!targets.empty()) {
    groups["group_0"] = config_group(format, activation_args(scheme.activation, scheme.block_k, mx), std::move(targets),
                                     weight_args(scheme.granularity, scheme.block_n, scheme.block_k));
  }
  if (!channel_targets.empty()) {
    const Activation activation =
        scheme.activation == Activation::kNone ? Activation::kNone : Activation::kDynamicToken;
    groups[groups.empty() ? "group_0" : "group_1"] =
        config_group(channel_format, activation_args(activation, 0, false), std::move(channel_targets),
                     weight_args(Granularity::kChannel, 1, 1));
  }
  const bool mixed = mx && groups.size() > 1;
  return {{"config_groups", std::move(groups)},
          {"format", mixed ? "mixed-precision" : format},
          {"global_compression_ratio", nullptr},
          {"ignore", ignore_list(modules)},
          {"kv_cache_scheme", modules.fp8_cache ? finish(float8_args(), "tensor") : Json(nullptr)},
          {"quant_method", "compressed-tensors"},
          {"quantization_status", "compressed"},
          {"sparsity_config", Json::object()},
          {"transform_config", Json::object()},
          {"version", kCompressedTensorsVersion}};
}

// vLLM upper-cases what it reads; to TensorRT-LLM the block scheme is known in lower case only.
const char* modelopt_algorithm(const Scheme& scheme) {
  switch (scheme.granularity) {
    case Granularity::kTensor: return "FP8";
    case Granularity::kChannel: return "FP8_PER_CHANNEL_PER_TOKEN";
    case Granularity::kBlock: return "fp8_pb_wo";
    case Granularity::kGroup: return "MXFP8";
  }
  return "";
}

// The dialect and its release, not the program: vLLM and TensorRT-LLM read no other producer's file.
Json modelopt_producer() { return {{"name", "modelopt"}, {"version", kModelOptVersion}}; }

Json modelopt_config(const QuantSpec& spec, const ModuleLists& modules) {
  Json config = {{"quant_method", "modelopt"},
                 {"quant_algo", modelopt_algorithm(spec.scheme)},
                 {"ignore", ignore_list(modules)},
                 {"producer", modelopt_producer()}};
  const Json float8 = {{"dynamic", false}, {"num_bits", 8}, {"type", "float"}};
  if (spec.scheme.granularity == Granularity::kTensor) {
    config["config_groups"] = {
        {"group_0", {{"input_activations", float8}, {"weights", float8}, {"targets", Json::array({"Linear"})}}}};
  }
  if (modules.fp8_cache) config["kv_cache_scheme"] = float8;
  return config;
}

}  // namespace

Json quantization_config(const QuantSpec& spec, const ModuleLists& modules) {
  switch (spec.format) {
    case OutputFormat::kCompressedTensors: return compressed_tensors_config(spec, modules);
    case OutputFormat::kModelOpt: return modelopt_config(spec, modules);
    default: return fp8_config(spec, modules);
  }
}

Json hf_quant_config(const QuantSpec& spec, const ModuleLists& modules) {
  if (spec.format != OutputFormat::kModelOpt) return nullptr;
  return {{"producer", modelopt_producer()},
          {"quantization",
           {{"quant_algo", modelopt_algorithm(spec.scheme)},
            {"kv_cache_quant_algo", modules.fp8_cache ? Json("FP8") : Json(nullptr)},
            {"exclude_modules", ignore_list(modules)}}}};
}

}  // namespace octavo::quant
