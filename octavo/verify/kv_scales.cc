// vLLM's rename table and its rules: both scales are used, one alone serves both, none means 1.
#include "octavo/verify/kv_scales.h"

#include <fmt/format.h>

#include <array>
#include <map>

#include "octavo/base/text.h"

namespace octavo::verify {
namespace {

struct Spelling {
  std::string_view suffix;
  bool key;  // of keys; else of values
  bool own;  // of HYV3 and AngelSlim, which other models' loaders do not know
};
// Longer ones first where one ends with the other.
constexpr std::array<Spelling, 8> kSpellings{{{".k_proj.k_scale", true, false},
                                              {".v_proj.v_scale", false, false},
                                              {".k_proj.output_scale", true, false},
                                              {".v_proj.output_scale", false, false},
                                              {".k_cache.scale", true, true},
                                              {".v_cache.scale", false, true},
                                              {".k_scale", true, false},
                                              {".v_scale", false, false}}};

struct Pair {
  const CheckpointTensor* key = nullptr;
  const CheckpointTensor* value = nullptr;
};

}  // namespace

void check_kv_scales(const Subject& subject, Report& report) {
  std::map<std::string, Pair> layers;  // by the attention's name
  const CheckpointTensor* own = nullptr;
  const bool heads = subject.info.kv_cache == "attn_head";
  for (const CheckpointTensor& tensor : subject.checkpoint->tensors()) {
    for (const Spelling& spelling : kSpellings) {
      if (!tensor.name.ends_with(spelling.suffix)) continue;
      Pair& pair = layers[tensor.name.substr(0, tensor.name.size() - spelling.suffix.size())];
      (spelling.key ? pair.key : pair.value) = &tensor;
      if (spelling.own && own == nullptr) own = &tensor;
      const bool a_head_each = heads && tensor.shape.size() == 3 && tensor.shape[1] == 1 && tensor.shape[2] == 1;
      if (tensor.shape.empty() || tensor.shape == Shape{1} || a_head_each) break;
      report.violations.push_back(
          {printable(tensor.name),
           fmt::format("has shape {}; the scale of a cache is one number{}", shape_string(tensor.shape),
                       heads ? ", or [heads, 1, 1]" : " where the config does not say attn_head"),
           ""});
      break;
    }
  }
  const std::string config = fmt::format("{}: {}", subject.info.file, subject.info.pointer);
  if (layers.empty()) {
    if (!subject.info.kv_cache.empty()) {
      report.warnings.push_back(fmt::format(
          "{} says that keys and values are FP8, but no k_scale or v_scale is here: loaders use 1", config));
    }
    return;
  }
  if (subject.info.kv_cache.empty()) {
    report.warnings.push_back(
        fmt::format("{} does not say that keys and values are FP8: loaders use the {} of the cache only when told to",
                    config, counted(layers.size(), "pair")));
  }
  if (own != nullptr && subject.model_type.find("hunyuan") == std::string::npos &&
      subject.model_type.find("hy_v3") == std::string::npos) {
    report.warnings.push_back(
        fmt::format("{}: loaders know this name from HYV3 alone; for other models it is k_scale "
                    "or v_scale",
                    printable(own->name)));
  }
  for (const auto& [name, pair] : layers) {
    if (pair.key != nullptr && pair.value != nullptr) continue;
    report.warnings.push_back(fmt::format("{}: has the cache's scale of {} only: vLLM uses it for both",
                                          printable(name), pair.key != nullptr ? "keys" : "values"));
  }
}

}  // namespace octavo::verify
