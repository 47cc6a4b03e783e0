// The default selection, and what --ignore, --only, --keep-first, --keep-last and --lm-head make of it.
// Sources of the kept kinds: docs/formats.md, "What stays in BF16".
#include "octavo/quant/selection.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>
#include <unordered_set>

#include "octavo/base/name_matcher.h"
#include "octavo/base/text.h"

namespace octavo::quant {
namespace {

using Names = std::vector<std::string_view>;

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

bool any_component(const Names& components, bool (*is)(std::string_view)) {
  return std::any_of(components.begin(), components.end(), is);
}

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

bool is_embedding(std::string_view c) { return contains(c, "embed") || one_of(c, {"wte", "wpe", "shared"}); }
bool is_other_modality(std::string_view c) {
  return contains(c, "vision") || contains(c, "visual") || contains(c, "audio") || contains(c, "multi_modal") ||
         contains(c, "mm_projector") || contains(c, "image") || contains(c, "speech");
}
bool is_router(std::string_view c) {
  return contains(c, "router") || one_of(c, {"gate", "gating", "shared_expert_gate", "shared_experts_gate"});
}
bool is_norm(std::string_view c) { return contains(c, "norm") || c == "ln" || c.starts_with("ln_"); }
bool is_mtp(std::string_view c) { return one_of(c, {"mtp", "mtp_layers", "nextn", "nextn_layers"}); }
bool is_head(std::string_view leaf) { return one_of(leaf, {"lm_head", "output", "embed_out", "output_layer", "head"}); }

// What joins a multi-token-prediction layer to the model: plain linears in every engine.
bool is_mtp_projection(const Names& components) {
  return components.back() == "eh_proj" || any_component(components, [](auto c) { return c == "shared_head"; }) ||
         (components.back() == "fc" && any_component(components, is_mtp));
}

// Linears whose kernels the engines run in BF16 whatever the file says: state-space gates and convolutions, the
// sparse-attention indexer's weighting, relative position tables.
bool is_engine_kept(std::string_view leaf) {
  return one_of(leaf, {"in_proj_a", "in_proj_b", "in_proj_ba", "conv1d", "weights_proj", "relative_attention_bias"});
}

// transformers' Conv1D stores [in, out]: scales along its rows would belong to inputs.
bool stores_transposed(std::string_view model_type) {
  return one_of(model_type, {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"});
}

class Selector {
 public:
  Selector(const Checkpoint& checkpoint, const ModelConfig& config, const QuantSpec& spec)
      : checkpoint_(checkpoint), config_(config), spec_(spec) {}

  Result<Selection> run() {
    OCTAVO_ASSIGN(ignore_, NameMatcher::compile(spec_.ignore, /*globs=*/true));
    OCTAVO_ASSIGN(only_, NameMatcher::compile(spec_.only, /*globs=*/true));
    ignore_used_.assign(spec_.ignore.size(), false);
    only_used_.assign(spec_.only.size(), false);
    count_layers();
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) {
      OCTAVO_ASSIGN(Decision decision, decide(tensor));
      out_.decisions.push_back(std::move(decision));
    }
    warn_unused(spec_.ignore, ignore_used_, "--ignore");
    warn_unused(spec_.only, only_used_, "--only");
    OCTAVO_TRY(check_result());
    return std::move(out_);
  }

 private:
  // Layers of each container that keep_first and keep_last count: those of the model proper, without the extra
  // prediction layers that some files number on behind them.
  void count_layers() {
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) {
      const std::string_view module = module_name(tensor.name);
      if (const auto layer = layer_of(module, split(module, '.'))) {
        std::uint64_t& count = layers_[layer->container];
        count = std::max(count, layer->index + 1);
      }
    }
    for (auto& [container, count] : layers_) {
      if (config_.num_hidden_layers && *config_.num_hidden_layers > 0) {
        count = std::min(count, *config_.num_hidden_layers);
      }
    }
  }

  Result<Decision> decide(const CheckpointTensor& tensor) {
    const std::string_view module = module_name(tensor.name);
    const Names components = split(module, '.');
    const auto layer = layer_of(module, components);
    Decision d = default_decision(tensor, module, components, layer);

    // Patterns are looked up for every tensor, so that "matched nothing" means just that.
    OCTAVO_ASSIGN(const auto ignored, match(ignore_, ignore_used_, tensor.name, module));
    OCTAVO_ASSIGN(const auto wanted, match(only_, only_used_, tensor.name, module));
    if (!d.quantize) return d;
    if (ignored) return kept(d, fmt::format("--ignore {}", spec_.ignore[*ignored]));
    if (!spec_.only.empty() && !wanted) return kept(d, "not named by --only");
    if (layer && !any_component(components, is_mtp)) {
      const std::uint64_t count = layers_[layer->container];
      if (layer->index < count && layer->index < spec_.keep_first) {
        return kept(d, fmt::format("layer {}: --keep-first {}", layer->index, spec_.keep_first));
      }
      if (layer->index < count && count - layer->index <= spec_.keep_last) {
        return kept(d, fmt::format("layer {} of {}: --keep-last {}", layer->index, count, spec_.keep_last));
      }
    }
    return d;
  }

  static Decision kept(Decision d, std::string why) {
    d.quantize = false;
    d.why = std::move(why);
    return d;
  }

  Decision default_decision(const CheckpointTensor& tensor, std::string_view module, const Names& components,
                            const std::optional<Layer>& layer) const {
    Decision d;
    const std::string_view leaf = components.back();
    if (octavo::is_fp8(tensor.dtype)) return kept(d, "already FP8");
    if (module == tensor.name) return kept(d, "not a .weight");
    if (!is_quantizable(tensor.dtype)) return kept(d, fmt::format("dtype {}", dtype_name(tensor.dtype)));
    if (is_norm(leaf)) return kept(d, "norm");
    if (tensor.shape.size() != 2) return kept(d, fmt::format("{}-D, not a linear", tensor.shape.size()));
    if (any_component(components, is_embedding)) return kept(d, "embedding");

    d.linear = true;
    if (tensor.bytes == 0) return kept(d, "empty");
    if (any_component(components, is_other_modality)) return kept(d, "vision, audio or projector");
    if (is_mtp_projection(components)) return kept(d, "projection of a prediction layer (MTP)");
    if (!layer) {
      d.head = is_head(leaf);
      if (!d.head) return kept(d, "outside the decoder layers");
      if (!spec_.lm_head) return kept(d, "output head (--lm-head quantizes it)");
      d.quantize = true;
      d.why = "output head, --lm-head";
      return d;
    }
    if (any_component(components, is_router) && !has_twin(tensor, module)) return kept(d, "MoE router or gate");
    if (is_engine_kept(leaf)) return kept(d, "engines run it in BF16");
    if (stores_transposed(config_.model_type)) {
      return kept(d, fmt::format("{} stores Conv1D weights transposed", config_.model_type));
    }
    d.quantize = true;
    d.why = fmt::format("linear of layer {}", layer->index);
    return d;
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

  // A pattern names a module or a tensor.
  static Result<std::optional<std::size_t>> match(const NameMatcher& matcher, std::vector<bool>& used,
                                                  std::string_view tensor, std::string_view module) {
    if (matcher.empty()) return std::optional<std::size_t>();
    OCTAVO_ASSIGN(auto found, matcher.first_match(module));
    if (!found && module != tensor) {
      OCTAVO_ASSIGN(found, matcher.first_match(tensor));
    }
    if (found) used[*found] = true;
    return found;
  }

  void warn_unused(const std::vector<std::string>& patterns, const std::vector<bool>& used, std::string_view flag) {
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      // A pattern that an earlier one shadows did match something.
      const auto alone = NameMatcher::compile({patterns[i]}, true);
      if (used[i] || matches_any(*alone)) continue;
      // The output head is a module even where it is tied and has no tensor.
      if (patterns[i] == "lm_head" || patterns[i] == "re:.*lm_head") continue;
      out_.warnings.push_back(fmt::format("{} {} matches nothing{}", flag, printable(patterns[i]),
                                          did_you_mean(patterns[i], candidates(), 3)));
    }
  }

  bool matches_any(const NameMatcher& matcher) const {
    return std::any_of(checkpoint_.tensors().begin(), checkpoint_.tensors().end(), [&](const CheckpointTensor& t) {
      const auto hit = matcher.matches(module_name(t.name));
      const auto whole = matcher.matches(t.name);
      return (hit.ok() && *hit) || (whole.ok() && *whole);
    });
  }

  // Names to suggest: modules of linears, at most as many as edit distance can take.
  const std::vector<std::string>& candidates() {
    constexpr std::size_t kMost = 20'000;
    if (candidates_.empty()) {
      for (std::size_t i = 0; i < checkpoint_.tensors().size() && candidates_.size() < kMost; ++i) {
        if (out_.decisions[i].linear) candidates_.emplace_back(module_name(checkpoint_.tensors()[i].name));
      }
    }
    return candidates_;
  }

  Status check_result() const {
    const auto& decisions = out_.decisions;
    if (spec_.lm_head && std::none_of(decisions.begin(), decisions.end(), [](const Decision& d) { return d.head; })) {
      return failure("--lm-head: the model has no output head of its own{}",
                     config_.tie_word_embeddings ? "; it is tied to the embedding, which stays as it is" : "");
    }
    if (std::any_of(decisions.begin(), decisions.end(), [](const Decision& d) { return d.quantize; })) return {};
    // Say what kept the linears, the commonest reason first.
    std::unordered_map<std::string, std::size_t> reasons;
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
                   out_.warnings.empty() ? "" : out_.warnings.front());
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  const QuantSpec& spec_;
  NameMatcher ignore_, only_;
  std::vector<bool> ignore_used_, only_used_;
  std::unordered_map<std::string, std::uint64_t> layers_;  // container -> layers that count
  std::vector<std::string> candidates_;
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

std::optional<std::string> fused_key(std::string_view module) {
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
    return std::string(module.substr(0, module.size() - leaf.size())) + std::string(family.key);
  }
  return std::nullopt;
}

Result<Selection> select_tensors(const Checkpoint& checkpoint, const ModelConfig& config, const QuantSpec& spec) {
  return Selector(checkpoint, config, spec).run();
}

}  // namespace octavo::quant
