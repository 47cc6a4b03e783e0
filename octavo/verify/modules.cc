// Roles by name, targets and ignore lists by the loaders' matching rules, fused groups by naming family.
#include "octavo/verify/modules.h"

#include <algorithm>
#include <array>
#include <map>
#include <unordered_set>

#include "octavo/base/name_matcher.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/group_targets.h"

namespace octavo::verify {
namespace {

constexpr std::string_view kWeight = ".weight";
// Real names have about ten components; longer ones are matched by whole names only, so that hostile ones cost little.
constexpr std::size_t kMostComponents = 64;

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

bool is_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// With its dot: "model.layers.0.mlp."; "" at the top.
std::string_view parent_of(std::string_view module) {
  const std::size_t dot = module.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : module.substr(0, dot + 1);
}

// The names of all tensors, for questions about prefixes.
class TensorNames {
 public:
  explicit TensorNames(const Checkpoint& checkpoint) {
    for (const CheckpointTensor& t : checkpoint.tensors()) sorted_.push_back(t.name);
    std::sort(sorted_.begin(), sorted_.end());
  }
  bool any_starts_with(std::string_view prefix) const {
    const auto it = std::lower_bound(sorted_.begin(), sorted_.end(), prefix);
    return it != sorted_.end() && it->starts_with(prefix);
  }
  // A tensor, a module, or a part of the model above modules.
  bool names_something(std::string_view entry) const {
    return std::binary_search(sorted_.begin(), sorted_.end(), entry) || any_starts_with(std::string(entry) + ".");
  }

 private:
  std::vector<std::string_view> sorted_;
};

// GPT-NeoX calls its output head an embedding; it is an nn.Linear.
constexpr std::string_view kNeoXHead = "embed_out";

bool is_embedding(std::string_view module) {
  if (last_component(module) == kNeoXHead) return false;
  const auto components = split(module, '.');
  return std::any_of(components.begin(), components.end(), [](std::string_view c) {
    return contains(c, "embed") || c == "wte" || c == "wpe" || c == "shared";
  });
}

bool is_head(std::string_view module) {
  const std::string_view leaf = last_component(module);
  return leaf == "lm_head" || leaf == "output_layer" || leaf == kNeoXHead || module == "output" || module == "head" ||
         module.ends_with("shared_head.head");
}

bool is_router(std::string_view module, const TensorNames& names) {
  const std::string_view leaf = last_component(module);
  const bool named = leaf == "gate" || leaf == "gating" || leaf == "shared_expert_gate" || leaf.ends_with("router");
  return named && names.any_starts_with(std::string(parent_of(module)) + "experts.");
}

Role role_of(const CheckpointTensor& weight, std::string_view module, const TensorNames& names) {
  if (is_embedding(module)) return Role::kEmbedding;
  if (contains(last_component(module), "norm")) return Role::kOther;
  if (weight.shape.size() == 3 && is_fp8(weight.dtype)) return Role::kLinear;
  if (weight.shape.size() != 2) return Role::kOther;
  if (is_head(module)) return Role::kHead;
  return is_router(module, names) ? Role::kRouter : Role::kLinear;
}

// "model.layers.0.mlp.experts" of "model.layers.0.mlp.experts.7.up_proj"; "" when it is no numbered expert.
std::string_view expert_block(std::string_view module) {
  constexpr std::string_view kExperts = ".experts.";
  const std::size_t at = module.rfind(kExperts);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = module.substr(at + kExperts.size());
  const std::size_t dot = rest.find('.');
  if (dot == std::string_view::npos || !is_number(rest.substr(0, dot))) return {};
  return module.substr(0, at + kExperts.size() - 1);
}

// Ignore lists as plain names, matched as SGLang does in the fp8 dialect, at whole components.
class PlainNames {
 public:
  explicit PlainNames(const std::vector<IgnoreList>& lists) {
    for (const IgnoreList& list : lists) entries_.insert(list.entries.begin(), list.entries.end());
  }
  bool exact(std::string_view module) const { return entries_.contains(std::string(module)); }
  // An entry is a run of whole components of the module's name.
  bool within(std::string_view module) const {
    if (entries_.empty()) return false;
    std::vector<std::size_t> starts = {0};
    for (std::size_t i = 0; i < module.size(); ++i) {
      if (module[i] == '.') starts.push_back(i + 1);
    }
    if (starts.size() > kMostComponents) return exact(module);
    for (std::size_t first = 0; first < starts.size(); ++first) {
      for (std::size_t last = first; last < starts.size(); ++last) {
        const std::size_t end = last + 1 < starts.size() ? starts[last + 1] - 1 : module.size();
        if (exact(module.substr(starts[first], end - starts[first]))) return true;
      }
    }
    return false;
  }

 private:
  std::unordered_set<std::string> entries_;
};

struct Family {
  std::string_view name;
  std::array<std::string_view, 3> leaves;  // in the order of the fused parameter
};
constexpr std::array<Family, 10> kFamilies{{
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

// Not the parts of cross attention, whose queries and keys come from different places.
bool always_joined(std::string_view name, std::string_view family) {
  return family == "gate_up_proj" || family == "fused_qkv_a_proj" || name.ends_with("self_attn.qkv_proj");
}

void find_fused(Subject& subject) {
  struct Found {
    const Family* family;
    std::array<std::optional<std::size_t>, 3> members;
  };
  std::map<std::string, Found> found;  // by the fused parameter's name
  for (std::size_t i = 0; i < subject.modules.size(); ++i) {
    const Module& module = subject.modules[i];
    if (module.role != Role::kLinear) continue;
    for (const Family& family : kFamilies) {
      const auto it = std::find(family.leaves.begin(), family.leaves.end(), module.leaf());
      if (it == family.leaves.end()) continue;
      Found& entry = found[std::string(parent_of(module.name)).append(family.name)];
      entry.family = &family;
      entry.members[static_cast<std::size_t>(it - family.leaves.begin())] = i;
    }
  }
  for (auto& [name, entry] : found) {
    const std::string_view family = entry.family->name;
    FusedGroup group{name, {}};
    for (const auto& member : entry.members) {
      if (member) group.members.push_back(*member);
    }
    if (group.members.size() < 2) continue;
    // What is joined along the rows has equal columns; "gate" beside another "up" may be a router.
    const auto& shape = [&](std::size_t i) -> const Shape& { return subject.modules[i].weight->shape; };
    const bool joinable = std::all_of(group.members.begin(), group.members.end(), [&](std::size_t i) {
      return shape(i).size() == 2 && shape(i)[1] == shape(group.members[0])[1] &&
             (family != "gate_up" || shape(i) == shape(group.members[0]));
    });
    if (joinable) {
      subject.fused.push_back(std::move(group));
    } else if (always_joined(name, family)) {
      subject.unjoinable.push_back(std::move(group));
    }
  }
}

void find_experts(Subject& subject) {
  std::map<std::string, std::vector<std::size_t>, std::less<>> blocks;
  for (std::size_t i = 0; i < subject.modules.size(); ++i) {
    Module& module = subject.modules[i];
    const std::string_view block = expert_block(module.name);
    if (block.empty() || module.role != Role::kLinear) continue;
    module.expert = true;
    blocks[std::string(block)].push_back(i);
  }
  for (auto& [name, members] : blocks) subject.experts.push_back({name, std::move(members)});
}

// Entries that should name something and do not. "lm_head" is a module even where it is tied and has no tensor.
void find_idle_entries(Subject& subject, const TensorNames& names) {
  std::unordered_set<std::string_view> seen;
  const auto look = [&](const std::string& entry) {
    if (entry.starts_with("re:") || entry.find_first_of("*?[") != entry.npos || is_class_target(entry) ||
        entry == "lm_head" || !seen.insert(entry).second)
      return;
    if (!names.names_something(entry)) subject.idle_entries.push_back(entry);
  };
  for (const QuantizationGroup& group : subject.info.groups) {
    for (const std::string& target : group.targets) look(target);
  }
  for (const IgnoreList& list : subject.info.ignore) {
    for (const std::string& entry : list.entries) look(entry);
  }
}

// A weight of a linear or of an embedding: two dimensions, or FP8 with a scale or three dimensions.
bool is_module(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  const bool named = tensor.name.ends_with(kWeight);
  if (!is_fp8(tensor.dtype)) return named && tensor.shape.size() == 2;
  return named || tensor.shape.size() == 3 || checkpoint.find(tensor.name + "_scale") != nullptr ||
         checkpoint.find(tensor.name + "_scale_inv") != nullptr;
}

// Which of the two names mxfp8 files have.
void find_names(Subject& subject) {
  if (subject.info.dialect != Dialect::kMxfp8) return;
  const auto& tensors = subject.checkpoint->tensors();
  subject.inverse_names = std::any_of(tensors.begin(), tensors.end(), [&](const CheckpointTensor& t) {
    return is_fp8(t.dtype) && subject.checkpoint->find(t.name + "_scale_inv") != nullptr;
  });
}

// Ignore lists by the rules of their dialect.
class Ignored {
 public:
  static Result<Ignored> compile(const Subject& subject) {
    Ignored out(subject.info.ignore);
    out.plain_ = subject.has_plain_names();
    out.loose_ = out.plain_ || subject.info.dialect == Dialect::kModelOpt;
    if (out.plain_) return out;
    std::vector<std::string> entries;
    for (const IgnoreList& list : subject.info.ignore) {
      entries.insert(entries.end(), list.entries.begin(), list.entries.end());
    }
    const bool globs = subject.info.dialect == Dialect::kModelOpt || subject.info.dialect == Dialect::kQuark;
    OCTAVO_ASSIGN(out.matcher_, NameMatcher::compile(entries, globs));
    return out;
  }
  Status look(Module& module) const {
    if (plain_) {
      module.ignored_exactly = names_.exact(module.name);
    } else {
      OCTAVO_ASSIGN(module.ignored_exactly, matcher_.matches(module.name));
    }
    module.ignored = module.ignored_exactly || (loose_ && names_.within(module.name));
    return {};
  }

 private:
  explicit Ignored(const std::vector<IgnoreList>& lists) : names_(lists) {}

  bool plain_ = false;  // no patterns
  bool loose_ = false;  // an entry may be a part of the name
  PlainNames names_;
  NameMatcher matcher_;
};

void read_model_keys(Subject& subject) {
  const Json& config = subject.checkpoint->config();
  if (const auto it = config.find("model_type"); it != config.end() && it->is_string()) {
    subject.model_type = it->get<std::string>();
  }
  if (const auto it = config.find("tie_word_embeddings"); it != config.end()) subject.tied = *it == Json(true);
}

}  // namespace

std::string_view last_component(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

std::string_view Module::leaf() const { return last_component(name); }

bool Subject::has_ignore_list() const {
  return std::any_of(info.ignore.begin(), info.ignore.end(), [](const IgnoreList& l) { return !l.entries.empty(); });
}

const QuantizationGroup& Subject::group_of(const Module& module) const { return info.groups[module.group.value_or(0)]; }

bool Subject::has_plain_names() const {
  return info.dialect == Dialect::kFp8 || info.dialect == Dialect::kMxfp8 || info.dialect == Dialect::kFbgemm;
}

std::string_view Subject::scale_suffix() const {
  constexpr std::string_view kPlain = "_scale", kInverse = "_scale_inv";
  switch (info.dialect) {
    case Dialect::kFp8:
      return info.groups[0].granularity == Granularity::kBlock || info.transformers_names ? kInverse : kPlain;
    case Dialect::kMxfp8: return inverse_names ? kInverse : kPlain;
    default: return kPlain;
  }
}

std::string Subject::scale_name(const Module& module) const {
  // DeepSeek-V4, which engines rename.
  const std::string own = module.name + ".scale";
  if (info.dialect == Dialect::kFp8 && module.fp8 && checkpoint->find(own) != nullptr) return own;
  return module.weight->name + std::string(scale_suffix());
}

std::string Subject::input_scale_name(const Module& module) const {
  const bool plain = module.weight->name.ends_with(kWeight);
  return module.name + (plain ? "." : "_") + (info.transformers_names ? "activation_scale" : "input_scale");
}

Result<Subject> describe_subject(const Checkpoint& checkpoint, const QuantizationInfo& info) {
  Subject subject;
  subject.checkpoint = &checkpoint;
  subject.info = info;
  subject.config = &info.json;
  read_model_keys(subject);
  find_names(subject);

  const TensorNames names(checkpoint);
  OCTAVO_ASSIGN(const GroupTargets targets, GroupTargets::compile(info));
  OCTAVO_ASSIGN(const Ignored ignored, Ignored::compile(subject));
  for (const CheckpointTensor& tensor : checkpoint.tensors()) {
    Module module;
    module.fp8 = is_fp8(tensor.dtype);
    if (!is_module(checkpoint, tensor)) continue;
    module.name = tensor.name;
    if (tensor.name.ends_with(kWeight)) module.name.resize(tensor.name.size() - kWeight.size());
    module.weight = &tensor;
    module.role = role_of(tensor, module.name, names);
    module.scale = checkpoint.find(subject.scale_name(module));
    if (module.quantized()) {
      auto grid = match_scale(checkpoint, info, tensor);
      if (grid.ok()) module.grid = std::move(*grid);
    }
    const bool linear = module.role != Role::kEmbedding && module.role != Role::kOther;
    OCTAVO_ASSIGN(const auto match, targets.find(module.name, linear));
    if (match) {
      module.group = match->group;
      module.targeted_by_name = match->by_name;
    }
    OCTAVO_TRY(ignored.look(module));
    subject.modules.push_back(std::move(module));
  }
  find_experts(subject);
  find_fused(subject);
  find_idle_entries(subject, names);
  return subject;
}

}  // namespace octavo::verify
