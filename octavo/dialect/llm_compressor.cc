// llm-compressor's recipe YAML: stages of modifiers, of which QuantizationModifier is done here. Schemes and arguments
// are compressed-tensors' (docs/formats.md); what is written is compressed-tensors.
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "octavo/base/text.h"
#include "octavo/dialect/languages.h"
#include "octavo/dialect/patterns.h"

namespace octavo::dialect {
namespace {

constexpr std::int64_t kLargestBlock = 1 << 16;
constexpr std::string_view kElsewhere = "run it with llm-compressor";

// Weights or activations of a group.
struct Args {
  bool good = true;
  std::string strategy;
  bool dynamic = false;
  std::int64_t group_size = 0;
  std::vector<std::int64_t> block;
  bool exponent_scales = false;  // scale_dtype uint8: E8M0
};

struct Group {
  std::string name;   // "group_0", "FP8_DYNAMIC"
  std::string where;  // of its scheme
  std::optional<quant::QuantSpec> spec;
  std::vector<Text> targets;
  Section section;  // where its targets stand, under target_key
  std::string target_key;
};

bool is_class_name(std::string_view text) {
  return !text.empty() && std::isupper(static_cast<unsigned char>(text.front())) != 0 &&
         text.find('.') == std::string_view::npos;
}

class Recipe {
 public:
  Recipe(Reader& reader, Config& config) : reader_(reader), config_(config) {}

  void run() {
    const Section root = reader_.root();
    collect(root, 0);
    if (modifiers_.empty()) {
      if (!reader_.failed()) root.error("quant_stage", "no QuantizationModifier in the recipe: nothing is quantized");
      return;
    }
    if (modifiers_.size() > 1) {
      return modifiers_[1].second.error(modifiers_[1].first,
                                        "a second QuantizationModifier; one quantization a recipe is done here");
    }
    const Section modifier = modifiers_.front().second.section(modifiers_.front().first);
    if (modifier.exists()) {
      read_modifier(modifier);
    } else {
      modifiers_.front().second.error("QuantizationModifier", "is empty: it needs scheme or config_groups");
    }
    if (!reader_.failed()) config_.meanings.push_back(std::move(meaning_));
  }

 private:
  // Stages hold groups of modifiers, groups hold modifiers; either may be a list, either may be left out.
  void collect(const Section& section, int depth) {
    constexpr int kDeepest = 6;
    for (const char* known : {"quant_stage", "quant_modifiers", "QuantizationModifier"}) section.has(known);
    section.meaningless({"args", "run_type", "metadata"});
    for (const std::string& key : section.keys()) {
      if (key.ends_with("Modifier")) {
        if (key == "QuantizationModifier") {
          modifiers_.emplace_back(key, section);
        } else {
          section.error(key, fmt::format("{} is not done here, only QuantizationModifier; {}", shown(key), kElsewhere));
        }
      } else if (key.ends_with("_stage") || key.ends_with("_modifiers") || key == "modifiers") {
        if (depth == kDeepest) return section.error(key, "stages lie too deep in each other");
        if (section.is_list(key)) {
          for (const Section& item : section.sections(key)) collect(item, depth + 1);
        } else {
          collect(section.section(key), depth + 1);
        }
      }
    }
  }

  void read_modifier(const Section& m) {
    m.meaningless({"bypass_divisibility_checks", "index", "group", "start", "end", "update", "input_observer",
                   "output_observer", "num_calibration_steps", "disable_quantization_observer_epoch"});
    read_observers(m);
    if (m.has("kv_cache_scheme")) {
      m.error("kv_cache_scheme",
              fmt::format("{}; leave it out and serve with --kv-cache-dtype fp8", kNeedsCalibration));
    }
    const auto targets = m.texts("targets", /*single=*/true);
    const bool has_scheme = m.has("scheme"), has_groups = m.has("config_groups");
    if (has_scheme && has_groups) {
      m.error("scheme", "excludes config_groups: one of them says how");
      m.decides_nothing("config_groups");
    } else if (has_scheme) {
      read_scheme(m, targets);
    } else if (has_groups) {
      if (targets && !targets->empty()) {
        m.error("targets", "goes with scheme; a group of config_groups has its own targets");
      }
      const Section groups = m.section("config_groups");
      for (const std::string& name : groups.keys()) read_named_group(groups, name);
      if (groups.exists() && groups.keys().empty()) m.error("config_groups", "is empty: nothing is quantized");
    } else {
      m.error("scheme", "is missing, and so is config_groups: nothing says how");
    }
    combine(m);
  }

  void read_observers(const Section& m) {
    check_observer(m, "weight_observer");
    const Section observer = m.section("observer");
    check_observer(observer, "weights");
    observer.meaningless({"input", "output"});
  }

  // Every observer of FP8 weights ends at amax but the searching ones.
  void check_observer(const Section& section, std::string_view key) {
    static const std::vector<std::string> kAmax = {"memoryless_minmax", "static_minmax", "minmax"};
    static const std::vector<std::string> kSearching = {"mse", "memoryless_mse", "imatrix_mse"};
    const auto found = section.text(key);
    if (!found) return;
    std::string name = *found;
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    if (std::find(kAmax.begin(), kAmax.end(), name) != kAmax.end()) {
      section.decides_nothing(key);
    } else if (std::find(kSearching.begin(), kSearching.end(), name) != kSearching.end()) {
      section.error(key,
                    fmt::format("{} searches for scales, which is not done here: scales are amax / 448; use minmax, "
                                "or {}",
                                name, kElsewhere));
    } else {
      section.error(key, fmt::format("{}: unknown observer; minmax takes the largest value{}", shown(*found),
                                     did_you_mean(name, kAmax, 1)));
    }
  }

  // "FP8_DYNAMIC", {FP8_DYNAMIC: targets, ...}, or the arguments themselves.
  void read_scheme(const Section& m, const std::optional<std::vector<Text>>& targets) {
    if (!m.is_map("scheme")) {
      const auto name = m.text("scheme");
      if (!name) return;
      Group group{*name, m.where("scheme"), preset(m, "scheme", *name), {}, m, "targets"};
      group.targets = targets ? *targets : std::vector<Text>{{"Linear", {}}};
      return groups_.push_back(std::move(group));
    }
    const Section map = m.section("scheme");
    if (map.has("weights") || map.has("input_activations")) {
      Group group{"scheme", m.where("scheme"), std::nullopt, {}, m, "targets"};
      group.targets = targets ? *targets : std::vector<Text>{{"Linear", {}}};
      group.spec = read_arguments(map);
      return groups_.push_back(std::move(group));
    }
    for (const std::string& name : map.keys()) {
      Group group{name, map.where(name), preset(map, name, name), {}, map, name};
      group.targets = map.texts(name, /*single=*/true).value_or(std::vector<Text>{});
      groups_.push_back(std::move(group));
    }
    if (targets && !targets->empty()) m.error("targets", "goes with a scheme by name; this one lists its own targets");
  }

  std::optional<quant::QuantSpec> preset(const Section& section, std::string_view key, const std::string& name) {
    static const std::vector<std::string> kPresets = {"FP8_DYNAMIC", "FP8_BLOCK", "MXFP8", "FP8"};
    static const std::vector<std::string> kOther = {
        "W8A16", "W4A16",    "W4A16_ASYM", "W8A8",     "INT8",  "W4A8",    "W4AFP8",    "NVFP4A16",
        "NVFP4", "MXFP4A16", "MXFP4",      "MXFP6A16", "MXFP6", "MXFP6A8", "MXFP4XFP8", "UNQUANTIZED"};
    std::string upper = name;
    std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return std::toupper(c); });
    if (upper == "FP8_DYNAMIC") return make("dynamic", section, key);
    if (upper == "FP8_BLOCK") return make("block", section, key);
    if (upper == "MXFP8") return make("mxfp8", section, key);
    if (upper == "FP8") {
      section.error(key, fmt::format("FP8 (static) {}; FP8_DYNAMIC and FP8_BLOCK need none", kNeedsCalibration));
    } else if (upper == "MXFP8A16") {
      section.error(key, "MXFP8A16: MXFP8 weights alone are not written here, and vLLM runs them as MXFP8; use MXFP8");
    } else if (std::find(kOther.begin(), kOther.end(), upper) != kOther.end()) {
      section.error(key, fmt::format("{} is not FP8, which is all that is written here; {}", upper, kElsewhere));
    } else {
      section.error(key, fmt::format("{}: unknown scheme; one of {}{}", shown(name), fmt::join(kPresets, ", "),
                                     did_you_mean(upper, kPresets, 1)));
    }
    return std::nullopt;
  }

  std::optional<quant::QuantSpec> make(std::string_view scheme, const Section& section, std::string_view key) {
    if (!quant::find_scheme(scheme)) {
      section.error(key, fmt::format("{}: is not written here yet", scheme));
      return std::nullopt;
    }
    auto spec = quant::make_spec(scheme, "compressed-tensors");
    const Status legal = spec.ok() ? quant::check_spec(*spec) : Status(spec.error());
    if (legal.ok()) return *spec;
    section.error(key, first_line(legal.error()));
    return std::nullopt;
  }

  // config_groups: a scheme by its arguments, or {PRESET: [targets]}.
  void read_named_group(const Section& groups, const std::string& name) {
    if (groups.is_list(name)) {
      Group group{name, groups.where(name), preset(groups, name, name), {}, groups, name};
      group.targets = groups.texts(name).value_or(std::vector<Text>{});
      return groups_.push_back(std::move(group));
    }
    const Section section = groups.section(name);
    if (!section.exists()) return groups.error(name, "must be a map: targets, weights, input_activations");
    section.require("targets", "which modules the group is of, such as [Linear]");
    Group group{name, groups.where(name), std::nullopt, {}, section, "targets"};
    group.targets = section.texts("targets", /*single=*/true).value_or(std::vector<Text>{});
    group.spec = read_arguments(section);
    groups_.push_back(std::move(group));
  }

  std::optional<quant::QuantSpec> read_arguments(const Section& group) {
    group.meaningless({"format"});
    if (group.has("output_activations")) {
      group.error("output_activations", fmt::format("{}; leave it out", kNeedsCalibration));
    }
    group.require("weights", "how the weights are quantized");
    const Section weights = group.section("weights");
    if (!weights.exists()) return std::nullopt;
    const Args w = read_args(weights, /*weights=*/true);
    std::optional<Args> a;
    const Section inputs = group.section("input_activations");
    if (inputs.exists()) a = read_args(inputs, /*weights=*/false);
    if (!w.good || (a && !a->good)) return std::nullopt;
    return scheme_of(group, weights, inputs, w, a);
  }

  Args read_args(const Section& s, bool weights) {
    Args args;
    const auto refuse = [&](std::string_view key, std::string_view sentence) {
      s.error(key, sentence);
      args.good = false;
    };
    if (const auto bits = s.integer("num_bits", 1, 64); bits && *bits != 8) {
      refuse("num_bits", fmt::format("{} bits are not FP8, which is all that is written here; {}", *bits, kElsewhere));
    }
    const auto type = s.one_of("type", {"float", "int"});
    if (type.value_or("int") == "int") {
      refuse("type", fmt::format("{}, not FP8; write type: float, or {}",
                                 type ? "int: integers" : "is missing, which means int", kElsewhere));
    }
    if (!s.boolean("symmetric").value_or(true)) refuse("symmetric", "FP8 has no zero point; it must be true");
    read_dynamic(s, weights, args, refuse);
    s.one_of("actorder", {"static", "weight", "group", "dynamic"});
    if (s.has("actorder")) refuse("actorder", "is of GPTQ, which is not done here; leave it out");
    s.meaningless({"zp_dtype", "observer_kwargs"});
    if (weights) {
      check_observer(s, "observer");
    } else {
      s.meaningless({"observer"});
    }
    if (const auto scale = s.text("scale_dtype")) {
      args.exponent_scales = *scale == "torch.uint8" || *scale == "uint8";
      if (!args.exponent_scales) {
        refuse("scale_dtype", fmt::format("{}: only torch.uint8 (MXFP8) is done here; leave it out", shown(*scale)));
      }
    }
    read_strategy(s, args, refuse);
    return args;
  }

  template <typename Refuse>
  void read_dynamic(const Section& s, bool weights, Args& args, const Refuse& refuse) {
    args.dynamic = s.has("dynamic") && s.text("dynamic") != "local" && s.boolean("dynamic").value_or(false);
    if (weights && s.has("dynamic") && args.dynamic) refuse("dynamic", "weights are static; it must be false");
    if (weights || args.dynamic) return;
    if (s.has("dynamic") && s.text("dynamic") == "local") {
      refuse("dynamic", fmt::format("local is of 4-bit formats; {}", kElsewhere));
    } else {
      refuse("dynamic", fmt::format("activations that are not dynamic: {}; write dynamic: true", kNeedsCalibration));
    }
  }

  // Where it is not said it follows from the group size.
  template <typename Refuse>
  void read_strategy(const Section& s, Args& args, const Refuse& refuse) {
    const auto strategy =
        s.one_of("strategy", {"tensor", "channel", "group", "block", "token", "tensor_group", "attn_head"});
    if (s.has("strategy") && !strategy) args.good = false;
    const auto group = s.integer("group_size", -1, kLargestBlock);
    if (s.has("group_size") && (!group || *group == 0)) refuse("group_size", "must be positive, or -1 for a channel");
    args.group_size = group.value_or(0);
    args.strategy = strategy ? *strategy : !group ? "tensor" : *group > 0 ? "group" : "channel";
    if (s.has("block_structure") && s.is_list("block_structure")) {
      args.block = s.integers("block_structure", 1, kLargestBlock).value_or(std::vector<std::int64_t>{});
    } else if (const auto text = s.text("block_structure")) {  // the older "128x128"
      for (const std::string_view part : split(*text, 'x')) {
        const bool digits = !part.empty() && part.size() <= 5 && part.find_first_not_of("0123456789") == part.npos;
        args.block.push_back(digits ? std::stoll(std::string(part)) : 0);
      }
    }
    const bool whole = args.block.size() == 2 && args.block[0] > 0 && args.block[1] > 0 &&
                       args.block[0] <= kLargestBlock && args.block[1] <= kLargestBlock;
    if (s.has("block_structure") != (args.strategy == "block") || (args.strategy == "block" && !whole)) {
      refuse("block_structure", "goes with strategy: block, and is two numbers such as [128, 128]");
    }
    if (args.group_size > 0 && args.strategy != "group" && args.strategy != "tensor_group") {
      refuse("group_size", fmt::format("goes with strategy: group, not {}", args.strategy));
    }
  }

  std::optional<quant::QuantSpec> scheme_of(const Section& group, const Section& weights, const Section& inputs,
                                            const Args& w, const std::optional<Args>& a) {
    const auto refuse = [&](const Section& section, std::string_view key, std::string_view sentence) {
      section.error(key, sentence);
      return std::optional<quant::QuantSpec>();
    };
    if (w.strategy == "group") {
      if (w.group_size != 32 || !w.exponent_scales) {
        return refuse(weights, "strategy", "groups of FP8 weights are MXFP8: group_size: 32, scale_dtype: torch.uint8");
      }
      if (!a) return refuse(group, "input_activations", "is missing: MXFP8 weights alone are not written here");
      if (a->strategy != "group" || a->group_size != 32) {
        return refuse(inputs, "strategy", "MXFP8 activations have groups of 32 too");
      }
      return make("mxfp8", group, "weights");
    }
    if (w.exponent_scales) return refuse(weights, "scale_dtype", "torch.uint8 goes with groups of 32 (MXFP8)");
    if (w.strategy == "block") {
      if (!a) return refuse(group, "input_activations", "is missing: weight-only is per channel here, not per block");
      if (a->strategy != "group" || a->group_size != w.block[1]) {
        return refuse(
            inputs, "strategy",
            fmt::format("blocks go with activations in groups as wide: strategy: group, group_size: {}", w.block[1]));
      }
      auto spec = make("block", group, "weights");
      if (!spec) return std::nullopt;
      spec->scheme.block_n = static_cast<std::uint64_t>(w.block[0]);
      spec->scheme.block_k = static_cast<std::uint64_t>(w.block[1]);
      return spec;
    }
    if (w.strategy != "tensor" && w.strategy != "channel") {
      return refuse(weights, "strategy",
                    fmt::format("{} is not for weights in FP8; tensor, channel or block", w.strategy));
    }
    if (!a) {
      if (w.strategy == "channel") return make("weight-only", group, "weights");
      return refuse(weights, "strategy", "weight-only is per channel here: strategy: channel");
    }
    if (a->strategy != "token") {
      return refuse(inputs, "strategy",
                    fmt::format("{}: engines round dynamic activations per token; write strategy: token", a->strategy));
    }
    return make(w.strategy == "tensor" ? "tensor" : "dynamic", group, "weights");
  }

  // Groups to one spec: the same scheme for all, their targets together.
  void combine(const Section& m) {
    const auto ignored = m.texts("ignore", /*single=*/true).value_or(std::vector<Text>{});
    if (reader_.failed() || groups_.empty()) return;
    meaning_.spec = groups_.front().spec;
    meaning_.said["scheme"] = groups_.front().where;
    meaning_.said["format"] = groups_.front().where;
    if (meaning_.spec->scheme.granularity == quant::Granularity::kBlock) {
      meaning_.said["block-size"] = groups_.front().where;
    }
    for (const Group& group : groups_) {
      if (quant::spec_json(*group.spec) == quant::spec_json(*meaning_.spec)) continue;
      group.section.error(
          group.target_key,
          fmt::format("{} is {} and {} is {}; one scheme a folder is written here: split the recipe, or {}",
                      shown(groups_.front().name), meaning_.spec->scheme.name, shown(group.name),
                      group.spec->scheme.name, kElsewhere));
      return;
    }
    bool head = read_targets();
    head = !read_ignored(m, ignored) && head;
    meaning_.spec->lm_head = head;
    if (!head || reader_.failed()) return;
    reader_.warn("lm_head is not in ignore, so it is quantized too, as llm-compressor does; most people add it");
    if (const Status legal = quant::check_spec(*meaning_.spec); !legal.ok())
      m.error("ignore", first_line(legal.error()));
  }

  // True when lm_head is among them.
  bool read_targets() {
    bool all = false, head = false;
    for (const Group& group : groups_) {
      if (group.targets.empty()) group.section.error(group.target_key, "is empty: which modules?");
      for (const Text& target : group.targets) {
        if (target.text == "Linear") {
          all = true;
        } else if (const auto pattern = pattern_of(group.section, group.target_key, target); !pattern.empty()) {
          meaning_.spec->only.push_back(pattern);
          meaning_.said["only"] = group.section.where(group.target_key);
          head = head || pattern_matches(pattern, "lm_head").value();
        }
      }
    }
    if (all) {
      meaning_.spec->only.clear();
      meaning_.said.erase("only");
    }
    return all || head;
  }

  // True when lm_head is among them.
  bool read_ignored(const Section& m, const std::vector<Text>& ignored) {
    bool head = false;
    for (const Text& entry : ignored) {
      if (entry.text == "Linear") {
        m.error_at(entry, "ignore", "Linear: ignoring every linear leaves nothing to quantize");
      } else if (is_class_name(entry.text)) {
        reader_.note(
            fmt::format("ignore: {} is taken for a class; only linears are quantized here, so it changes nothing",
                        shown(entry.text)));
      } else if (const auto pattern = pattern_of(m, "ignore", entry); !pattern.empty()) {
        meaning_.spec->ignore.push_back(pattern);
        head = head || pattern_matches(pattern, "lm_head").value();
      }
    }
    if (!meaning_.spec->ignore.empty()) meaning_.said["ignore"] = m.where("ignore");
    return head;
  }

  // A name or "re:..." as Octavo's pattern; "" after an error.
  std::string pattern_of(const Section& section, std::string_view key, const Text& entry) {
    if (entry.text.starts_with("re:")) {
      const auto plain = pattern_matches(entry.text, "lm_head");
      std::string pattern = module_regex(entry.text);
      const auto fenced = pattern_matches(pattern, "lm_head");
      if (plain.ok() && fenced.ok()) return pattern;
      section.error_at(entry, key, (plain.ok() ? fenced : plain).error().message);
      return "";
    }
    if (is_class_name(entry.text)) {
      section.error_at(
          entry, key,
          fmt::format("{} is taken for a class, and only Linear is known by its class; name the modules, or "
                      "use re:",
                      shown(entry.text)));
      return "";
    }
    if (entry.text.find_first_of("*?[") != std::string::npos) {
      section.error_at(
          entry, key,
          fmt::format("{}: llm-compressor has no globs, so it would match nothing; write re:...", shown(entry.text)));
      return "";
    }
    return entry.text;
  }

  Reader& reader_;
  Config& config_;
  std::vector<std::pair<std::string, Section>> modifiers_;
  std::vector<Group> groups_;
  Meaning meaning_;
};

}  // namespace

void read_llm_compressor(Reader& reader, Config& config) { Recipe(reader, config).run(); }

}  // namespace octavo::dialect
