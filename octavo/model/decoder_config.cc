// config.json to DecoderConfig. Defaults, key priorities and rope types follow transformers 5.
#include "octavo/model/decoder_config.h"

#include <algorithm>
#include <cmath>

#include "octavo/base/file.h"
#include "octavo/base/text.h"

namespace octavo::model {
namespace {

constexpr std::uint64_t kMostLayers = 10'000;
constexpr std::uint64_t kLargestSize = 1ull << 24;           // of a hidden size, a vocabulary: beyond it, a mistake
constexpr std::uint64_t kLargestGenerationConfig = 1 << 20;  // bytes

// Typed access to the members of one JSON object; absent and null are the same.
class Reader {
 public:
  Reader(const Json& object, std::string_view origin, std::string pointer)
      : object_(&object), origin_(origin), pointer_(std::move(pointer)) {}

  const Json* find(const char* key) const {
    const auto it = object_->find(key);
    return it == object_->end() || it->is_null() ? nullptr : &*it;
  }
  bool has(const char* key) const { return find(key) != nullptr; }
  bool is_null(const char* key) const { return object_->contains(key) && find(key) == nullptr; }
  Error wrong(const char* key, std::string_view wanted) const {
    const Json& got = *find(key);
    const std::string shown =
        got.is_number() || got.is_string() ? printable(got.dump(), 60) : std::string(json_type_name(got));
    return failure("{}: {}/{} must be {}, not {}", origin_, pointer_, key, wanted, shown);
  }
  Status whole(const char* key, std::uint64_t& out, std::uint64_t least = 1, std::uint64_t most = kLargestSize) const {
    const Json* v = find(key);
    if (v == nullptr) return {};
    // A negative number becomes a very large one, and so out of range.
    if (!v->is_number_integer() || v->get<std::uint64_t>() < least || v->get<std::uint64_t>() > most) {
      return wrong(key, fmt::format("a whole number from {} to {}", least, most));
    }
    out = v->get<std::uint64_t>();
    return {};
  }
  Status real(const char* key, double& out) const {
    const Json* v = find(key);
    if (v == nullptr) return {};
    if (!v->is_number() || !std::isfinite(v->get<double>())) return wrong(key, "a number");
    out = v->get<double>();
    return {};
  }
  Status positive(const char* key, double& out) const {
    OCTAVO_TRY(real(key, out));
    if (has(key) && !(out > 0)) return wrong(key, "a number above 0");
    return {};
  }
  Status optional_positive(const char* key, std::optional<double>& out) const {
    if (!has(key)) return {};
    double value = 0;
    OCTAVO_TRY(positive(key, value));
    out = value;
    return {};
  }
  Status boolean(const char* key, bool& out) const {
    const Json* v = find(key);
    if (v == nullptr) return {};
    if (!v->is_boolean()) return wrong(key, "true or false");
    out = v->get<bool>();
    return {};
  }
  Status string(const char* key, std::string& out) const {
    const Json* v = find(key);
    if (v == nullptr) return {};
    if (!v->is_string()) return wrong(key, "a string");
    out = v->get<std::string>();
    return {};
  }
  // One token id, or a list of them.
  Status token_ids(const char* key, std::vector<std::int32_t>& out) const {
    const Json* v = find(key);
    if (v == nullptr) return {};
    out.clear();
    for (const Json& id : v->is_array() ? *v : Json::array({*v})) {
      if (!id.is_number_integer() || id.get<std::uint64_t>() > kLargestSize) {
        return wrong(key, "a token id or a list of token ids");
      }
      out.push_back(id.get<std::int32_t>());
    }
    return {};
  }
  std::string_view origin() const { return origin_; }
  const std::string& pointer() const { return pointer_; }

 private:
  const Json* object_;
  std::string_view origin_;
  std::string pointer_;
};

std::string known_architectures() {
  std::string names;
  for (const Architecture& a : architectures()) {
    if (!names.empty()) names += ", ";
    names += a.name;
  }
  return names;
}

Result<const Architecture*> find_architecture(const Reader& config) {
  std::string named;
  if (const Json* list = config.find("architectures")) {
    if (!list->is_array()) return config.wrong("architectures", "a list of strings");
    for (const Json& name : *list) {
      if (!name.is_string()) return config.wrong("architectures", "a list of strings");
      for (const Architecture& a : architectures()) {
        if (name.get_ref<const std::string&>() == a.name) return &a;
      }
      if (named.empty()) named = name.get<std::string>();
    }
  }
  if (!named.empty()) {
    return failure("{}: /architectures names \"{}\", which Octavo does not run yet; it runs {}", config.origin(),
                   printable(named), known_architectures());
  }
  std::string model_type;
  OCTAVO_TRY(config.string("model_type", model_type));
  for (const Architecture& a : architectures()) {
    if (model_type == a.model_type) return &a;
  }
  if (model_type.empty()) return failure("{}: has neither /architectures nor /model_type", config.origin());
  return failure("{}: /model_type is \"{}\", which Octavo does not run yet; it runs {}", config.origin(),
                 printable(model_type), known_architectures());
}

// rope_scaling (transformers 4) wins over rope_parameters (5) where both stand, as it does in transformers.
Status read_rope(const Reader& config, DecoderConfig& out) {
  RopeConfig& rope = out.rope;
  OCTAVO_TRY(config.positive("rope_theta", rope.theta));
  OCTAVO_TRY(config.positive("partial_rotary_factor", rope.partial_rotary_factor));
  const char* key = "rope_parameters";
  if (const Json* v = config.find("rope_scaling"); v != nullptr && !v->empty()) key = "rope_scaling";
  const Json* object = config.find(key);
  if (object == nullptr || object->empty()) return {};
  if (!object->is_object()) return config.wrong(key, "an object");
  const Reader r(*object, config.origin(), fmt::format("{}/{}", config.pointer(), key));

  std::string type = "default";
  const char* type_key = r.has("rope_type") ? "rope_type" : "type";
  OCTAVO_TRY(r.string(type_key, type));
  OCTAVO_TRY(r.positive("rope_theta", rope.theta));
  OCTAVO_TRY(r.positive("partial_rotary_factor", rope.partial_rotary_factor));
  using Kind = RopeConfig::Kind;
  if (type == "default" || type == "linear" || type == "dynamic" || type == "yarn" || type == "llama3") {
    rope.kind = type == "linear"    ? Kind::kLinear
                : type == "dynamic" ? Kind::kDynamic
                : type == "yarn"    ? Kind::kYarn
                : type == "llama3"  ? Kind::kLlama3
                                    : Kind::kDefault;
  } else {
    return failure("{}: {}/{} is \"{}\", which Octavo does not run yet; it runs default, linear, dynamic, yarn, llama3",
                   r.origin(), r.pointer(), type_key, printable(type));
  }
  if (rope.kind == Kind::kDefault) return {};

  rope.trained_positions = rope.original_max_position = out.max_positions;
  constexpr std::uint64_t kMostPositions = 1ull << 32;
  OCTAVO_TRY(r.whole("original_max_position_embeddings", rope.original_max_position, 1, kMostPositions));
  // Some configs keep it beside rope_scaling; there it wins.
  OCTAVO_TRY(config.whole("original_max_position_embeddings", rope.original_max_position, 1, kMostPositions));
  if (!r.has("factor")) {
    if (rope.kind != Kind::kYarn) return failure("{}: {}/factor is missing", r.origin(), r.pointer());
    rope.factor = static_cast<double>(out.max_positions) / static_cast<double>(rope.original_max_position);
  }
  OCTAVO_TRY(r.positive("factor", rope.factor));
  if (rope.kind == Kind::kLlama3) {
    for (const char* needed : {"low_freq_factor", "high_freq_factor"}) {
      if (!r.has(needed)) return failure("{}: {}/{} is missing", r.origin(), r.pointer(), needed);
    }
    OCTAVO_TRY(r.positive("low_freq_factor", rope.low_freq_factor));
    OCTAVO_TRY(r.positive("high_freq_factor", rope.high_freq_factor));
    if (rope.high_freq_factor <= rope.low_freq_factor) return r.wrong("high_freq_factor", "above low_freq_factor");
  }
  if (rope.kind == Kind::kYarn) {
    OCTAVO_TRY(r.positive("beta_fast", rope.beta_fast));
    OCTAVO_TRY(r.positive("beta_slow", rope.beta_slow));
    OCTAVO_TRY(r.optional_positive("attention_factor", rope.attention_factor));
    OCTAVO_TRY(r.optional_positive("mscale", rope.mscale));
    OCTAVO_TRY(r.optional_positive("mscale_all_dim", rope.mscale_all_dim));
    OCTAVO_TRY(r.boolean("truncate", rope.truncate));
  }
  return {};
}

// How far a sequence may grow, as vLLM derives max_model_len: scaled by the factor, but not where
// max_position_embeddings is already the scaled length (llama3; yarn scales its original length).
std::uint64_t longest_sequence(const DecoderConfig& config) {
  using Kind = RopeConfig::Kind;
  const RopeConfig& rope = config.rope;
  const auto scaled = [&](std::uint64_t length) {
    return static_cast<std::uint64_t>(static_cast<double>(length) * rope.factor);
  };
  switch (rope.kind) {
    case Kind::kLinear:
    case Kind::kDynamic: return scaled(config.max_positions);
    case Kind::kYarn: return std::max(config.max_positions, scaled(rope.original_max_position));
    case Kind::kDefault:
    case Kind::kLlama3: break;
  }
  return config.max_positions;
}

Status read_windows(const Reader& config, DecoderConfig& out) {
  const Architecture& a = *out.architecture;
  out.windows.assign(out.layers, 0);
  if (a.windows == WindowRule::kNone) return {};
  // An explicit null means none; an absent key means the family's default.
  std::uint64_t window = a.default_window;
  if (config.is_null("sliding_window")) window = 0;
  OCTAVO_TRY(config.whole("sliding_window", window, 1, 1ull << 32));
  if (a.windows == WindowRule::kAllLayers) {
    out.windows.assign(out.layers, window);
    return {};
  }
  bool use = false;
  OCTAVO_TRY(config.boolean("use_sliding_window", use));
  if (!use) window = 0;
  if (const Json* types = config.find("layer_types")) {
    if (!types->is_array() || types->size() != out.layers) {
      return config.wrong("layer_types", fmt::format("a list of {} names, one a layer", out.layers));
    }
    for (std::uint64_t i = 0; i < out.layers; ++i) {
      const Json& type = (*types)[i];
      if (type == "sliding_attention") {
        out.windows[i] = window;
      } else if (type != "full_attention") {
        return failure("{}: {}/layer_types/{} must be \"full_attention\" or \"sliding_attention\", not {}",
                       config.origin(), config.pointer(), i, printable(type.dump(), 60));
      }
    }
    return {};
  }
  std::uint64_t first = a.default_max_window_layers;
  OCTAVO_TRY(config.whole("max_window_layers", first, 0));
  for (std::uint64_t i = first; i < out.layers; ++i) out.windows[i] = window;
  return {};
}

}  // namespace

Result<DecoderConfig> parse_decoder_config(const Json& config, std::string_view origin) {
  if (!config.is_object()) return failure("{}: must be an object, not {}", origin, json_type_name(config));
  const Reader r(config, origin, "");
  DecoderConfig out;
  OCTAVO_ASSIGN(out.architecture, find_architecture(r));
  const Architecture& a = *out.architecture;
  OCTAVO_TRY(r.string("model_type", out.model_type));

  // transformers has defaults for these too, but they are the sizes of one 7B model: absent, they are a mistake.
  for (const char* needed :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"}) {
    if (!r.has(needed)) return failure("{}: /{} is missing", origin, needed);
  }
  OCTAVO_TRY(r.whole("vocab_size", out.vocab));
  OCTAVO_TRY(r.whole("hidden_size", out.hidden));
  OCTAVO_TRY(r.whole("intermediate_size", out.intermediate));
  OCTAVO_TRY(r.whole("num_hidden_layers", out.layers, 1, kMostLayers));
  OCTAVO_TRY(r.whole("num_attention_heads", out.heads));
  // An explicit null means as many as heads; an absent key, the family's default.
  out.kv_heads = a.default_kv_heads == 0 || r.is_null("num_key_value_heads") ? out.heads : a.default_kv_heads;
  OCTAVO_TRY(r.whole("num_key_value_heads", out.kv_heads));
  if (out.heads % out.kv_heads != 0) {
    return failure("{}: /num_attention_heads ({}) must be a multiple of /num_key_value_heads ({})", origin, out.heads,
                   out.kv_heads);
  }
  out.head_dim = a.default_head_dim;
  OCTAVO_TRY(r.whole("head_dim", out.head_dim, 1, 4096));
  if (out.head_dim == 0) {
    if (out.hidden % out.heads != 0) {
      return failure("{}: /hidden_size ({}) must be a multiple of /num_attention_heads ({}) where /head_dim is absent",
                     origin, out.hidden, out.heads);
    }
    out.head_dim = out.hidden / out.heads;
  }
  if (out.head_dim % 2 != 0) return failure("{}: the head dimension ({}) must be even", origin, out.head_dim);

  out.max_positions = a.max_positions;
  OCTAVO_TRY(r.whole("max_position_embeddings", out.max_positions, 1, 1ull << 32));
  double eps = a.norm_eps;
  OCTAVO_TRY(r.positive("rms_norm_eps", eps));
  out.norm_eps = static_cast<float>(eps);
  std::string activation = "silu";
  OCTAVO_TRY(r.string("hidden_act", activation));
  if (activation == "gelu_pytorch_tanh" || activation == "gelu_new") {
    out.activation = backend::GatedActivation::kGeluTanh;
  } else if (activation != "silu" && activation != "swish") {
    return failure("{}: /hidden_act is \"{}\", which Octavo does not run yet; it runs silu and gelu_pytorch_tanh",
                   origin, printable(activation));
  }
  OCTAVO_TRY(r.boolean("tie_word_embeddings", out.tie_word_embeddings));
  bool attention_bias = false, mlp_bias = false;
  OCTAVO_TRY(r.boolean("attention_bias", attention_bias));
  OCTAVO_TRY(r.boolean("mlp_bias", mlp_bias));
  out.qkv_bias = a.qkv_bias_always || (a.attention_bias_key && attention_bias);
  out.o_bias = a.attention_bias_key && a.o_bias_key && attention_bias;
  out.mlp_bias = a.mlp_bias_key && mlp_bias;

  out.rope.theta = a.rope_theta;
  OCTAVO_TRY(read_rope(r, out));
  if (out.rope.partial_rotary_factor != 1) {
    return failure("{}: partial_rotary_factor {} is not something {} has; Octavo rotates whole heads", origin,
                   out.rope.partial_rotary_factor, a.name);
  }
  OCTAVO_TRY(read_windows(r, out));
  out.max_positions = longest_sequence(out);
  for (const auto* key : {"torch_dtype", "dtype"}) OCTAVO_TRY(r.string(key, out.dtype));
  OCTAVO_TRY(r.token_ids("eos_token_id", out.eos_token_ids));
  std::vector<std::int32_t> bos;
  OCTAVO_TRY(r.token_ids("bos_token_id", bos));
  if (!bos.empty()) out.bos_token_id = bos.front();
  return out;
}

Result<GenerationDefaults> read_generation_defaults(const std::filesystem::path& folder) {
  GenerationDefaults out;
  const auto path = folder / "generation_config.json";
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return out;
  OCTAVO_ASSIGN(const std::string text, read_text_file(path, kLargestGenerationConfig));
  const std::string origin = path.string();
  OCTAVO_ASSIGN(const Json json, parse_json(text, origin, {.python_constants = true}));
  if (!json.is_object()) return failure("{}: must be an object, not {}", origin, json_type_name(json));
  const Reader r(json, origin, "");
  OCTAVO_TRY(r.token_ids("eos_token_id", out.eos_token_ids));
  if (r.has("do_sample")) {
    bool value = false;
    OCTAVO_TRY(r.boolean("do_sample", value));
    out.do_sample = value;
  }
  const auto number = [&](const char* key, std::optional<double>& to) -> Status {
    if (!r.has(key)) return {};
    double value = 0;
    OCTAVO_TRY(r.real(key, value));
    to = value;
    return {};
  };
  OCTAVO_TRY(number("temperature", out.temperature));
  OCTAVO_TRY(number("top_p", out.top_p));
  OCTAVO_TRY(number("min_p", out.min_p));
  OCTAVO_TRY(number("repetition_penalty", out.repetition_penalty));
  if (r.has("top_k")) {
    std::uint64_t value = 0;
    OCTAVO_TRY(r.whole("top_k", value, 0));
    out.top_k = static_cast<std::int64_t>(value);
  }
  return out;
}

}  // namespace octavo::model
