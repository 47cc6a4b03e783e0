// Checks that need only headers and config.json.
#include "octavo/verify/structure.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <unordered_set>

#include "octavo/base/ceil_div.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/model_config.h"

namespace octavo::verify {
namespace {

// MXFP8: an exponent byte for each group of 32.
constexpr std::uint64_t kMxGroup = 32;
bool is_mx(const QuantizationGroup& group) {
  return group.granularity == Granularity::kGroup && group.block_k == kMxGroup;
}

bool scale_dtype_allowed(const Subject& subject, const QuantizationGroup& group, DType dtype) {
  const Dialect dialect = subject.info.dialect;
  // transformers and Quark store the exponents as E8M0, all others as U8; which loaders mind is in loaders.cc.
  const bool e8m0 = dialect == Dialect::kMxfp8 || dialect == Dialect::kQuark;
  if (is_mx(group)) return dtype == DType::kU8 || (e8m0 && dtype == DType::kF8E8M0);
  if (dtype == DType::kF8E8M0) {
    return (dialect == Dialect::kFp8 || dialect == Dialect::kQuark) && group.granularity == Granularity::kBlock;
  }
  return is_quantizable(dtype);
}

bool contains(const std::vector<Shape>& shapes, const Shape& shape) {
  return std::find(shapes.begin(), shapes.end(), shape) != shapes.end();
}

bool scale_shape_allowed(const Subject& subject, const QuantizationGroup& group, const Module& module) {
  const Shape& shape = module.scale->shape;
  if (!module.joined_experts()) {
    return contains(scale_shapes(subject.info.dialect, group, module.rows(), module.columns()), shape);
  }
  return module.grid.scale != nullptr && module.grid.granularity == group.granularity;
}

// 3 of "model.layers.2.mlp.up_proj.weight"; 0 when the name has no such part.
std::uint64_t layers_up_to(std::string_view name) {
  static constexpr std::array<std::string_view, 5> kLists = {"layers", "layer", "h", "blocks", "block"};
  for (std::string_view before; !name.empty();) {
    const std::size_t end = std::min(name.find('.'), name.size());
    const std::string_view component = name.substr(0, end);
    std::uint32_t index = 0;
    const auto [stop, error] = std::from_chars(component.data(), component.data() + component.size(), index);
    if (error == std::errc() && stop == component.data() + component.size()) {
      return std::find(kLists.begin(), kLists.end(), before) != kLists.end() ? std::uint64_t{index} + 1 : 0;
    }
    before = component;
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return 0;
}

class Structure {
 public:
  Structure(const Subject& subject, Report& report) : subject_(subject), report_(report) {}

  void check() {
    for (const Module& module : subject_.modules) check_module(module);
    check_leftovers();
    check_groups();
    check_fused();
    check_layers();
    check_index();
    warn_idle_entries();
  }

 private:
  template <typename... Args>
  void violation(const std::string& where, fmt::format_string<Args...> format, Args&&... args) {
    report_.violations.push_back({printable(where), fmt::format(format, std::forward<Args>(args)...), ""});
  }

  void check_module(const Module& module) {
    if (module.fp8) {
      check_quantized(module);
    } else if (!is_quantizable(module.weight->dtype) && module.role != Role::kEmbedding) {
      violation(module.weight->name, "is {}: neither FP8 nor a dtype that linears are kept in",
                dtype_name(module.weight->dtype));
    } else if (module.group && !module.ignored && !kept_without_listing(module)) {
      violation(module.weight->name,
                "is {}, but {} targets it and no ignore list names it: loaders expect FP8 and a "
                "scale",
                dtype_name(module.weight->dtype), target_of(module));
    }
  }

  std::string target_of(const Module& module) const {
    if (!subject_.has_plain_names()) return subject_.group_of(module).pointer;
    return fmt::format("the {} config", dialect_name(subject_.info.dialect));
  }

  // Released fp8 checkpoints without any list: engines build these modules unquantized whatever the config says.
  bool kept_without_listing(const Module& module) const {
    if (!subject_.has_plain_names() || subject_.has_ignore_list()) return false;
    return module.role == Role::kHead || module.role == Role::kRouter || module.leaf() == "eh_proj";
  }

  void check_quantized(const Module& module) {
    const CheckpointTensor& weight = *module.weight;
    if (!module.quantized()) {
      violation(weight.name, "is {} with {}; only 2-D weights and 3-D experts can be quantized",
                dtype_name(weight.dtype), counted(weight.shape.size(), "dimension"));
      return;
    }
    if (code_format(weight.dtype) != subject_.info.format) {
      violation(weight.name, "is {}, but the config means {}", dtype_name(weight.dtype),
                fp8::format_name(subject_.info.format));
    }
    if (module.ignored) {
      violation(weight.name, "is {}, but the ignore list names it: loaders would read it as an unquantized weight",
                dtype_name(weight.dtype));
    } else if (!module.group) {
      violation(weight.name, "is {}, but no target of the config matches it", dtype_name(weight.dtype));
    }
    if (module.role == Role::kHead && subject_.tied) {
      violation(weight.name,
                "is an output head in FP8, but tie_word_embeddings is true: loaders take the embedding for the head "
                "and have no place for its scale");
    }
    check_scale(module);
    check_input_scale(module);
  }

  void check_scale(const Module& module) {
    const std::string& weight = module.weight->name;
    const std::string wanted = subject_.scale_name(module);
    const std::string other = weight + (wanted.ends_with("_scale") ? "_scale_inv" : "_scale");
    const CheckpointTensor* misnamed = subject_.checkpoint->find(other);
    if (module.scale == nullptr) {
      if (misnamed == nullptr) {
        violation(weight, "has no scale: {} is missing", printable(wanted));
      } else {
        violation(weight, "has its scale under the name {}; loaders of this config look for {}", printable(other),
                  printable(wanted));
      }
      return;
    }
    if (misnamed != nullptr) violation(weight, "has two scales, {} and {}", printable(wanted), printable(other));
    const QuantizationGroup& group = subject_.group_of(module);
    const CheckpointTensor& scale = *module.scale;
    if (!scale_dtype_allowed(subject_, group, scale.dtype)) {
      violation(scale.name, "is {}; a {} scale is {}", dtype_name(scale.dtype), granularity_name(group.granularity),
                is_mx(group) ? "U8 (an E8M0 exponent)" : "F32, BF16 or F16");
    }
    if (scale_shape_allowed(subject_, group, module)) return;
    if (module.joined_experts()) {
      violation(scale.name, "has shape {}, which is no {} scale of experts {}", shape_string(scale.shape),
                granularity_name(group.granularity), shape_string(module.weight->shape));
    } else {
      const Shape wanted_shape = scale_shapes(subject_.info.dialect, group, module.rows(), module.columns()).front();
      violation(scale.name, "has shape {}; the {} scale of a weight {} has shape {}", shape_string(scale.shape),
                granularity_name(group.granularity), shape_string(module.weight->shape), shape_string(wanted_shape));
    }
  }

  void check_input_scale(const Module& module) {
    const std::string name = subject_.input_scale_name(module);
    const CheckpointTensor* scale = subject_.checkpoint->find(name);
    const bool wanted = subject_.group_of(module).activation == ActivationScheme::kStaticTensor;
    if (scale == nullptr) {
      if (wanted) violation(module.weight->name, "has no {}, which static activations need", printable(name));
      return;
    }
    if (!wanted) {
      violation(name, "is here, but the config's activations are not static: loaders have no place for it");
      return;
    }
    const bool an_expert_each = module.joined_experts() && scale->shape == Shape{module.weight->shape[0]};
    if (!scale->shape.empty() && scale->shape != Shape{1} && !an_expert_each) {
      violation(name, "has shape {}; an input scale has one element", shape_string(scale->shape));
    }
    if (scale->dtype != DType::kF32 && scale->dtype != DType::kBF16 && scale->dtype != DType::kF16) {
      violation(name, "is {}; an input scale is F32, BF16 or F16", dtype_name(scale->dtype));
    }
  }

  // Tensors that no quantized module accounts for.
  void check_leftovers() {
    std::unordered_set<std::string_view> quantized, weights;
    for (const Module& module : subject_.modules) {
      if (module.quantized()) quantized.insert(module.name);
      weights.insert(module.weight->name);
    }
    for (const CheckpointTensor& tensor : subject_.checkpoint->tensors()) {
      const std::string_view name = tensor.name;
      if (weights.contains(name)) continue;
      if (name.ends_with(".weight")) continue;
      for (const std::string_view suffix :
           {".weight_scale", ".weight_scale_inv", ".input_scale", ".activation_scale"}) {
        if (name.ends_with(suffix) && !quantized.contains(name.substr(0, name.size() - suffix.size()))) {
          violation(tensor.name, "is the scale of no FP8 weight");
        }
      }
      if (is_fp8(tensor.dtype)) {
        violation(tensor.name, "is {}, but no module's weight: which scale belongs to it cannot be told",
                  dtype_name(tensor.dtype));
      }
    }
  }

  void check_groups() {
    for (std::size_t i = 0; i < subject_.info.groups.size(); ++i) {
      const bool used = std::any_of(subject_.modules.begin(), subject_.modules.end(),
                                    [&](const Module& m) { return m.quantized() && m.group == i; });
      if (!used) {
        report_.warnings.push_back(
            fmt::format("config.json: {} applies to no FP8 weight", printable(subject_.info.groups[i].pointer)));
      }
    }
  }

  // All or none of the members are FP8, in one scheme.
  void check_together(const std::string& name, const std::vector<std::size_t>& members, std::string_view what) {
    const Module& first = subject_.modules[members[0]];
    // "k_proj", "3.up_proj": what the name adds to where the group stands, so that layers have the same sentence.
    const auto beside = [&](const Module& m) {
      const auto same = std::mismatch(m.name.begin(), m.name.end(), name.begin(), name.end()).first;
      const auto dot = m.name.rfind('.', static_cast<std::size_t>(same - m.name.begin()));
      return printable(dot == std::string::npos ? m.name : m.name.substr(dot + 1));
    };
    for (const std::size_t i : members) {
      const Module& module = subject_.modules[i];
      if (module.fp8 != first.fp8) {
        const Module& kept = first.fp8 ? module : first;
        violation(name, "is {} of which some are FP8 and {} is not: loaders refuse a mixture", what, beside(kept));
        return;
      }
      if (module.fp8 && subject_.group_of(module).granularity != subject_.group_of(first).granularity) {
        violation(name, "is {} with two schemes, {} ({}) and {} ({}): loaders refuse it", what, beside(first),
                  granularity_name(subject_.group_of(first).granularity), beside(module),
                  granularity_name(subject_.group_of(module).granularity));
        return;
      }
    }
  }

  void check_fused() {
    for (const FusedGroup& group : subject_.fused) check_together(group.name, group.members, "a fused parameter");
    for (const ExpertBlock& block : subject_.experts) check_together(block.name, block.members, "a block of experts");
    for (const FusedGroup& group : subject_.unjoinable) check_columns(group);
  }

  void check_columns(const FusedGroup& group) {
    const Module& first = subject_.modules[group.members[0]];
    for (const std::size_t i : group.members) {
      const Module& module = subject_.modules[i];
      if (!first.quantized() || !module.quantized() || first.columns() == module.columns()) continue;
      violation(group.name, "its parts have different columns, {} {} and {} {}: loaders join them along the rows",
                first.leaf(), shape_string(first.weight->shape), module.leaf(), shape_string(module.weight->shape));
      return;
    }
  }

  // The longest of the model's numbered lists. One layer used several times (ALBERT) stands under other names.
  void check_layers() {
    const auto config = parse_model_config(subject_.checkpoint->config(), "config.json");
    if (!config.ok() || !config->num_hidden_layers) return;
    std::uint64_t layers = 0;
    for (const CheckpointTensor& tensor : subject_.checkpoint->tensors()) {
      layers = std::max(layers, layers_up_to(tensor.name));
    }
    if (layers == 0 || layers >= *config->num_hidden_layers) return;
    violation("config.json", "/num_hidden_layers is {}, but the tensors have {}: the rest would be left uninitialized",
              *config->num_hidden_layers, counted(layers, "layer"));
  }

  void check_index() {
    const Checkpoint& checkpoint = *subject_.checkpoint;
    for (const std::string& name : checkpoint.unindexed()) {
      violation(name, "stands in a shard but not at that place in the index: some loaders read it, others do not");
    }
    const auto& index = checkpoint.index();
    if (!index) return;
    if (index->total_size && *index->total_size != checkpoint.data_bytes()) {
      violation("model.safetensors.index.json", "says total_size {}, the tensors have {} bytes", *index->total_size,
                checkpoint.data_bytes());
    }
    std::error_code error;
    const bool indexed =
        std::find(index->shards.begin(), index->shards.end(), "model.safetensors") != index->shards.end();
    if (!indexed && std::filesystem::exists(checkpoint.dir() / "model.safetensors", error)) {
      violation("model.safetensors",
                "stands beside an index that does not name it: transformers would load it instead "
                "of the shards");
    }
  }

  void warn_idle_entries() {
    // Edit distances against every module are slow; whoever has more mistakes than this sees them after the first ones.
    constexpr std::size_t kMostLookedUp = 20;
    constexpr std::size_t kMostCandidates = 20'000;
    std::vector<std::string> modules;
    for (const Module& module : subject_.modules) {
      if (modules.size() < kMostCandidates) modules.push_back(module.name);
    }
    std::size_t looked_up = 0;
    for (const std::string& entry : subject_.idle_entries) {
      if (++looked_up > kMostLookedUp) break;
      const std::string hint = did_you_mean(entry, modules, 1);
      if (hint.empty()) continue;
      report_.warnings.push_back(
          fmt::format("config.json: \"{}\" in a target or ignore list names nothing{}", printable(entry), hint));
    }
  }

  const Subject& subject_;
  Report& report_;
};

}  // namespace

std::vector<Shape> scale_shapes(Dialect dialect, const QuantizationGroup& group, std::uint64_t n, std::uint64_t k) {
  const Shape column = {n, 1}, list = {n};
  switch (group.granularity) {
    case Granularity::kTensor: return {{1}, {}};
    case Granularity::kChannel:
      if (dialect == Dialect::kModelOpt || dialect == Dialect::kQuark) return {list};
      if (dialect == Dialect::kFp8) return {column, list};
      return {column};
    case Granularity::kBlock:
    case Granularity::kGroup: break;
  }
  const std::uint64_t rows = ceil_div(n, group.block_n), columns = ceil_div(k, group.block_k);
  if (dialect == Dialect::kModelOpt && group.granularity == Granularity::kBlock) {
    const Shape four = {rows, 1, columns, 1};
    if (rows == 1 && columns == 1) return {four, {}};  // its exporter squeezes a single scale
    // Only FP8_PB_WO is known to have no other form.
    return group.format == "FP8_PB_WO" ? std::vector<Shape>{four} : std::vector<Shape>{four, {rows, columns}};
  }
  return {{rows, columns}};
}

bool has_sound_scale(const Subject& subject, const Module& module) {
  if (!module.quantized() || module.scale == nullptr) return false;
  const QuantizationGroup& group = subject.group_of(module);
  return scale_dtype_allowed(subject, group, module.scale->dtype) && scale_shape_allowed(subject, group, module);
}

void check_structure(const Subject& subject, Report& report) { Structure(subject, report).check(); }

}  // namespace octavo::verify
