// The default selection, and what --ignore, --only, --keep-first, --keep-last and --lm-head make of it.
// Sources of the kept kinds: docs/formats.md, "What stays in BF16".
#include "octavo/quant/selection.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>
#include <unordered_set>

#include "octavo/base/name_matcher.h"
#include "octavo/base/text.h"
#include "octavo/quant/module_kinds.h"

namespace octavo::quant {
namespace {

// The layer a module belongs to: "model.layers" and 3.
struct Layer {
  std::string container;
  std::uint64_t index = 0;
};

std::optional<Layer> layer_of(std::string_view module, const Names& components) {
  for (std::size_t i = 1; i < components.size(); ++i) {
    const std::string_view c = components[i];
    std::uint64_t index = 0;
    const auto [end, error] = std::from_chars(c.data(), c.data() + c.size(), index);
    if (error != std::errc() || end != c.data() + c.size()) continue;
    const auto length = static_cast<std::size_t>(c.data() - module.data()) - 1;
    return Layer{std::string(module.substr(0, length)), index};
  }
  return std::nullopt;
}

constexpr std::string_view kExperts = ".experts.";

class Selector {
 public:
  Selector(const Checkpoint& checkpoint, const ModelConfig& config, const QuantSpec& spec, bool convert)
      : checkpoint_(checkpoint), config_(config), spec_(spec), convert_(convert) {}

  Result<Selection> run() {
    OCTAVO_ASSIGN(ignore_, NameMatcher::compile(spec_.ignore, /*globs=*/true));
    OCTAVO_ASSIGN(only_, NameMatcher::compile(spec_.only, /*globs=*/true));
    out_.decisions.reserve(checkpoint_.tensors().size());
    ignore_used_.assign(spec_.ignore.size(), false);
    only_used_.assign(spec_.only.size(), false);
    find_layers();
    find_experts();
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) {
      OCTAVO_ASSIGN(Decision decision, decide(tensor));
      out_.decisions.push_back(std::move(decision));
    }
    warn_unused(spec_.ignore, ignore_used_, "--ignore");
    warn_unused(spec_.only, only_used_, "--only");
    warn_idle_only();
    if (!convert_) OCTAVO_TRY(check_result());
    return std::move(out_);
  }

 private:
  // Which numbered containers are the decoder's layers: those that reach num_hidden_layers, else the heaviest ones;
  // "mlp1.1" of a projector or "classifier.0" are numbered too. And how many layers keep_first and keep_last count:
  // those of the model proper, without the prediction layers that some files number on behind them.
  void find_layers() {
    const std::uint64_t hidden_layers = config_.num_hidden_layers.value_or(0);
    std::uint64_t heaviest = 0;
    bool reached = false;
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) {
      const std::string_view module = module_name(tensor.name);
      const auto components = split(module, '.');
      const auto layer = layer_of(module, components);
      if (!layer || any_component(components, is_other_modality)) continue;
      Container& container = containers_[layer->container];
      container.layers = std::max(container.layers, layer->index + 1);
      if (tensor.shape.size() >= 2) container.bytes += tensor.bytes;
      heaviest = std::max(heaviest, container.bytes);
      reached = reached || (hidden_layers > 0 && container.layers >= hidden_layers);
    }
    for (auto& [name, container] : containers_) {
      const bool long_enough = !reached || container.layers >= hidden_layers;
      container.decoder = long_enough && container.bytes >= heaviest / (reached ? 8 : 2);
      if (hidden_layers > 0) container.layers = std::min(container.layers, hidden_layers);
    }
  }

  // Parents of experts ("model.layers.3.mlp") and how many they hold, one by one or in one 3-D tensor.
  void find_experts() {
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) {
      const std::size_t at = tensor.name.find(kExperts);
      if (at == std::string::npos) continue;
      std::uint64_t count = tensor.shape.size() == 3 ? tensor.shape[0] : 0;
      const std::string_view rest = std::string_view(tensor.name).substr(at + kExperts.size());
      std::uint64_t index = 0;
      if (const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), index);
          error == std::errc()) {
        count = index + 1;
      }
      std::uint64_t& known = experts_[tensor.name.substr(0, at)];
      known = std::max(known, count);
    }
  }

  Result<Decision> decide(const CheckpointTensor& tensor) {
    const std::string_view module = module_name(tensor.name);
    const Names components = split(module, '.');
    const auto layer = layer_of(module, components);
    Decision d = convert_ ? fp8_decision(tensor, module, components, layer)
                          : default_decision(tensor, module, components, layer);

    // Patterns are looked up for every tensor, so that "matched nothing" means just that.
    OCTAVO_ASSIGN(const auto ignored, match(ignore_, ignore_used_, tensor));
    OCTAVO_ASSIGN(const auto wanted, match(only_, only_used_, tensor));
    if (!d.quantize) return d;
    if (ignored) return kept(d, fmt::format("--ignore {}", spec_.ignore[*ignored]));
    if (!spec_.only.empty() && !wanted) return kept(d, "not named by --only");
    if (layer && !any_component(components, is_mtp)) {
      const std::uint64_t count = containers_[layer->container].layers;
      if (layer->index < count && layer->index < spec_.keep_first) {
        return kept(d, fmt::format("layer {}: --keep-first {}", layer->index, spec_.keep_first));
      }
      if (layer->index < count && count - layer->index <= spec_.keep_last) {
        return kept(d, fmt::format("layer {} of {}: --keep-last {}", layer->index, count, spec_.keep_last));
      }
    }
    return d;
  }

  Decision kept(Decision d, std::string_view why) const {
    d.quantize = false;
    d.why = out_.reasons->intern(why);
    return d;
  }

  Decision default_decision(const CheckpointTensor& tensor, std::string_view module, const Names& components,
                            const std::optional<Layer>& layer) const {
    Decision d;
    const std::string_view leaf = components.back();
    if (octavo::is_fp8(tensor.dtype)) return kept(d, "already FP8");
    if (tensor.shape.size() == 3 && contains(tensor.name, kExperts)) {
      const std::string_view why = checkpoint_.why_joined(tensor.name);
      return kept(d, why.empty() ? "experts in one 3-D tensor" : fmt::format("experts in one 3-D tensor: {}", why));
    }
    if (module == tensor.name) return kept(d, "not a .weight");
    if (!is_quantizable(tensor.dtype)) return kept(d, fmt::format("dtype {}", dtype_name(tensor.dtype)));
    if (is_norm(leaf)) return kept(d, "norm");
    if (tensor.shape.size() != 2) return kept(d, fmt::format("{}-D, not a linear", tensor.shape.size()));
    const bool table = is_embedding(leaf) && !contains(leaf, "proj");
    if (table) return kept(d, "embedding");

    // What patches and projections of embeddings are made with is a linear to engines, though it stays.
    d.linear = true;
    if (any_component(components, is_embedding)) return kept(d, "part of an embedding");
    if (tensor.bytes == 0) return kept(d, "empty");
    if (any_component(components, is_other_modality)) return kept(d, "vision, audio or projector");
    if (is_mtp_projection(components)) return kept(d, "projection of a prediction layer (MTP)");
    if (!layer) {
      d.head = is_head(leaf);
      if (!d.head) return kept(d, "outside the decoder layers");
      if (!spec_.lm_head) return kept(d, "output head (--lm-head quantizes it)");
      d.quantize = true;
      d.why = out_.reasons->intern("output head, --lm-head");
      return d;
    }
    const auto container = containers_.find(layer->container);
    const bool decoder = container != containers_.end() && container->second.decoder;
    if (!decoder && !any_component(components, is_mtp)) return kept(d, "outside the decoder layers");
    if (any_component(components, is_router) && !has_twin(tensor, module)) return kept(d, "MoE router or gate");
    if (routes_experts(tensor, module)) return kept(d, "MoE router or gate, by its shape");
    if (is_engine_kept(leaf)) return kept(d, "engines run it in BF16");
    if (stores_transposed(config_.model_type)) {
      return kept(d, fmt::format("{} stores Conv1D weights transposed", config_.model_type));
    }
    d.quantize = true;
    d.why = out_.reasons->intern(fmt::format("linear of layer {}", layer->index));
    return d;
  }

  Decision fp8_decision(const CheckpointTensor& tensor, std::string_view module, const Names& components,
                        const std::optional<Layer>& layer) const {
    if (!octavo::is_fp8(tensor.dtype)) {
      const Decision d = default_decision(tensor, module, components, layer);
      return d.quantize ? kept(d, "not quantized in the source") : d;
    }
    Decision d;
    d.quantize = d.linear = true;
    d.head = !layer && is_head(components.back());
    d.why = out_.reasons->intern("FP8 in the source");
    return d;
  }

  // A router by any name: it stands beside the experts and has a row for each, or a single one (a shared expert's
  // gate).
  bool routes_experts(const CheckpointTensor& tensor, std::string_view module) const {
    const std::string_view leaf = module_leaf(module);
    if (leaf.size() == module.size()) return false;
    const auto it = experts_.find(std::string(module.substr(0, module.size() - leaf.size() - 1)));
    return it != experts_.end() && (tensor.shape[0] == it->second || tensor.shape[0] == 1);
  }

  // "gate" beside an "up" of the same shape is half of a gated MLP, not a router.
  bool has_twin(const CheckpointTensor& tensor, std::string_view module) const {
    const std::string_view leaf = module_leaf(module);
    if (leaf != "gate") return false;
    const std::string parent(module.substr(0, module.size() - leaf.size()));
    for (const char* twin : {"up", "up_proj"}) {
      const CheckpointTensor* other = checkpoint_.find(parent + twin + ".weight");
      if (other != nullptr && other->shape == tensor.shape) return true;
    }
    return false;
  }

  // What a pattern may call a tensor: its module, itself, and the tensor of the file that it is a slice of.
  std::vector<std::string_view> names_of(const CheckpointTensor& tensor) const {
    const std::string_view module = module_name(tensor.name);
    std::vector<std::string_view> names{module};
    if (module != tensor.name) names.push_back(tensor.name);
    if (const SplitTensor* whole = checkpoint_.split_tensor_of(tensor)) {
      names.push_back(module_name(whole->name));
      if (names.back() != whole->name) names.push_back(whole->name);
    }
    return names;
  }
  Result<std::optional<std::size_t>> match(const NameMatcher& matcher, std::vector<bool>& used,
                                           const CheckpointTensor& tensor) const {
    std::optional<std::size_t> found;
    if (matcher.empty()) return found;
    for (const std::string_view name : names_of(tensor)) {
      OCTAVO_ASSIGN(found, matcher.first_match(name));
      if (!found) continue;
      used[*found] = true;
      break;
    }
    return found;
  }

  void warn_unused(const std::vector<std::string>& patterns, const std::vector<bool>& used, std::string_view flag) {
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      // A pattern that an earlier one shadows did match something.
      const auto alone = NameMatcher::compile({patterns[i]}, true);
      if (used[i] || matches_any(*alone)) continue;
      // The output head is a module even where it is tied and has no tensor.
      if (flag == "--ignore" && (patterns[i] == "lm_head" || patterns[i] == "re:.*lm_head")) continue;
      const std::string wanted = longest_word(patterns[i]);
      const bool whole = wanted.size() == patterns[i].size() || patterns[i].find_first_of("*?[") == std::string::npos;
      const bool exact = whole && !patterns[i].starts_with("re:");
      out_.warnings.push_back(fmt::format("{} {} matches nothing{}", flag, printable(patterns[i]),
                                          did_you_mean(exact ? patterns[i] : wanted, candidates(!exact), 3)));
    }
  }

  // An --only that names just what is kept anyway.
  void warn_idle_only() {
    for (const std::string& pattern : spec_.only) {
      const auto alone = NameMatcher::compile({pattern}, true);
      const Decision* kept_one = nullptr;
      bool eligible = false;
      for (std::size_t i = 0; i < out_.decisions.size(); ++i) {
        if (!matches(*alone, checkpoint_.tensors()[i])) continue;
        eligible = eligible || out_.decisions[i].quantize || out_.decisions[i].why.starts_with("--ignore");
        if (kept_one == nullptr || out_.decisions[i].linear) kept_one = &out_.decisions[i];
      }
      if (eligible || kept_one == nullptr) continue;
      out_.warnings.push_back(
          fmt::format("--only {} names only what is kept anyway: {}", printable(pattern), kept_one->why));
    }
  }

  // The longest run of letters, digits and underscores of a glob or expression: what was most likely misspelt.
  static std::string longest_word(std::string_view pattern) {
    if (pattern.starts_with("re:")) pattern.remove_prefix(3);
    std::string best, word;
    for (const char c : pattern) {
      const bool in_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
      if (in_word) {
        word += c;
      } else {
        word.clear();
      }
      if (word.size() >= best.size()) best = word;
    }
    return best;
  }

  bool matches(const NameMatcher& matcher, const CheckpointTensor& tensor) const {
    const auto names = names_of(tensor);
    return std::any_of(names.begin(), names.end(), [&](std::string_view name) {
      const auto hit = matcher.matches(name);
      return hit.ok() && *hit;
    });
  }
  bool matches_any(const NameMatcher& matcher) const {
    return std::any_of(checkpoint_.tensors().begin(), checkpoint_.tensors().end(),
                       [&](const CheckpointTensor& t) { return matches(matcher, t); });
  }

  // Names to suggest: modules of linears or their last components, at most as many as edit distance can take.
  std::vector<std::string> candidates(bool leaves) const {
    constexpr std::size_t kMost = 20'000;
    std::vector<std::string> names;
    std::unordered_set<std::string_view> seen;
    for (std::size_t i = 0; i < checkpoint_.tensors().size() && names.size() < kMost; ++i) {
      if (!out_.decisions[i].linear) continue;
      const std::string_view module = module_name(checkpoint_.tensors()[i].name);
      const std::string_view name = leaves ? module_leaf(module) : module;
      if (seen.insert(name).second) names.emplace_back(name);
    }
    for (const SplitTensor& whole : checkpoint_.split_tensors()) {
      const std::string_view module = module_name(whole.name);
      const std::string_view name = leaves ? module_leaf(module) : module;
      if (seen.insert(name).second) names.emplace_back(name);
    }
    return names;
  }

  Status check_result() const {
    const auto& decisions = out_.decisions;
    if (spec_.lm_head && config_.tie_word_embeddings) {
      return failure("--lm-head: the output head is tied to the embedding, which stays as it is");
    }
    if (spec_.lm_head && std::none_of(decisions.begin(), decisions.end(), [](const Decision& d) { return d.head; })) {
      return failure("--lm-head: the model has no output head of its own");
    }
    if (std::any_of(decisions.begin(), decisions.end(), [](const Decision& d) { return d.quantize; })) return {};
    // Say what kept the linears, the commonest reason first.
    std::unordered_map<std::string_view, std::size_t> reasons;
    for (const Decision& d : decisions) {
      if (d.linear || d.why == "already FP8") ++reasons[d.why];
    }
    const auto top = std::max_element(reasons.begin(), reasons.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second < b.second : a.first > b.first;
    });
    if (top == reasons.end())
      return failure("{}: nothing to quantize: no 2-D linear weight", checkpoint_.dir().string());
    // A pattern that matches nothing is then the likely mistake.
    return failure("{}: nothing to quantize: every linear is kept, most often because: {} ({} times){}{}",
                   checkpoint_.dir().string(), top->first, top->second, out_.warnings.empty() ? "" : "; ",
                   fmt::join(out_.warnings, "; "));
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const QuantSpec& spec_;
  const bool convert_;
  NameMatcher ignore_, only_;
  std::vector<bool> ignore_used_, only_used_;
  struct Container {
    std::uint64_t layers = 0;
    std::uint64_t bytes = 0;  // of its matrices
    bool decoder = false;
  };
  std::unordered_map<std::string, Container> containers_;   // by name: "model.layers"
  std::unordered_map<std::string, std::uint64_t> experts_;  // parent of experts -> how many
  Selection out_;
};

}  // namespace

std::string_view module_name(std::string_view tensor) {
  constexpr std::string_view kSuffix = ".weight";
  return tensor.ends_with(kSuffix) ? tensor.substr(0, tensor.size() - kSuffix.size()) : tensor;
}

std::string_view module_leaf(std::string_view module) {
  const std::size_t dot = module.rfind('.');
  return dot == std::string_view::npos ? module : module.substr(dot + 1);
}

std::optional<FusedName> fused_name(std::string_view module) {
  // Each family is one fused parameter of vLLM, SGLang or TensorRT-LLM.
  struct Family {
    std::string_view key;
    std::array<std::string_view, 3> leaves;
  };
  static constexpr std::array<Family, 10> kFamilies{{
      {"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
      {"wqkv", {"wq", "wk", "wv"}},
      {"qkv", {"q", "k", "v"}},
      {"query_key_value", {"query", "key", "value"}},
      {"fused_qkv_a_proj", {"q_a_proj", "kv_a_proj_with_mqa", ""}},
      {"gate_up_proj", {"gate_proj", "up_proj", ""}},
      {"gate_up", {"gate", "up", ""}},
      {"w13", {"w1", "w3", ""}},
      {"wi", {"wi_0", "wi_1", ""}},
      {"in_proj_qkvz", {"in_proj_qkv", "in_proj_z", ""}},
  }};
  const std::string_view leaf = module_leaf(module);
  for (const Family& family : kFamilies) {
    if (std::find(family.leaves.begin(), family.leaves.end(), leaf) == family.leaves.end()) continue;
    return FusedName{module.substr(0, module.size() - leaf.size()), family.key};
  }
  return std::nullopt;
}

std::optional<std::string> fused_key(std::string_view module) {
  const auto name = fused_name(module);
  if (!name) return std::nullopt;
  return fmt::format("{}{}", name->parent, name->leaf);
}

Result<Selection> select_tensors(const Checkpoint& checkpoint, const ModelConfig& config, const QuantSpec& spec,
                                 bool convert) {
  return Selector(checkpoint, config, spec, convert).run();
}

}  // namespace octavo::quant
