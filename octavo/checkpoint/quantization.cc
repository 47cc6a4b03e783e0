// Which dialect a checkpoint's quantization is written in, and its description. The dialects: quantization/*.cc.
#include "octavo/checkpoint/quantization.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "octavo/base/ceil_div.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/model_config.h"
#include "octavo/checkpoint/quantization/parsers.h"

namespace octavo {
namespace {

using quantization::Node;

constexpr const char* kHfQuantConfig = "hf_quant_config.json";
constexpr std::uint64_t kMaxConfigBytes = 64ull << 20;

// Methods that are not FP8, by what they are.
struct ForeignMethod {
  std::string_view name, what;
};
constexpr std::array<ForeignMethod, 34> kForeign{{
    {"gptq", "integers of 2 to 8 bits (GPTQ)"},
    {"gptq_marlin", "integers of 4 or 8 bits (GPTQ)"},
    {"gptq_v2", "integers of 2 to 8 bits (GPTQ)"},
    {"awq", "4-bit integers (AWQ)"},
    {"awq_marlin", "4-bit integers (AWQ)"},
    {"auto-round", "integers of 2 to 8 bits (AutoRound)"},
    {"inc", "integers of 2 to 8 bits (Intel Neural Compressor)"},
    {"bitsandbytes", "8-bit integers or 4-bit codes (bitsandbytes)"},
    {"modelopt_fp4", "4-bit floats in groups of 16 (NVFP4)"},
    {"nvfp4", "4-bit floats in groups of 16 (NVFP4)"},
    {"petit_nvfp4", "4-bit floats in groups of 16 (NVFP4)"},
    {"fouroversix", "4-bit floats in groups of 16 (NVFP4)"},
    {"mxfp4", "4-bit floats in groups of 32 (MXFP4)"},
    {"gpt_oss_mxfp4", "4-bit floats in groups of 32 (MXFP4)"},
    {"fp_quant", "4-bit floats (FP-Quant)"},
    {"mxfp6", "6-bit floats in groups of 32 (MXFP6)"},
    {"w4afp8", "4-bit integers with FP8 activations (W4AFP8)"},
    {"w8a8_int8", "8-bit integers"},
    {"experts_int8", "8-bit integers"},
    {"eetq", "8-bit integers (EETQ)"},
    {"quanto", "integers or floats in quanto's own tensors"},
    {"torchao", "torchao's own tensors"},
    {"hqq", "integers of 1 to 8 bits (HQQ)"},
    {"aqlm", "codebooks (AQLM)"},
    {"vptq", "codebooks (VPTQ)"},
    {"quip", "codebooks (QuIP)"},
    {"spqr", "3-bit integers with outliers (SpQR)"},
    {"higgs", "codes of a grid (HIGGS)"},
    {"sinq", "integers of 2 to 8 bits (SINQ)"},
    {"bitnet", "ternary weights (BitNet)"},
    {"gguf", "GGUF blocks; run `octavo import` on the .gguf file"},
    {"marlin", "4-bit integers (Marlin)"},
    {"deepspeedfp", "DeepSpeed's packed floats"},
    {"fp4", "4-bit floats"},
}};

Result<QuantizationInfo> dispatch(const Node& node) {
  OCTAVO_ASSIGN(const std::string method, node.text("quant_method"));
  // deepseek_v4_fp8 is what vLLM calls it inside.
  if (method == "fp8" || method == "w8a8_fp8" || method == "deepseek_v4_fp8") {
    return quantization::parse_fp8(node, method);
  }
  if (method == "compressed-tensors") return quantization::parse_compressed_tensors(node);
  if (method == "mxfp8") return quantization::parse_mxfp8(node);
  if (method == "fbgemm_fp8") return quantization::parse_fbgemm(node);
  if (method == "quark") return quantization::parse_quark(node);
  const bool modelopt = method == "modelopt" || method == "modelopt_fp8" || method == "modelopt_mxfp8" ||
                        method == "modelopt_mixed" || (method.empty() && node.get("quant_algo") != nullptr);
  if (modelopt) return quantization::parse_modelopt(node);
  if (method.empty()) return node.wrong("quant_method", "is missing");
  const auto foreign = std::find_if(kForeign.begin(), kForeign.end(), [&](const auto& f) { return f.name == method; });
  if (foreign != kForeign.end()) {
    return node.wrong("quant_method", fmt::format("is \"{}\": {}; Octavo reads FP8 only", method, foreign->what));
  }
  return node.wrong("quant_method", fmt::format("is \"{}\"; Octavo reads fp8, compressed-tensors, modelopt, mxfp8, "
                                                "fbgemm_fp8 and quark",
                                                printable(method)));
}

std::string describe_group(const QuantizationGroup& group) {
  std::string weights;
  switch (group.granularity) {
    case Granularity::kTensor: weights = "per tensor"; break;
    case Granularity::kChannel: weights = "per channel"; break;
    case Granularity::kBlock: weights = fmt::format("{}x{} blocks", group.block_n, group.block_k); break;
    case Granularity::kGroup: weights = fmt::format("groups of {}", group.block_k); break;
  }
  std::string activations = std::string(activation_name(group.activation));
  if (group.activation == ActivationScheme::kDynamicGroup) activations += fmt::format(" of {}", group.activation_group);
  return fmt::format("{}, {}", weights, activations);
}

// What only the tensors of an fp8 file tell.
void complete_fp8(const Checkpoint& checkpoint, QuantizationInfo& info) {
  constexpr std::uint64_t kDefaultBlock = 128;  // of transformers, where the config has no weight_block_size
  bool scalar_inverse = false, plain = false;
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    if (!is_fp8(tensor.dtype)) continue;
    const CheckpointTensor* inverse = checkpoint.find(tensor.name + "_scale_inv");
    plain = plain || checkpoint.find(tensor.name + "_scale") != nullptr;
    if (inverse == nullptr) continue;
    const std::size_t rank = tensor.shape.size();
    scalar_inverse = scalar_inverse || element_count(inverse->shape) == 1;
    QuantizationGroup& group = info.groups[0];
    if (group.granularity != Granularity::kTensor || info.json.contains("weight_block_size") || rank < 2) continue;
    Shape grid = tensor.shape;
    grid[rank - 2] = ceil_div(grid[rank - 2], kDefaultBlock);
    grid[rank - 1] = ceil_div(grid[rank - 1], kDefaultBlock);
    if (inverse->shape != grid) continue;
    group.granularity = Granularity::kBlock;
    group.block_n = group.block_k = kDefaultBlock;
    if (group.activation == ActivationScheme::kDynamicTensor) {
      group.activation = ActivationScheme::kDynamicGroup;
      group.activation_group = kDefaultBlock;
    }
  }
  const bool per_tensor = info.groups[0].granularity == Granularity::kTensor;
  info.transformers_names = per_tensor && !plain && (scalar_inverse || info.transformers_names);
}

void complete(const Checkpoint& checkpoint, QuantizationInfo& info) {
  const auto& tensors = checkpoint.tensors();
  const auto fp8 = std::find_if(tensors.begin(), tensors.end(), [](const auto& t) { return is_fp8(t.dtype); });
  if (fp8 != tensors.end()) {
    // No config has a word for these.
    if (fp8->dtype == DType::kF8E4M3FNUZ) info.format = fp8::Format::kE4M3FNUZ;
    if (fp8->dtype == DType::kF8E5M2FNUZ) info.format = fp8::Format::kE5M2FNUZ;
  }
  if (info.dialect == Dialect::kFp8) complete_fp8(checkpoint, info);
}

}  // namespace

std::string_view dialect_name(Dialect dialect) {
  static constexpr std::array<std::string_view, 6> kNames = {"fp8",   "compressed-tensors", "modelopt",
                                                             "mxfp8", "fbgemm_fp8",         "quark"};
  return kNames[static_cast<std::size_t>(dialect)];
}

std::string_view granularity_name(Granularity granularity) {
  static constexpr std::array<std::string_view, 4> kNames = {"tensor", "channel", "block", "group"};
  return kNames[static_cast<std::size_t>(granularity)];
}

std::string_view activation_name(ActivationScheme scheme) {
  static constexpr std::array<std::string_view, 5> kNames = {
      "activations not quantized", "dynamic activations per token", "dynamic activations in groups",
      "dynamic activations", "static activations per tensor"};
  return kNames[static_cast<std::size_t>(scheme)];
}

std::string QuantizationInfo::describe() const {
  std::vector<std::string> parts;
  for (const QuantizationGroup& group : groups) {
    std::string part = describe_group(group);
    if (dialect == Dialect::kModelOpt) part = fmt::format("{}: {}", group.format, part);
    if (std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(std::move(part));
  }
  std::string out = fmt::format("{} {}, {}", dialect_name(dialect), fp8::format_name(format), fmt::join(parts, "; "));
  if (transformers_names) out += ", with transformers' names";
  if (!kv_cache.empty()) out += kv_cache == "attn_head" ? "; FP8 keys and values per head" : "; FP8 keys and values";
  if (file != "config.json") out += fmt::format(" (by {})", file);
  return out;
}

Result<std::optional<QuantizationInfo>> parse_quantization(const Json& config, std::string_view origin) {
  const Node root{&config, "", origin};
  // Old compressed-tensors wrote compression_config; multimodal models keep it with their language model.
  std::string pointer;
  const Json* found = nullptr;
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (found == nullptr && (found = root.get(key)) != nullptr) pointer = fmt::format("/{}", key);
  }
  for (const char* part : kLanguageModelKeys) {
    const Json* inner = root.get(part);
    if (found != nullptr || inner == nullptr || !inner->is_object()) continue;
    found = Node{inner, "", origin}.get("quantization_config");
    if (found != nullptr) pointer = fmt::format("/{}/quantization_config", part);
  }
  if (found == nullptr) return std::optional<QuantizationInfo>();
  OCTAVO_ASSIGN(const Node node, quantization::as_object(*found, pointer, origin));
  OCTAVO_ASSIGN(QuantizationInfo info, dispatch(node));
  info.pointer = std::move(pointer);
  info.json = *found;
  return std::optional(std::move(info));
}

Result<QuantizationInfo> parse_hf_quant_config(const Json& file, std::string_view origin) {
  if (!file.is_object()) return failure("{}: must be an object, not {}", origin, json_type_name(file));
  OCTAVO_ASSIGN(QuantizationInfo info, quantization::parse_modelopt(Node{&file, "", origin}));
  info.file = kHfQuantConfig;
  info.pointer = "";
  info.json = file;
  return info;
}

Result<std::optional<QuantizationInfo>> read_quantization(const Checkpoint& checkpoint) {
  OCTAVO_ASSIGN(auto info, parse_quantization(checkpoint.config(), checkpoint.config_path().string()));
  const std::filesystem::path beside = checkpoint.dir() / kHfQuantConfig;
  std::error_code error;
  if (!info && std::filesystem::exists(beside, error)) {
    OCTAVO_ASSIGN(const std::string text, read_text_file(beside, kMaxConfigBytes));
    OCTAVO_ASSIGN(const Json json, parse_json(text, beside.string()));
    OCTAVO_ASSIGN(info, parse_hf_quant_config(json, beside.string()));
  }
  if (info) complete(checkpoint, *info);
  return info;
}

}  // namespace octavo
