// A slow, plain FP8 writer for the tests of `verify`: one element after the other with the truth in octavo/fp8, and
// configs written out by hand. It shares nothing with octavo/quant, so that neither can hide the other's mistakes.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "octavo/fp8/codec.h"
#include "octavo/fp8/half.h"
#include "tests/support/checkpoint_builder.h"

namespace octavo::test {

// The way from a weight to a code.
enum class Producer { kDivide, kDivideInBf16, kReciprocal };

struct PlainOptions {
  std::string scheme = "dynamic";  // dynamic, block, tensor, weight-only, static, mxfp8
  bool fp8_dialect = false;        // else compressed-tensors
  std::string dialect;             // "modelopt" or "mxfp8": neither of the two
  bool inverse_name = false;       // mxfp8: weight_scale_inv, for SGLang and transformers
  fp8::Format format = fp8::Format::kE4M3;
  Producer producer = Producer::kDivide;
  std::uint64_t block_n = 128, block_k = 128;
  bool head = false;          // quantize lm_head too
  bool every_linear = false;  // routers and embeddings too
  bool pow2 = false;
  bool direct = false;       // F32 sources are not rounded to BF16 first
  bool list_ignored = true;  // fp8: write the two lists
};

inline std::vector<float> floats_of(const BuiltTensor& tensor) {
  std::vector<float> out(static_cast<std::size_t>(element_count(tensor.shape).value()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t half = 0;
    if (tensor.dtype == DType::kF32) {
      std::memcpy(&out[i], tensor.bytes.data() + 4 * i, 4);
    } else {
      std::memcpy(&half, tensor.bytes.data() + 2 * i, 2);
      out[i] = tensor.dtype == DType::kF16 ? fp8::f16_to_float(half) : fp8::bf16_to_float(half);
    }
  }
  return out;
}

inline float through_bf16(float value) { return fp8::bf16_to_float(fp8::float_to_bf16(value)); }

class PlainQuantizer {
 public:
  PlainQuantizer(const CheckpointBuilder& source, const PlainOptions& options) : source_(source), options_(options) {}

  CheckpointBuilder run() {
    for (const BuiltTensor& tensor : source_.tensors()) {
      if (tensor.name.ends_with(".weight") && tensor.shape.size() == 2) sort_out(tensor);
    }
    CheckpointBuilder out;
    for (const BuiltTensor& tensor : source_.tensors()) {
      if (quantized_.contains(tensor.name)) {
        write(tensor, out);
      } else {
        out.add(tensor.name, tensor.dtype, tensor.shape, tensor.bytes, tensor.shard);
      }
    }
    out.config() = source_.config();
    out.config()["quantization_config"] = options_.dialect == "modelopt" ? modelopt_config()
                                          : options_.dialect == "mxfp8"  ? mxfp8_config()
                                          : options_.fp8_dialect         ? fp8_config()
                                                                         : compressed_config();
    return out;
  }

 private:
  void sort_out(const BuiltTensor& tensor) {
    const std::string module = tensor.name.substr(0, tensor.name.size() - 7);
    const bool embedding = module.find("embed") != std::string::npos;
    const bool head = module == "lm_head";
    const bool router = module.ends_with(".gate");
    if (embedding && !options_.every_linear) return;
    if ((head && !options_.head) || (router && !options_.every_linear)) {
      kept_.push_back(module);
      return;
    }
    quantized_[tensor.name] = 0;
    // Scales per tensor are shared in q/k/v and in gate/up.
    if (options_.scheme != "tensor" && options_.scheme != "static") return;
    std::string group = tensor.name;
    for (const char* part : {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}) {
      const std::string suffix = std::string(part) + ".weight";
      if (!group.ends_with(suffix)) continue;
      group = group.substr(0, group.size() - suffix.size()) + (suffix.size() == 13 ? "qkv" : "gate_up");
      break;
    }
    group_[tensor.name] = group;
    for (const float v : rounded(tensor)) amax_[group] = std::max(amax_[group], std::abs(v));
  }

  std::vector<float> rounded(const BuiltTensor& tensor) const {
    auto values = floats_of(tensor);
    if (tensor.dtype == DType::kF32 && !options_.direct)
      std::transform(values.begin(), values.end(), values.begin(), through_bf16);
    return values;
  }

  float scale_of(float amax) const {
    if (amax == 0) return 1;
    const float exact = amax / fp8::max_value(options_.format);
    if (options_.pow2 || mx()) return std::exp2(std::ceil(std::log2(exact)));
    return f32_scales() ? exact : through_bf16(exact);
  }

  bool mx() const { return options_.scheme == "mxfp8"; }
  bool modelopt() const { return options_.dialect == "modelopt"; }
  bool f32_scales() const { return options_.fp8_dialect || modelopt(); }

  std::uint8_t code_of(float value, float scale) const {
    float q = value / scale;
    if (options_.producer == Producer::kDivideInBf16) q = through_bf16(q);
    if (options_.producer == Producer::kReciprocal) q = value * (1.0f / scale);
    return fp8::encode(options_.format, q);
  }

  void write(const BuiltTensor& tensor, CheckpointBuilder& out) {
    const std::uint64_t n = tensor.shape[0], k = tensor.shape[1];
    std::uint64_t bn = 1, bk = k;
    Shape shape = {n, 1};
    if (options_.scheme == "block") {
      bn = options_.block_n, bk = options_.block_k;
      shape = {(n + bn - 1) / bn, (k + bk - 1) / bk};
    } else if (options_.scheme == "tensor" || options_.scheme == "static") {
      bn = n;
      shape = f32_scales() ? Shape{} : Shape{1};
    } else if (mx()) {
      bk = 32;
      shape = {n, (k + bk - 1) / bk};
    }
    if (modelopt() && options_.scheme == "block") shape = {shape[0], 1, shape[1], 1};
    if (modelopt() && options_.scheme == "dynamic") shape = {n};
    const auto values = rounded(tensor);
    std::vector<std::byte> codes(values.size());
    std::vector<float> scales;
    for (std::uint64_t top = 0; top < n; top += bn) {
      for (std::uint64_t left = 0; left < k; left += bk) {
        const auto each = [&](auto visit) {
          for (std::uint64_t r = top; r < std::min(top + bn, n); ++r) {
            for (std::uint64_t c = left; c < std::min(left + bk, k); ++c) visit(static_cast<std::size_t>(r * k + c));
          }
        };
        float amax = 0;
        each([&](std::size_t i) { amax = std::max(amax, std::abs(values[i])); });
        if (group_.contains(tensor.name)) amax = amax_[group_[tensor.name]];
        const float scale = scale_of(amax);
        each([&](std::size_t i) { codes[i] = std::byte{code_of(values[i], scale)}; });
        scales.push_back(scale);
      }
    }
    const DType dtype = options_.format == fp8::Format::kE5M2 ? DType::kF8E5M2 : DType::kF8E4M3;
    out.add(tensor.name, dtype, tensor.shape, std::move(codes), tensor.shard);
    const bool inverse = (options_.fp8_dialect && options_.scheme == "block") || options_.inverse_name;
    const std::string name = tensor.name + (inverse ? "_scale_inv" : "_scale");
    if (mx()) {
      std::vector<std::byte> exponents(scales.size());
      std::transform(scales.begin(), scales.end(), exponents.begin(),
                     [](float scale) { return static_cast<std::byte>(std::ilogb(scale) + 127); });
      out.add(name, DType::kU8, shape, std::move(exponents), tensor.shard);
    } else if (f32_scales()) {
      out.add_f32(name, shape, scales, tensor.shard);
    } else {
      std::vector<std::uint16_t> bits(scales.size());
      std::transform(scales.begin(), scales.end(), bits.begin(), fp8::float_to_bf16);
      out.add_bf16(name, shape, bits, tensor.shard);
    }
    if (options_.scheme != "static") return;
    const std::string input = tensor.name.substr(0, tensor.name.size() - 6) + "input_scale";
    const float one_scale = 0.03125f;
    out.add_f32(input, f32_scales() ? Shape{} : Shape{1}, std::vector{one_scale}, tensor.shard);
  }

  Json ignored() const {
    Json list = Json::array();
    if (!options_.head && std::find(kept_.begin(), kept_.end(), "lm_head") == kept_.end()) list.push_back("lm_head");
    for (const std::string& name : kept_) list.push_back(name);
    return list;
  }

  Json fp8_config() const {
    Json config = {{"quant_method", "fp8"},
                   {"fmt", options_.format == fp8::Format::kE5M2 ? "e5m2" : "e4m3"},
                   {"activation_scheme", options_.scheme == "static" ? "static" : "dynamic"}};
    if (options_.scheme == "block") config["weight_block_size"] = {options_.block_n, options_.block_k};
    if (options_.pow2) config["scale_fmt"] = "ue8m0";
    if (options_.list_ignored && !ignored().empty())
      config["ignored_layers"] = config["modules_to_not_convert"] = ignored();
    return config;
  }

  // The spelling that TensorRT-LLM knows.
  Json modelopt_config() const {
    const std::map<std::string, const char*> algorithms = {
        {"static", "FP8"}, {"dynamic", "FP8_PER_CHANNEL_PER_TOKEN"}, {"block", "fp8_pb_wo"}, {"mxfp8", "MXFP8"}};
    return {{"quant_method", "modelopt"}, {"quant_algo", algorithms.at(options_.scheme)}, {"ignore", ignored()}};
  }

  Json mxfp8_config() const {
    return {{"quant_method", "mxfp8"}, {"activation_scheme", "dynamic"}, {"weight_block_size", {1, 32}},
            {"scale_fmt", "ue8m0"},    {"ignored_layers", ignored()},    {"modules_to_not_convert", ignored()}};
  }

  Json compressed_config() const {
    const auto args = [](const char* strategy, bool dynamic) {
      return Json{{"dynamic", dynamic},   {"group_size", nullptr}, {"num_bits", 8},
                  {"strategy", strategy}, {"symmetric", true},     {"type", "float"}};
    };
    Json weights = args("channel", false), inputs = args("token", true);
    if (options_.scheme == "block") {
      weights = args("block", false);
      weights["block_structure"] = {options_.block_n, options_.block_k};
      inputs = args("group", true);
      inputs["group_size"] = options_.block_k;
    } else if (options_.scheme == "tensor" || options_.scheme == "static") {
      weights = args("tensor", false);
      if (options_.scheme == "static") inputs = args("tensor", false);
    } else if (options_.scheme == "weight-only") {
      inputs = nullptr;
    } else if (mx()) {
      weights = args("group", false), inputs = args("group", true);
      weights["group_size"] = inputs["group_size"] = 32;
      weights["scale_dtype"] = inputs["scale_dtype"] = "torch.uint8";
    }
    const char* format = mx() ? "mxfp8-quantized" : inputs.is_null() ? "naive-quantized" : "float-quantized";
    Json targets = {"Linear"};
    if (options_.head) targets.push_back("re:.*lm_head$");
    return {{"config_groups",
             {{"group_0",
               {{"format", format},
                {"input_activations", inputs},
                {"output_activations", nullptr},
                {"targets", targets},
                {"weights", weights}}}}},
            {"format", format},
            {"global_compression_ratio", nullptr},
            {"ignore", ignored()},
            {"kv_cache_scheme", nullptr},
            {"moe_sparsity_config", nullptr},
            {"quant_method", "compressed-tensors"},
            {"quantization_status", "compressed"},
            {"sparsity_config", Json::object()},
            {"transform_config", Json::object()},
            {"version", "0.20.0"}};
  }

  const CheckpointBuilder& source_;
  const PlainOptions options_;
  std::map<std::string, int> quantized_;
  std::map<std::string, std::string> group_;
  std::map<std::string, float> amax_;
  std::vector<std::string> kept_;
};

inline CheckpointBuilder quantize_plainly(const CheckpointBuilder& source, const PlainOptions& options = {}) {
  return PlainQuantizer(source, options).run();
}

}  // namespace octavo::test
