// vLLM's quantization names, its quantization_config, and the YAML of `vllm serve --config`.
#include "octavo/dialect/vllm.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "octavo/base/text.h"
#include "octavo/dialect/languages.h"
#include "octavo/dialect/online_scheme.h"
#include "octavo/dialect/patterns.h"
#include "octavo/quant/online.h"

namespace octavo::dialect {
namespace {

template <std::size_t N>
bool is_in(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

constexpr std::array<std::string_view, 5> kOtherFormats = {"mxfp4", "int8_per_channel_weight_only", "nvfp4_per_token",
                                                           "int8_per_channel_static", "mxfp6"};
constexpr std::array<std::string_view, 4> kActivationKeys = {"fp8_per_tensor_dynamic", "fp8_per_token",
                                                             "fp8_per_block_dynamic", "fp8_per_token_group"};
// Methods of checkpoints: there, `--quantization` only repeats what the folder says.
constexpr std::array<std::string_view, 20> kCheckpointMethods = {"compressed-tensors",
                                                                 "modelopt",
                                                                 "modelopt_mxfp8",
                                                                 "modelopt_mixed",
                                                                 "fbgemm_fp8",
                                                                 "quark",
                                                                 "deepseek_v4_fp8",
                                                                 "w8a8_fp8",
                                                                 "w4afp8",
                                                                 "modelopt_fp8",
                                                                 "awq",
                                                                 "awq_marlin",
                                                                 "gptq",
                                                                 "gptq_marlin",
                                                                 "bitsandbytes",
                                                                 "gguf",
                                                                 "torchao",
                                                                 "auto-round",
                                                                 "modelopt_fp4",
                                                                 "experts_int8"};

// What a name is that other engines know and that is not done here; "" for any other.
std::string foreign(std::string_view name) {
  if (is_in(kActivationKeys, name)) {
    return fmt::format(
        "{} is of activations, which follow from the weights; fp8_per_tensor, fp8_per_channel or "
        "fp8_per_block",
        name);
  }
  if (is_in(kOtherFormats, name)) return fmt::format("{} is not FP8, which is all that is done here; use vLLM", name);
  if (is_in(kCheckpointMethods, name)) {
    return fmt::format("{} is how a folder is quantized already, and is seen from the folder; leave it out", name);
  }
  return name == "mxfp8" ? "mxfp8 is not done online here yet; octavo quantize writes it" : "";
}

constexpr std::string_view kExperts = "*.experts.*";

class QuantizationConfig {
 public:
  QuantizationConfig(Reader& reader, Meaning& meaning) : reader_(reader), meaning_(meaning) {}

  // `name`: of `--quantization`, its scheme for linears and experts; "" or "online" for none.
  void read(const Section& s, const std::string& name, const Section& name_section, std::string_view name_key) {
    const bool named = !name.empty() && name != "online";
    if (named) meaning_.spec = online_scheme(name_section, name_key, name, meaning_);
    if (named && !meaning_.spec) return;
    if (s.has("targets")) {
      for (const char* key : {"linear", "moe"}) {
        if (s.has(key)) s.error(key, "excludes targets: one of them says which modules");
      }
      if (named) s.error("targets", fmt::format("goes with quantization: online, not {}", shown(name)));
      const Section targets = s.section("targets");
      if (targets.exists() && targets.keys().empty()) s.error("targets", "is empty: nothing is quantized");
      read_targets(targets);
    } else {
      read_parts(s);
    }
    read_ignored(s);
    if (!meaning_.spec && !reader_.failed()) {
      s.error("linear", "nothing says a scheme: linear, moe or targets, such as linear: fp8_per_block");
    }
  }

 private:
  // linear and moe: both the same scheme, or one of them none.
  void read_parts(const Section& s) {
    const auto before = meaning_.spec;
    const auto linear = read_scheme(s, "linear");
    const auto moe = read_scheme(s, "moe");
    if (reader_.failed() || (!linear && !moe)) return;
    const auto l = linear ? linear : before, m = moe ? moe : before;
    if (l && m && quant::spec_json(*l) != quant::spec_json(*m)) {
      s.error(moe ? "moe" : "linear", fmt::format("linears are {} and experts {}; one scheme a model is done here",
                                                  l->scheme.name, m->scheme.name));
      return;
    }
    meaning_.spec = l ? l : m;
    if (!m) {
      meaning_.spec->ignore.emplace_back(kExperts);
      meaning_.said["ignore"] = s.where("linear");
    }
    if (!l) {
      meaning_.spec->only.emplace_back(kExperts);
      meaning_.said["only"] = s.where("moe");
    }
  }

  // "fp8_per_block", or {"weight": "fp8_per_block_static"}.
  std::optional<quant::QuantSpec> read_scheme(const Section& s, std::string_view key) {
    if (!s.has(key)) return std::nullopt;
    if (!s.is_map(key)) {
      const auto name = s.text(key);
      return name ? online_scheme(s, key, *name, meaning_) : std::nullopt;
    }
    const Section parts = s.section(key);
    if (parts.has("activation")) {
      parts.error("activation",
                  "cannot be chosen, neither in vLLM nor here: it follows from the weights; leave it out");
    }
    parts.require("weight", "the scheme of the weights, such as fp8_per_block_static");
    const auto name = parts.text("weight");
    return name ? online_scheme(parts, "weight", *name, meaning_) : std::nullopt;
  }

  void read_targets(const Section& targets) {
    std::string first;
    for (const std::string& key : targets.keys()) {
      const auto name = targets.text(key);
      if (!name) {
        targets.error(key, "names a scheme, such as fp8_per_block");
        continue;
      }
      const auto spec = online_scheme(targets, key, *name, meaning_);
      const std::string pattern = pattern_of(targets, key, {key, {}});
      if (!spec || pattern.empty()) continue;
      if (!meaning_.spec) {
        meaning_.spec = spec;
        first = key;
      } else if (spec->scheme.name != meaning_.spec->scheme.name) {
        targets.error(key, fmt::format("{} is {} and {} is {}; one scheme a model is done here", shown(first),
                                       meaning_.spec->scheme.name, shown(key), spec->scheme.name));
        continue;
      }
      meaning_.spec->only.push_back(pattern);
      meaning_.said["only"] = targets.where(key);
    }
  }

  void read_ignored(const Section& s) {
    const auto entries = s.texts("ignore");
    if (!entries) return;
    for (const Text& entry : *entries) {
      const std::string pattern = pattern_of(s, "ignore", entry);
      if (!pattern.empty() && meaning_.spec) meaning_.spec->ignore.push_back(pattern);
    }
    if (!entries->empty()) meaning_.said["ignore"] = s.where("ignore");
  }

  // Exact, fnmatch and re: are what they are here.
  std::string pattern_of(const Section& s, std::string_view key, const Text& entry) {
    const std::string pattern = entry.text.starts_with("re:") ? module_regex(entry.text) : entry.text;
    const auto plain = pattern_matches(entry.text, "lm_head");
    const auto fenced = pattern_matches(pattern, "lm_head");
    if (!entry.text.empty() && plain.ok() && fenced.ok()) return pattern;
    const std::string sentence = entry.text.empty() ? std::string("an empty pattern matches nothing")
                                                    : (plain.ok() ? fenced : plain).error().message;
    if (entry.text == key) {
      s.error(key, sentence);
    } else {
      s.error_at(entry, key, sentence);
    }
    return "";
  }

  Reader& reader_;
  Meaning& meaning_;
};

// "kv-cache-dtype" or "kv_cache_dtype".
std::string_view spelling(const Section& s, std::string_view underscores, std::string_view dashes) {
  return s.has(dashes) ? dashes : underscores;
}

// vLLM's own defaults for what the file does not say are not Octavo's business.
void read_serve_config(const Section& root, Reader& reader, Meaning& meaning) {
  meaning.model = root.text("model").value_or("");
  const std::string name = root.text("quantization").value_or("");
  const std::string_view key = spelling(root, "quantization_config", "quantization-config");
  if (root.has(key)) {
    QuantizationConfig(reader, meaning).read(root.section(key), name, root, "quantization");
  } else if (name == "online") {
    root.error("quantization", "online needs quantization-config, which says what is done");
  } else if (!name.empty()) {
    meaning.spec = online_scheme(root, "quantization", name, meaning);
  }
  const std::string_view kv = spelling(root, "kv_cache_dtype", "kv-cache-dtype");
  if (const auto dtype = root.one_of(kv, {"auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"})) {
    meaning.kv_cache_dtype = *dtype == "bfloat16" ? "bf16" : *dtype == "auto" ? "" : *dtype;
    if (*dtype == "auto") root.decides_nothing(kv);
  }
  for (const std::string_view known : engine_keys()) {
    std::string dashes(known);
    std::replace(dashes.begin(), dashes.end(), '_', '-');
    root.meaningless({known, dashes});
  }
  root.tolerate_unknown();
}

}  // namespace

Result<std::string> online_name(std::string_view name) {
  const auto names = quant::online_names();
  std::string base(name);
  if (base.starts_with("fp8_per_") && base.ends_with("_static")) {
    base.resize(base.size() - std::string_view("_static").size());
  }
  if (std::find(names.begin(), names.end(), base) != names.end()) return base;
  if (const std::string why = foreign(name); !why.empty()) return usage_error("{}", why);
  return usage_error("{}: unknown; one of {}{}", shown(name), fmt::join(names, ", "), did_you_mean(name, names, 1));
}

std::optional<quant::QuantSpec> online_scheme(const Section& section, std::string_view key, std::string_view name,
                                              Meaning& meaning) {
  const auto found = online_name(name);
  auto spec = found.ok() ? quant::online_spec(*found) : Result<quant::QuantSpec>(found.error());
  if (!spec.ok()) {
    section.error(key, first_line(spec.error()));
    return std::nullopt;
  }
  meaning.online = true;
  meaning.online_name = *found;
  meaning.said["scheme"] = section.where(key);
  return *spec;
}

bool sounds_like_experts(std::string_view model) {
  std::string lower(model);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (lower.find("moe") != lower.npos || lower.find("mixtral") != lower.npos) return true;
  // "-a3b": what is active of it
  for (std::size_t at = lower.find("-a"); at != lower.npos; at = lower.find("-a", at + 1)) {
    std::size_t end = at + 2;
    while (end < lower.size() && (std::isdigit(static_cast<unsigned char>(lower[end])) != 0 || lower[end] == '.'))
      ++end;
    if (end > at + 2 && end < lower.size() && lower[end] == 'b') return true;
  }
  return false;
}

Result<quant::QuantSpec> online_spec(std::string_view name, quant::Edge edge) {
  auto spec = quant::online_spec(name, edge);
  const auto names = quant::online_names();
  if (spec.ok() || std::find(names.begin(), names.end(), name) != names.end()) return spec;
  if (const std::string why = foreign(name); !why.empty()) return usage_error("--quantization {}", why);
  return spec;
}

void read_vllm(Reader& reader, Config& config) {
  const Section root = reader.root();
  Meaning meaning;
  meaning.online = true;
  const bool bare = root.has("linear") || root.has("moe") || root.has("targets");
  if (bare) {
    QuantizationConfig(reader, meaning).read(root, "", root, "");
  } else {
    read_serve_config(root, reader, meaning);
  }
  if (!reader.failed()) config.meanings.push_back(std::move(meaning));
}

Config read_quantization_config(std::string_view json, std::string_view name, std::string_view origin) {
  Config config;
  config.language = Language::kVllm;
  config.origin = std::string(origin);
  const auto root = parse_yaml(json, origin);
  if (!root.ok()) {
    config.errors.push_back(root.error().message);
    return config;
  }
  Meaning meaning;
  meaning.online = true;
  Reader reader(*root, {config.origin}, /*interpolates=*/false);
  if (!name.empty() && name != "online") {
    const auto known = online_name(name);
    const auto spec = known.ok() ? quant::online_spec(*known) : Result<quant::QuantSpec>(known.error());
    if (!spec.ok()) {
      config.errors.push_back("--quantization: " + first_line(spec.error()));
      return config;
    }
  }
  const Section section = reader.root();
  QuantizationConfig(reader, meaning).read(section, std::string(name), section, "--quantization");
  if (!reader.failed()) config.meanings.push_back(std::move(meaning));
  reader.finish(config);
  return config;
}

}  // namespace octavo::dialect
