// Refusals by the table of octavo/checkpoint/loader_table.h, and what depends on shapes, names and the model besides. A
// checkpoint that is unsound in itself is not judged twice: what structure.cc has found is left out here.
#include "octavo/verify/loaders.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <numeric>
#include <unordered_set>

#include "octavo/base/file.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/group_targets.h"
#include "octavo/checkpoint/loader_table.h"
#include "octavo/checkpoint/model_config.h"

namespace octavo::verify {
namespace {

constexpr std::uint64_t kBlock = 128;  // the only block of the engines' mixture-of-experts kernels
// vLLM upsamples block scales of experts down to this size and no further.
constexpr std::uint64_t kSmallestExpertBlock = 32;

bool is_block(const QuantizationGroup& group) { return group.granularity == Granularity::kBlock; }

class LoaderRules {
 public:
  LoaderRules(const Subject& subject, Loader loader, Report& report)
      : subject_(subject),
        loader_(loader),
        fp8_(subject.info.dialect == Dialect::kFp8),
        ct_(subject.info.dialect == Dialect::kCompressedTensors),
        report_(report) {}

  void check() {
    check_format();
    check_scheme();
    for (const Module& module : subject_.modules) {
      if (module.quantized()) check_module(module);
    }
    if (loader_ == Loader::kTensorRtLlm) return check_tensorrt();
    if (loader_ == Loader::kTransformers) return check_transformers();
    for (const FusedGroup& group : subject_.fused) check_fused(group);
    for (const ExpertBlock& block : subject_.experts) check_experts(block);
    if (loader_ == Loader::kVllm && subject_.has_plain_names()) check_whole_names();
    if (loader_ == Loader::kVllm) check_required_keys();
    if (loader_ == Loader::kSglang && ct_) check_untargeted();
  }

 private:
  template <typename... Args>
  void violation(const std::string& where, fmt::format_string<Args...> format, Args&&... args) {
    report_.violations.push_back(
        {printable(where), fmt::format(format, std::forward<Args>(args)...), std::string(loader_name(loader_))});
  }

  const QuantizationGroup& group_of(const Module& module) const { return subject_.group_of(module); }

  void check_format() {
    const fp8::Format format = subject_.info.format;
    const LoaderAnswer answer = loader_answer_for(format, subject_.info.dialect, loader_);
    if (format == fp8::Format::kE4M3 || answer.note.empty()) return;
    const bool runs = answer.takes == Takes::kDequantizes;
    violation(subject_.info.file, "weights are {}; {}{}", fp8::format_name(format),
              runs ? "transformers runs them " : "", answer.note);
  }

  // Pairs of scheme and dialect.
  void check_scheme() {
    for (const QuantizationGroup& group : subject_.info.groups) {
      const std::string where = fmt::format("{}: {}", subject_.info.file, group.pointer);
      const auto kind = scheme_kind(group);
      if (!kind) {
        violation(where, "{} of the {} dialect: {} has no such scheme", scheme_text(group),
                  dialect_name(subject_.info.dialect), loader_title(loader_));
        continue;
      }
      const std::string_view name = subject_.scale_suffix() == "_scale_inv" ? "weight_scale_inv" : "weight_scale";
      const LoaderRow* row = find_loader_row(*kind, subject_.info.dialect, name);
      if (row == nullptr) row = find_loader_row(*kind, subject_.info.dialect);
      if (row == nullptr) {
        violation(where, "{} of the {} dialect: no loader has such a scheme", scheme_text(group),
                  dialect_name(subject_.info.dialect));
        continue;
      }
      judge_row(*row, where);
      check_renames(group, where);
      check_scale_dtype(group, where);
    }
  }

  static std::string scheme_text(const QuantizationGroup& group) {
    std::string weights;
    switch (group.granularity) {
      case Granularity::kTensor: weights = "per-tensor"; break;
      case Granularity::kChannel: weights = "channel"; break;
      case Granularity::kBlock: weights = "block"; break;
      case Granularity::kGroup: weights = fmt::format("group-of-{}", group.block_k); break;
    }
    return fmt::format("{} scales with {}", weights, activation_name(group.activation));
  }

  void judge_row(const LoaderRow& row, const std::string& where) {
    const LoaderAnswer& answer = row[loader_];
    const std::string pair =
        fmt::format("scheme {} in the {} dialect", scheme_kind_name(row.scheme), dialect_name(row.dialect));
    switch (answer.takes) {
      case Takes::kNo: violation(where, "{}: {}", pair, answer.note); break;
      case Takes::kAsOther:
        // Per-tensor scales under transformers' names: check_renames() knows for which models.
        if (row.dialect == Dialect::kFp8 && loader_ != Loader::kTensorRtLlm) break;
        warning(where, fmt::format("{}: {} runs it as {}", pair, loader_title(loader_), answer.note));
        break;
      case Takes::kUnknown:
        warning(where, fmt::format("{}: {}: {}", pair, loader_title(loader_),
                                   answer.note.empty() ? "not looked at" : answer.note));
        break;
      case Takes::kLoads:
      case Takes::kDequantizes: break;
    }
  }
  void warning(const std::string& where, const std::string& what) {
    report_.warnings.push_back(fmt::format("{}: {}", printable(where), what));
  }

  // Loaders of some models rename the scales of the fp8 dialect.
  void check_renames(const QuantizationGroup& group, const std::string& where) {
    if (!fp8_ || (loader_ != Loader::kVllm && loader_ != Loader::kSglang)) return;
    const std::string& model = subject_.model_type;
    static constexpr std::array<std::string_view, 5> kLlamaFamily = {"llama", "mistral", "ministral3", "phi3",
                                                                     "internlm3"};
    const bool sglang_renames = std::find(kLlamaFamily.begin(), kLlamaFamily.end(), model) != kLlamaFamily.end();
    const bool renames = loader_ == Loader::kVllm ? model == "mistral3" : sglang_renames;
    if (is_block(group) && renames) {
      violation(where,
                "block scales in the fp8 dialect: for model_type {} the loader renames weight_scale_inv to "
                "weight_scale, so the scales are lost; use compressed-tensors",
                printable(model));
    } else if (!is_block(group) && subject_.info.transformers_names && !renames) {
      violation(where, "per-tensor scales named weight_scale_inv: the loader has a parameter weight_scale only");
    }
  }

  // Engines have byte parameters for the exponents and copy other dtypes by value.
  void check_scale_dtype(const QuantizationGroup& group, const std::string& where) {
    if (group.granularity != Granularity::kGroup || loader_ == Loader::kTransformers) return;
    for (const Module& module : subject_.modules) {
      if (module.scale == nullptr || module.scale->dtype != DType::kF8E8M0) continue;
      violation(where, "scales are F8_E8M0 ({}): the loader's are U8, and it refuses them or converts their values",
                printable(module.scale->name));
      return;
    }
  }

  bool uses_expert_upsampling(const Module& module) const {
    return loader_ == Loader::kVllm && fp8_ && module.expert;  // judged for the whole block of experts
  }

  void check_module(const Module& module) {
    const std::string& name = module.weight->name;
    const QuantizationGroup& group = group_of(module);
    const bool engine = loader_ == Loader::kVllm || loader_ == Loader::kSglang;
    if (engine && module.joined_experts() && !fp8_) {
      violation(name, "holds all experts of a layer: outside the fp8 dialect the loader takes one tensor an expert");
    }
    if (engine && module.role == Role::kEmbedding) {
      violation(name, "is an embedding in FP8; the loader has only unquantized ones");
    }
    if (engine && module.role == Role::kRouter) {
      violation(name, "is a router in FP8; models build it unquantized whatever the config says");
    }
    if (engine && module.role == Role::kHead) check_head(module);
    const std::uint64_t n = module.rows(), k = module.columns();
    if (group.granularity == Granularity::kGroup && group.block_k != 0 && k % group.block_k != 0) {
      violation(name, "{} columns are not divisible by the group's {}: the loader has no scale for the rest", k,
                group.block_k);
    }
    if (!is_block(group)) return;
    if (loader_ == Loader::kTransformers) {
      if (fp8_ && (n % group.block_n != 0 || k % group.block_k != 0)) {
        violation(
            name,
            "shape {} is not divisible by the block {}x{}: dequantizing, as every CPU does, raises or misreads it",
            shape_string(module.weight->shape), group.block_n, group.block_k);
      }
    } else if (engine && k % group.block_k != 0 && !uses_expert_upsampling(module)) {
      violation(name, "{} columns are not divisible by the block's {}: activations are quantized in whole groups", k,
                group.block_k);
    }
  }

  void check_head(const Module& module) {
    if (subject_.has_plain_names()) {
      violation(module.weight->name,
                "is an output head in FP8; under {} the loader never quantizes it and fails on its scale",
                dialect_name(subject_.info.dialect));
    } else if (!ct_) {
      return;  // ModelOpt and Quark quantize a head that is not excluded
    } else if (!module.targeted_by_name) {
      violation(module.weight->name,
                "is an output head in FP8 that no target names: \"Linear\" does not match its "
                "class; add the target \"re:.*lm_head$\"");
    } else if (loader_ == Loader::kSglang && is_block(group_of(module))) {
      violation(module.weight->name, "is an output head with block scales, which SGLang has not implemented");
    }
  }

  // Block scales of joined weights: a member that does not fill its last block shares it with the next one.
  void check_fused(const FusedGroup& fused) {
    std::vector<const Module*> members;
    for (const std::size_t i : fused.members) {
      const Module& module = subject_.modules[i];
      if (module.quantized() && is_block(group_of(module)) && !uses_expert_upsampling(module)) {
        members.push_back(&module);
      }
    }
    if (members.size() != fused.members.size()) return;
    // Every rank holds the whole of fused_qkv_a_proj, as one partition: nothing cuts it behind its last row.
    const bool replicated = last_component(fused.name) == "fused_qkv_a_proj";
    const bool last_counts = loader_ == Loader::kSglang && fp8_ && !replicated;
    for (std::size_t i = 0; i < members.size(); ++i) {
      const std::uint64_t block_n = group_of(*members[i]).block_n;
      if (members[i]->rows() % block_n == 0 || (i + 1 == members.size() && !last_counts)) continue;
      violation(members[i]->weight->name,
                "{} rows are not divisible by the block's {}, and the loader joins it into {}"
                "{}",
                members[i]->rows(), block_n, printable(last_component(fused.name)),
                i + 1 == members.size() ? "" : ", where the next weight's scales would overlap");
    }
  }

  void check_experts(const ExpertBlock& block) {
    const Module* first = nullptr;
    for (const std::size_t i : block.members) {
      if (subject_.modules[i].quantized() && first == nullptr) first = &subject_.modules[i];
    }
    if (first == nullptr) return;
    const QuantizationGroup& group = group_of(*first);
    if (ct_ && group.granularity == Granularity::kTensor && group.activation == ActivationScheme::kDynamicToken) {
      violation(block.name, "experts with tensor scales and activations per token: the loader asserts");
    }
    if (ct_ && group.granularity == Granularity::kChannel && group.activation == ActivationScheme::kStaticTensor) {
      violation(block.name, "experts with channel scales and static activations: the loader raises");
    }
    const bool modelopt = subject_.info.dialect == Dialect::kModelOpt && subject_.info.groups.size() == 1;
    if (modelopt && loader_ == Loader::kVllm && (is_block(group) || group.granularity == Granularity::kChannel)) {
      violation(block.name, "experts of {}: vLLM's experts of modelopt have one scale each", group.format);
    }
    if (subject_.info.dialect == Dialect::kFbgemm) {
      violation(block.name, "experts: fbgemm_fp8 has linear layers only");
    }
    if (!is_block(group)) return;
    if (group.block_n != kBlock || group.block_k != kBlock) {
      violation(block.name, "experts in {}x{} blocks; the kernels for experts take 128x128 only", group.block_n,
                group.block_k);
      return;
    }
    for (const std::size_t i : block.members) {
      const Module& module = subject_.modules[i];
      if (module.quantized() && !check_expert_shape(module)) return;  // all experts have the same shapes
    }
  }

  bool check_expert_shape(const Module& module) {
    const std::uint64_t n = module.rows(), k = module.columns();
    if (uses_expert_upsampling(module)) {
      const std::uint64_t block = std::gcd(kBlock, std::gcd(n, k));
      if (block >= kSmallestExpertBlock) return true;
      violation(module.weight->name, "shape {}: experts' block scales can be split down to {}, this needs {}",
                shape_string(module.weight->shape), kSmallestExpertBlock, block);
      return false;
    }
    if (n % kBlock == 0) return true;  // columns are judged with every other weight's
    violation(module.weight->name, "{} rows of an expert are not divisible by the block's {}", n, kBlock);
    return false;
  }

  // vLLM knows no prefixes: an entry is a module's whole name, a fused parameter's, or one inside a block of experts.
  void check_whole_names() {
    const auto entries = ignore_entries();
    std::unordered_set<std::size_t> exempt;  // kept by the name of what they belong to
    for (const FusedGroup& fused : subject_.fused) {
      if (entries.contains(fused.name)) exempt.insert(fused.members.begin(), fused.members.end());
    }
    for (const ExpertBlock& block : subject_.experts) {
      const bool listed = std::any_of(entries.begin(), entries.end(),
                                      [&](std::string_view e) { return e.find(block.name) != std::string_view::npos; });
      if (listed) exempt.insert(block.members.begin(), block.members.end());
    }
    for (std::size_t i = 0; i < subject_.modules.size(); ++i) {
      const Module& module = subject_.modules[i];
      const bool built_plain = module.role != Role::kLinear;  // heads, routers, embeddings are never quantized
      if (module.fp8 || built_plain || !module.ignored || module.ignored_exactly || exempt.contains(i)) continue;
      violation(module.weight->name,
                "is kept by an ignore entry that is only a part of its name; vLLM compares whole "
                "names and would expect FP8");
    }
  }

  void check_untargeted() {
    const auto entries = ignore_entries();
    for (const Module& module : subject_.modules) {
      if (module.role != Role::kLinear || module.group || module.ignored || ends_with(module, entries)) continue;
      violation(module.weight->name,
                "is neither targeted nor ignored: SGLang raises \"Unable to find matching "
                "target\"");
    }
  }

  std::unordered_set<std::string_view> ignore_entries() const {
    std::unordered_set<std::string_view> entries;
    for (const IgnoreList& list : subject_.info.ignore) entries.insert(list.entries.begin(), list.entries.end());
    return entries;
  }

  // SGLang's plain ignore entries also match a dotted end of the name.
  static bool ends_with(const Module& module, const std::unordered_set<std::string_view>& entries) {
    const std::string_view name = module.name;
    for (std::size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
      if (entries.contains(name.substr(dot + 1))) return true;
    }
    return false;
  }

  // The release that is checked here no longer looks at it; those of 4.x raised.
  void warn_metadata() {
    for (const Shard& shard : subject_.checkpoint->shards()) {
      const auto format = shard.metadata.find("format");
      if (format != shard.metadata.end() && format->second == "pt") continue;
      report_.warnings.push_back(
          fmt::format("{}: has no metadata {{\"format\": \"pt\"}}; older releases of transformers refuse it",
                      printable(shard.name)));
    }
  }

  // get_from_keys() without a default.
  void check_required_keys() {
    std::vector<std::string_view> keys;
    if (subject_.info.dialect == Dialect::kFbgemm) keys = {"activation_scale_ub", "modules_to_not_convert"};
    if (subject_.info.dialect == Dialect::kQuark) keys = {"export"};
    for (const std::string_view key : keys) {
      if (subject_.config->contains(key)) continue;
      violation(fmt::format("{}: {}/{}", subject_.info.file, subject_.info.pointer, key),
                "is missing: vLLM requires it");
    }
  }

  void check_tensorrt() {
    const QuantizationInfo& info = subject_.info;
    const std::string where = fmt::format("{}: {}", info.file, info.pointer);
    for (const QuantizationGroup& group : info.groups) {
      if (is_block(group) && (group.block_n != kBlock || group.block_k != kBlock)) {
        violation(where, "{}x{} blocks: TensorRT-LLM asserts 128x128", group.block_n, group.block_k);
      }
      const bool classes = std::any_of(group.targets.begin(), group.targets.end(), is_class_target);
      if (ct_ && info.groups.size() > 1 && classes) {
        violation(where,
                  "several config groups with a class as target: TensorRT-LLM raises, it takes names and \"re:\"");
      }
    }
    if (info.dialect == Dialect::kModelOpt) {
      const Json* inner = info.json.contains("quantization") ? &info.json["quantization"] : &info.json;
      if (inner->is_object() && inner->value("quant_algo", Json()) == Json("FP8_PB_WO")) {
        violation(where, "quant_algo is \"FP8_PB_WO\"; TensorRT-LLM knows the lower-case \"fp8_pb_wo\" only");
      }
      return;
    }
    check_hf_quant_config();
  }

  // TensorRT-LLM prefers it, and AngelSlim always writes one.
  void check_hf_quant_config() {
    constexpr std::uint64_t kLargest = 64ull << 20;
    const char* name = "hf_quant_config.json";
    const std::filesystem::path path = subject_.checkpoint->dir() / name;
    std::error_code error;
    if (!std::filesystem::exists(path, error)) return;
    const auto text = read_text_file(path, kLargest);
    if (!text.ok()) return violation(name, "cannot be read: {}", text.error().message);
    const auto json = parse_json(*text, name);
    if (!json.ok()) return violation(name, "is no JSON: {}", json.error().message);
    const auto other = parse_hf_quant_config(*json, name);
    if (!other.ok())
      return violation(name, "is what TensorRT-LLM reads first, and is not readable: {}", other.error().message);
    const QuantizationGroup& ours = subject_.info.groups[0];
    const QuantizationGroup& theirs = other->groups[0];
    if (ours.granularity == theirs.granularity && ours.activation == theirs.activation) return;
    violation(name, "says {}, but config.json {}; TensorRT-LLM believes the former", scheme_text(theirs),
              scheme_text(ours));
  }

  void check_transformers() {
    warn_metadata();
    const bool unseen = transformers_wants_one_tensor(subject_.model_type, ct_);
    if (unseen) {
      for (const ExpertBlock& block : subject_.experts) {
        if (subject_.modules[block.members[0]].joined_experts()) continue;
        violation(block.name, "experts one by one: for model_type {} transformers loads them in one tensor only",
                  printable(subject_.model_type));
      }
    }
    if (subject_.info.dialect == Dialect::kModelOpt || subject_.info.dialect == Dialect::kQuark) return;
    if (ct_) {
      // Of families with transposed experts they are linears, or nobody looks for them.
      if (has_transposed_experts(subject_.model_type)) return;
      for (const ExpertBlock& block : subject_.experts) {
        const Module& first = subject_.modules[block.members[0]];
        if (!first.quantized()) continue;
        const Granularity granularity = group_of(first).granularity;
        if (granularity != Granularity::kBlock && granularity != Granularity::kGroup) continue;
        violation(block.name,
                  "experts with {} scales: transformers dequantizes experts by a plain product, which "
                  "cannot spread them",
                  granularity_name(granularity));
      }
      return;
    }
    check_listed_head();
    check_endings();
  }

  // A given list replaces transformers' default, in which the head stands; a tied head is a module all the same.
  void check_listed_head() {
    if (!subject_.has_ignore_list() || !subject_.tied) return;
    if (subject_.checkpoint->find("lm_head.weight") != nullptr) return;  // structure.cc asks for it
    if (ignore_entries().contains("lm_head")) return;
    violation("config.json",
              "the ignore list does not name lm_head: a given list replaces transformers' default, and "
              "the head would be converted");
  }

  // transformers also keeps a module whose name merely ends with an entry.
  void check_endings() {
    const auto entries = ignore_entries();
    constexpr std::size_t kLongest = 512;  // of a module's name; real ones are far shorter
    for (const Module& module : subject_.modules) {
      if (!module.quantized() || module.ignored || module.name.size() > kLongest) continue;
      for (std::string_view ending = module.name; !ending.empty(); ending.remove_prefix(1)) {
        if (!entries.contains(ending)) continue;
        violation(module.weight->name,
                  "is FP8, but ends with the ignored name \"{}\": transformers would keep it "
                  "unquantized",
                  printable(ending));
        break;
      }
    }
  }

  const Subject& subject_;
  const Loader loader_;
  const bool fp8_, ct_;  // the dialect
  Report& report_;
};

}  // namespace

void check_loader(const Subject& subject, Loader loader, Report& report) {
  LoaderRules(subject, loader, report).check();
}

}  // namespace octavo::verify
