// The compressed-tensors schema (its classes forbid unknown keys) and the fp8 dialect's key lists. Facts:
// docs/formats.md.
#include "octavo/verify/config_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "octavo/base/text.h"

namespace octavo::verify {
namespace {

using Names = std::vector<std::string>;

const Names kFp8Keys = {"quant_method",
                        "fmt",
                        "activation_scheme",
                        "weight_block_size",
                        "scale_fmt",
                        "ignored_layers",
                        "modules_to_not_convert",
                        "modules_to_convert",
                        "kv_cache_scheme",
                        "kv_cache_quant_algo",
                        "packed_modules_mapping",
                        "store_dtype",
                        "dequantize",
                        "expert_dtype",
                        "linear_fp8_config"};
const Names kFbgemmKeys = {"quant_method", "activation_scale_ub", "modules_to_not_convert"};
const Names kQuarkKeys = {
    "quant_method", "quant_mode",  "global_quant_config",   "layer_quant_config", "layer_type_quant_config", "exclude",
    "export",       "algo_config", "kv_cache_quant_config", "kv_cache_post_rope", "softmax_quant_spec",      "version",
    "min_kv_scale"};
const Names kCtKeys = {"quant_method",
                       "config_groups",
                       "format",
                       "global_compression_ratio",
                       "ignore",
                       "kv_cache_scheme",
                       "version",
                       "moe_sparsity_config",
                       "sparsity_config",
                       "transform_config",
                       "quantization_status"};
const Names kGroupKeys = {"targets", "weights", "input_activations", "output_activations", "format"};
const Names kArgsKeys = {"num_bits", "type",     "symmetric",   "group_size", "strategy", "block_structure",
                         "dynamic",  "actorder", "scale_dtype", "zp_dtype",   "observer", "observer_kwargs"};

bool one_of(const std::string& name, const Names& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The member, or nullptr when absent or null.
const Json* member(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::string text_or(const Json* value, const char* otherwise) {
  return value != nullptr && value->is_string() ? value->get<std::string>() : otherwise;
}

class ConfigRules {
 public:
  ConfigRules(const Subject& subject, Report& report) : subject_(subject), config_(*subject.config), report_(report) {}

  void check() {
    switch (subject_.info.dialect) {
      case Dialect::kFp8: check_fp8(); break;
      case Dialect::kCompressedTensors: check_compressed_tensors(); break;
      case Dialect::kMxfp8:
        warn_unknown(kFp8Keys);
        check_same_lists();
        break;
      case Dialect::kFbgemm: warn_unknown(kFbgemmKeys); break;
      case Dialect::kModelOpt: check_modelopt(); break;
      case Dialect::kQuark: warn_unknown(kQuarkKeys); break;
    }
    for (const IgnoreList& list : subject_.info.ignore) check_entries(list);
  }

 private:
  // `key` stands in what was read: "/format".
  std::string at(std::string_view key) const {
    return fmt::format("{}: {}{}", subject_.info.file, subject_.info.pointer, key);
  }
  template <typename... Args>
  void violation(std::string_view pointer, fmt::format_string<Args...> format, Args&&... args) {
    report_.violations.push_back({at(pointer), fmt::format(format, std::forward<Args>(args)...), ""});
  }

  // Loaders pass over an unknown key without a word; one that is nearly a known key is a misspelling.
  void warn_unknown(const Names& known) {
    for (const auto& [key, value] : config_.items()) {
      if (one_of(key, known)) continue;
      const std::string hint = did_you_mean(key, known, 1);
      if (hint.empty()) continue;
      report_.warnings.push_back(fmt::format("{} is a key no loader reads{}", at("/" + printable(key)), hint));
    }
  }

  void forbid_unknown(const Json& object, const std::string& pointer, const Names& known) {
    for (const auto& [key, value] : object.items()) {
      if (!one_of(key, known)) {
        violation(pointer + "/" + printable(key), "is no key of the compressed-tensors schema, which forbids others{}",
                  did_you_mean(key, known, 1));
      }
    }
  }

  void check_entries(const IgnoreList& list) {
    if (list.key == "layer_quant_config") return;  // a part of Quark's groups, not a list
    const std::string pointer = nested(list.key);
    const bool fp8 = subject_.has_plain_names();
    const bool globs = subject_.info.dialect == Dialect::kModelOpt;
    if (subject_.info.dialect == Dialect::kFp8 && list.entries.empty()) {
      violation(pointer,
                "is an empty list: SGLang takes it for the whole list and transformers drops its default "
                "for it; name the kept linears, or leave the key out");
    }
    for (const std::string& entry : list.entries) {
      const bool pattern = entry.starts_with("re:") || entry.find_first_of("*?[") != std::string::npos;
      if (entry.empty() || (fp8 && pattern)) {
        violation(pointer, "holds \"{}\", which names nothing: {}", printable(entry),
                  fp8     ? "this dialect has whole names, no patterns"
                  : globs ? "an entry is a name or a glob"
                          : "an entry is a name or \"re:\" and a pattern");
      }
    }
  }

  void check_fp8() {
    warn_unknown(kFp8Keys);
    const QuantizationGroup& group = subject_.info.groups[0];
    if (group.granularity == Granularity::kBlock && !config_.contains("weight_block_size")) {
      violation("/weight_block_size", "is missing, but the scales are {}x{} blocks: only transformers assumes that",
                group.block_n, group.block_k);
    }
    if (group.granularity == Granularity::kBlock && group.activation == ActivationScheme::kStaticTensor) {
      violation("/activation_scheme", "is \"static\"; with weight_block_size it must be \"dynamic\"");
    }
    check_same_lists();
  }

  void check_same_lists() {
    const auto& lists = subject_.info.ignore;
    if (lists.size() < 2) return;
    const std::set<std::string> a(lists[0].entries.begin(), lists[0].entries.end());
    const std::set<std::string> b(lists[1].entries.begin(), lists[1].entries.end());
    if (a == b) return;
    Names only;
    std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(only));
    violation("",
              "{} and {} differ in {} (\"{}\" is in one only): loaders read one or the "
              "other, so both must hold the same names",
              lists[0].key, lists[1].key, counted(only.size(), "entry"), printable(only[0]));
  }

  // ModelOpt's own file keeps its keys under "quantization".
  std::string nested(std::string_view key) const {
    return fmt::format("{}/{}", config_.contains("quantization") ? "/quantization" : "", key);
  }

  void check_modelopt() {
    if (subject_.info.file == "config.json" && text_or(member(config_, "quant_method"), "").empty()) {
      violation("/quant_method", "is missing; loaders look for \"modelopt\"");
    }
    const Json* inner = member(config_, "quantization");
    const Json& details = inner != nullptr && inner->is_object() ? *inner : config_;
    const Json* cache = member(details, "kv_cache_quant_algo");
    if (cache != nullptr && *cache != Json("FP8")) {
      report_.warnings.push_back(fmt::format("{} is {}: Octavo knows FP8 keys and values only",
                                             at(nested("kv_cache_quant_algo")), printable(cache->dump())));
    }
  }

  void check_compressed_tensors() {
    warn_unknown(kCtKeys);
    const Json* status = member(config_, "quantization_status");
    if (text_or(status, "") != "compressed") {
      violation("/quantization_status",
                "is {}; it must be \"compressed\", or loaders take the weights for unquantized ones",
                status == nullptr ? "missing" : printable(status->dump()));
    }
    if (const Json* sparsity = member(config_, "sparsity_config"); sparsity != nullptr && !sparsity->empty()) {
      violation("/sparsity_config", "is not empty; loaders have dropped sparsity");
    }
    check_kv_cache();
    const Json* groups = member(config_, "config_groups");
    if (groups == nullptr) return;
    std::size_t i = 0;
    for (const auto& [name, group] : groups->items()) {
      // A preset's name with its targets, or a group that only speaks of the key/value cache.
      const auto& parsed = subject_.info.groups;
      if (i >= parsed.size() || !parsed[i].pointer.ends_with("/" + printable(name))) continue;
      if (!group.is_object()) {
        ++i;
        continue;
      }
      const std::string pointer = fmt::format("/config_groups/{}", printable(name));
      forbid_unknown(group, pointer, kGroupKeys);
      for (const char* key : {"weights", "input_activations"}) {
        if (const Json* args = member(group, key)) check_args(*args, fmt::format("{}/{}", pointer, key));
      }
      check_format(subject_.info.groups[i++], pointer);
    }
    check_top_format();
  }

  // Every rule here is one of QuantizationArgs' validators.
  void check_args(const Json& args, const std::string& pointer) {
    forbid_unknown(args, pointer, kArgsKeys);
    const std::string strategy = text_or(member(args, "strategy"), "");
    if ((member(args, "block_structure") != nullptr) != (strategy == "block")) {
      violation(pointer + "/block_structure", "goes with strategy \"block\", and with no other");
    }
    const Json* size = member(args, "group_size");
    const bool sized = size != nullptr && size->is_number_unsigned() && *size != Json(0);
    if (sized && strategy != "group" && strategy != "tensor_group") {
      violation(pointer + "/group_size", "is {}; only the strategy \"group\" has one", size->dump());
    }
    if (const Json* zero = member(args, "zp_dtype")) {
      violation(pointer + "/zp_dtype", "is {}; symmetric numbers have no zero point", printable(zero->dump()));
    }
  }

  void check_format(const QuantizationGroup& group, const std::string& pointer) {
    const bool activations = group.activation != ActivationScheme::kNone;
    const std::string where = pointer + "/format";
    if (group.targets.empty()) violation(pointer + "/targets", "is empty: the group applies to nothing");
    if (group.format.empty()) {
      violation(where, "is missing, here and above: loaders then find no scheme for FP8");
    } else if (group.format == "float-quantized") {
      if (!activations) {
        violation(where,
                  "is \"float-quantized\", which needs input_activations; weights alone are \"naive-quantized\"");
      }
    } else if (group.format == "naive-quantized") {
      if (activations) {
        report_.warnings.push_back(
            fmt::format("{}: is \"naive-quantized\"; with input_activations "
                        "compressed-tensors itself writes \"float-quantized\"",
                        at(where)));
      }
    } else if (!(group.format == "mxfp8-quantized" && group.granularity == Granularity::kGroup)) {
      violation(where, "is \"{}\", which is no format of FP8 weights with {} scales", printable(group.format),
                granularity_name(group.granularity));
    }
  }

  void check_top_format() {
    const std::string top = text_or(member(config_, "format"), "");
    if (top.empty() || top == "mixed-precision") return;
    const auto& groups = subject_.info.groups;
    if (std::none_of(groups.begin(), groups.end(), [&](const QuantizationGroup& g) { return g.format == top; })) {
      violation("/format", "is \"{}\", but no group has that format", printable(top));
    }
  }

  void check_kv_cache() {
    const Json* scheme = member(config_, "kv_cache_scheme");
    if (scheme == nullptr) return;
    const std::string pointer = "/kv_cache_scheme";
    if (!scheme->is_object()) {
      violation(pointer, "must be an object or null, not {}", json_type_name(*scheme));
      return;
    }
    forbid_unknown(*scheme, pointer, kArgsKeys);
    const Json* bits = member(*scheme, "num_bits");
    const std::string strategy = text_or(member(*scheme, "strategy"), "tensor");
    if (text_or(member(*scheme, "type"), "int") != "float" || (bits != nullptr && *bits != Json(8)) ||
        (strategy != "tensor" && strategy != "attn_head")) {
      violation(pointer, "must be 8-bit float per tensor or per attn_head; loaders take no other");
    }
  }

  const Subject& subject_;
  const Json& config_;
  Report& report_;
};

}  // namespace

void check_config(const Subject& subject, Report& report) { ConfigRules(subject, report).check(); }

}  // namespace octavo::verify
