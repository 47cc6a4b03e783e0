// Name tables to tensors, with every contradiction between config.json and the shards named.
#include "octavo/model/slots.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <set>

#include "octavo/base/text.h"
#include "octavo/checkpoint/group_targets.h"
#include "octavo/model/fp8_head.h"

namespace octavo::model {
namespace {

using backend::InputRounding;

class Finder {
 public:
  Finder(const Checkpoint& checkpoint, const DecoderConfig& config, const std::optional<QuantizationInfo>& info,
         ActivationMode activations, HeadMode head)
      : checkpoint_(checkpoint), config_(config), info_(info), activations_(activations), head_(head) {}

  Result<Slots> run(ModelWeights& weights) {
    if (info_) {
      OCTAVO_ASSIGN(targets_, GroupTargets::compile(*info_));
    }
    OCTAVO_TRY(check_layer_count());
    const TensorNames& names = config_.architecture->names;
    const std::uint64_t hidden = config_.hidden;
    weights.layers.resize(config_.layers);
    OCTAVO_TRY(linear(names.embedding, config_.vocab, hidden, Bias::kNone, weights.embedding));
    for (std::uint64_t i = 0; i < config_.layers; ++i) OCTAVO_TRY(layer(i, weights.layers[i]));
    OCTAVO_TRY(vector(std::string(names.final_norm), hidden, weights.final_norm));
    OCTAVO_TRY(head(weights));
    if (head_ == HeadMode::kFp8) OCTAVO_TRY(make_head_fp8(weights));
    if (info_ && quantized_ == 0) {
      return failure("{}: config.json says that the model is quantized ({}), but none of its linear layers is in FP8",
                     checkpoint_.dir().string(), info_->describe());
    }
    find_unused();
    return std::move(slots_);
  }

 private:
  enum class Bias : std::uint8_t { kNone, kNeeded };

  Status head(ModelWeights& weights) {
    const TensorNames& names = config_.architecture->names;
    const CheckpointTensor* head = checkpoint_.find(names.head);
    if (head == nullptr && !config_.tie_word_embeddings) {
      return failure("{}: tensor \"{}\" is missing; config.json does not say that the embeddings are tied",
                     checkpoint_.dir().string(), names.head);
    }
    if (config_.tie_word_embeddings && head != nullptr) {
      used_.insert(head->name);
      OCTAVO_ASSIGN(const bool same, same_bytes(*head, *checkpoint_.find(names.embedding)));
      if (!same) {
        slots_.warnings.push_back(fmt::format(
            "config.json says that the embeddings are tied, but \"{}\" differs from \"{}\": the head is used as it "
            "stands, as transformers does; vLLM and SGLang would leave it out",
            names.head, names.embedding));
        return linear(names.head, config_.vocab, config_.hidden, Bias::kNone, weights.head);
      }
    }
    if (config_.tie_word_embeddings) return {};
    return linear(names.head, config_.vocab, config_.hidden, Bias::kNone, weights.head);
  }

  // The slot that head() made, or for a tied head one more for the embedding's tensor.
  Status make_head_fp8(ModelWeights& weights) {
    const auto find = [&](const std::unique_ptr<LinearWeight>& place) {
      return std::find_if(slots_.linears.begin(), slots_.linears.end(),
                          [&](const LinearSlot& s) { return s.place == &place; });
    };
    auto slot = find(weights.head);
    const bool tied = slot == slots_.linears.end();
    if (tied) slot = find(weights.embedding);
    const CheckpointTensor& tensor = *slot->weight;
    if (is_fp8(tensor.dtype)) {
      return failure("tensor \"{}\" in {}: the output head is {} already; leave out --lm-head fp8", tensor.name,
                     checkpoint_.shards()[tensor.shard].name, dtype_name(tensor.dtype));
    }
    LinearSlot head = *slot;
    head.spec = fp8_head_spec(head.spec, activations_);
    head.place = &weights.head;
    if (!tied) slots_.linears.erase(slot);
    slots_.fp8_head = slots_.linears.size();
    slots_.linears.push_back(head);
    return {};
  }

  // Some tied checkpoints hold the head a second time.
  Result<bool> same_bytes(const CheckpointTensor& a, const CheckpointTensor& b) const {
    if (a.dtype != b.dtype || a.shape != b.shape) return false;
    constexpr std::uint64_t kStretch = 1ull << 20;
    std::vector<std::byte> left, right;
    for (std::uint64_t at = 0; at < a.bytes; at += kStretch) {
      left.resize(std::min(kStretch, a.bytes - at));
      right.resize(left.size());
      OCTAVO_TRY(checkpoint_.read(a, at, left));
      OCTAVO_TRY(checkpoint_.read(b, at, right));
      if (left != right) return false;
    }
    return true;
  }

  std::string in_layer(std::uint64_t layer, std::string_view name) const {
    const std::string_view prefix = config_.architecture->names.layer;
    const std::size_t at = prefix.find("{}");
    return fmt::format("{}{}{}{}", prefix.substr(0, at), layer, prefix.substr(at + 2), name);
  }

  Status layer(std::uint64_t i, LayerWeights& out) {
    const TensorNames& n = config_.architecture->names;
    const std::uint64_t hidden = config_.hidden, q = config_.q_size(), kv = config_.kv_size();
    const std::uint64_t ffn = config_.intermediate;
    const Bias qkv = config_.qkv_bias ? Bias::kNeeded : Bias::kNone;
    const Bias o = config_.o_bias ? Bias::kNeeded : Bias::kNone;
    const Bias mlp = config_.mlp_bias ? Bias::kNeeded : Bias::kNone;
    OCTAVO_TRY(vector(in_layer(i, n.input_norm), hidden, out.input_norm));
    OCTAVO_TRY(linear(in_layer(i, n.q), q, hidden, qkv, out.q));
    OCTAVO_TRY(linear(in_layer(i, n.k), kv, hidden, qkv, out.k));
    OCTAVO_TRY(linear(in_layer(i, n.v), kv, hidden, qkv, out.v));
    OCTAVO_TRY(linear(in_layer(i, n.o), hidden, q, o, out.o));
    if (!n.q_norm.empty()) {
      OCTAVO_TRY(vector(in_layer(i, n.q_norm), config_.head_dim, out.q_norm));
      OCTAVO_TRY(vector(in_layer(i, n.k_norm), config_.head_dim, out.k_norm));
    }
    OCTAVO_TRY(vector(in_layer(i, n.post_attention_norm), hidden, out.post_attention_norm));
    OCTAVO_TRY(linear(in_layer(i, n.gate), ffn, hidden, mlp, out.gate));
    OCTAVO_TRY(linear(in_layer(i, n.up), ffn, hidden, mlp, out.up));
    OCTAVO_TRY(linear(in_layer(i, n.down), hidden, ffn, mlp, out.down));
    slots_.k_scales.push_back(cache_scale(in_layer(i, n.k), "k_scale"));
    slots_.v_scales.push_back(cache_scale(in_layer(i, n.v), "v_scale"));
    return {};
  }

  // Beside the projection ("self_attn.k_proj.k_scale", as calibrators write it) or one level up ("self_attn.k_scale",
  // as vLLM renames it).
  const CheckpointTensor* cache_scale(const std::string& projection, std::string_view name) {
    for (const std::string& module : {projection, projection.substr(0, projection.rfind('.'))}) {
      const CheckpointTensor* tensor = checkpoint_.find(fmt::format("{}.{}", module, name));
      if (tensor == nullptr) continue;
      used_.insert(tensor->name);
      return tensor;
    }
    return nullptr;
  }

  Result<const CheckpointTensor*> find(const std::string& name, const Shape& shape) {
    const CheckpointTensor* tensor = checkpoint_.find(name);
    if (tensor == nullptr) {
      return failure("{}: tensor \"{}\" is missing ({} needs it, of shape {})", checkpoint_.dir().string(), name,
                     config_.architecture->name, shape_string(shape));
    }
    if (tensor->shape != shape) {
      return failure("tensor \"{}\" in {}: has shape {}, but config.json makes it {}", name,
                     checkpoint_.shards()[tensor->shard].name, shape_string(tensor->shape), shape_string(shape));
    }
    used_.insert(tensor->name);
    return tensor;
  }

  Result<const CheckpointTensor*> find_vector(const std::string& name, std::uint64_t size) {
    OCTAVO_ASSIGN(const CheckpointTensor* tensor, find(name, {size}));
    if (!is_quantizable(tensor->dtype)) return wrong_dtype(*tensor, "BF16, F16 or F32");
    return tensor;
  }

  Error wrong_dtype(const CheckpointTensor& tensor, std::string_view wanted) const {
    return failure("tensor \"{}\" in {}: is {}, not {}", tensor.name, checkpoint_.shards()[tensor.shard].name,
                   dtype_name(tensor.dtype), wanted);
  }

  Status vector(const std::string& name, std::uint64_t size, std::unique_ptr<Buffer>& place) {
    OCTAVO_ASSIGN(const CheckpointTensor* tensor, find_vector(name, size));
    slots_.vectors.push_back({tensor, &place});
    return {};
  }

  // `name` with or without ".weight" at its end.
  Status linear(std::string_view name, std::uint64_t n, std::uint64_t k, Bias bias,
                std::unique_ptr<LinearWeight>& place) {
    constexpr std::string_view kWeight = ".weight";
    const std::string module(name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : name);
    LinearSlot slot;
    OCTAVO_ASSIGN(slot.weight, find(module + std::string(kWeight), {n, k}));
    slot.spec.n = n;
    slot.spec.k = k;
    slot.spec.dtype = slot.weight->dtype;
    slot.place = &place;
    if (is_fp8(slot.weight->dtype)) {
      OCTAVO_TRY(quantized(module, slot));
    } else if (!is_quantizable(slot.weight->dtype)) {
      return wrong_dtype(*slot.weight, "BF16, F16, F32 or FP8");
    }
    const std::string bias_name = module + ".bias";
    if (bias == Bias::kNeeded) {
      OCTAVO_ASSIGN(slot.bias, find_vector(bias_name, n));
    } else if (checkpoint_.find(bias_name) != nullptr) {
      return failure("{}: tensor \"{}\" exists, but by config.json {} has no bias there", checkpoint_.dir().string(),
                     bias_name, config_.architecture->name);
    }
    slots_.linears.push_back(std::move(slot));
    return {};
  }

  Status quantized(const std::string& module, LinearSlot& slot) {
    const CheckpointTensor& weight = *slot.weight;
    if (!info_) {
      return failure("tensor \"{}\" is {}, but config.json has no quantization_config that says how to read it",
                     weight.name, dtype_name(weight.dtype));
    }
    OCTAVO_ASSIGN(const QuantizedWeight q, match_scale(checkpoint_, *info_, weight));
    if (q.scale == nullptr) {
      return failure("tensor \"{}\" is {}, but has no scale (\"{}_scale\" or \"{}_scale_inv\")", weight.name,
                     dtype_name(weight.dtype), weight.name, weight.name);
    }
    if (q.transposed()) {
      return failure("tensor \"{}\" has a scale a column; run `octavo dequantize` first", weight.name);
    }
    used_.insert(q.scale->name);
    slot.scale = q.scale;
    slot.spec.block_n = q.block_n;
    slot.spec.block_k = q.block_k;
    OCTAVO_ASSIGN(const auto match, targets_.find(module, /*linear=*/true));
    if (!match) {
      return failure("tensor \"{}\" is {}, but no group of config.json's quantization_config targets it", weight.name,
                     dtype_name(weight.dtype));
    }
    const QuantizationGroup& group = info_->groups[match->group];
    // One scale says the same in several granularities; several scales say which it is. The fp8 dialect has no word for
    // channels, which AngelSlim writes all the same.
    const bool unsaid = info_->dialect == Dialect::kFp8 && group.granularity == Granularity::kTensor &&
                        q.granularity == Granularity::kChannel;
    if (q.granularity != group.granularity && *element_count(q.scale->shape) > 1 && !unsaid) {
      return failure("tensor \"{}\" has shape {}, which is one scale a {}, but config.json says one a {} ({})",
                     q.scale->name, shape_string(q.scale->shape), granularity_name(q.granularity),
                     granularity_name(group.granularity), group.pointer);
    }
    slot.granularity = unsaid ? q.granularity : group.granularity;
    ++quantized_;
    OCTAVO_ASSIGN(const InputRounding rounding, input_rounding(module, group, q.input_scale));
    if (activations_ == ActivationMode::kFp8) slot.spec.input = rounding;
    return {};
  }

  // Read also when it is not used, so that a checkpoint without its static scale is found out in either mode.
  Result<InputRounding> input_rounding(const std::string& module, const QuantizationGroup& group,
                                       const CheckpointTensor* scale) {
    constexpr std::uint64_t kMxGroup = 32;  // whose scales are exponents
    InputRounding out;
    out.pow2_scales = info_->pow2_scales || (group.granularity == Granularity::kGroup && group.block_k == kMxGroup);
    switch (group.activation) {
      case ActivationScheme::kNone: break;
      case ActivationScheme::kDynamicToken:
      case ActivationScheme::kDynamicTensor: out.kind = InputRounding::Kind::kDynamicToken; break;
      case ActivationScheme::kDynamicGroup:
        out.kind = InputRounding::Kind::kDynamicGroup;
        out.group = group.activation_group;
        break;
      case ActivationScheme::kStaticTensor: {
        if (scale == nullptr) {
          return failure("tensor \"{}.input_scale\" is missing: config.json says static activations ({})", module,
                         group.pointer);
        }
        used_.insert(scale->name);
        OCTAVO_ASSIGN(const std::vector<float> values, checkpoint_.read_scales(*scale, kLargestStaticScale));
        if (values.size() != 1 || !(values[0] > 0) || values[0] > std::numeric_limits<float>::max()) {
          return failure("tensor \"{}\": must hold one positive finite scale", scale->name);
        }
        out.kind = InputRounding::Kind::kStatic;
        out.scale = values[0];
        break;
      }
    }
    return out;
  }

  // Tensors of layers that config.json does not count: a truncated model would run, and talk nonsense.
  Status check_layer_count() const {
    const std::string_view prefix = config_.architecture->names.layer;
    const std::string_view before = prefix.substr(0, prefix.find("{}"));
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) {
      const std::string_view name = tensor.name;
      if (!name.starts_with(before)) continue;
      std::uint64_t layer = 0;
      const char* first = name.data() + before.size();
      const auto [end, error] = std::from_chars(first, name.data() + name.size(), layer);
      if (error == std::errc() && end != first && layer >= config_.layers) {
        return failure("{}: tensor \"{}\" belongs to layer {}, but config.json says num_hidden_layers {}",
                       checkpoint_.dir().string(), name, layer, config_.layers);
      }
    }
    return {};
  }

  void find_unused() {
    for (const CheckpointTensor& tensor : checkpoint_.tensors()) {
      if (tensor.name.ends_with("rotary_emb.inv_freq")) continue;  // old checkpoints; computed from the config
      if (!used_.contains(tensor.name) && !is_scale_tensor(checkpoint_, tensor)) slots_.unused.push_back(tensor.name);
    }
    std::sort(slots_.unused.begin(), slots_.unused.end());
  }

  static constexpr std::uint64_t kLargestStaticScale = 64;  // bytes: one number

  const Checkpoint& checkpoint_;
  const DecoderConfig& config_;
  const std::optional<QuantizationInfo>& info_;
  const ActivationMode activations_;
  const HeadMode head_;
  GroupTargets targets_;
  std::uint64_t quantized_ = 0;  // linear layers
  Slots slots_;
  std::set<std::string, std::less<>> used_;
};

}  // namespace

Result<Slots> find_slots(const Checkpoint& checkpoint, const DecoderConfig& config,
                         const std::optional<QuantizationInfo>& quantization, ActivationMode activations, HeadMode head,
                         ModelWeights& weights) {
  return Finder(checkpoint, config, quantization, activations, head).run(weights);
}

}  // namespace octavo::model
