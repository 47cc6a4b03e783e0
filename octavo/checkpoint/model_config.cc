// config.json of a model: the few keys the quantizer needs, from the top or from a multimodal model's text part.
#include "octavo/checkpoint/model_config.h"

#include <array>

namespace octavo {
namespace {

Error wrong_type(std::string_view origin, std::string_view pointer, std::string_view wanted, const Json& got) {
  return failure("{}: {} must be {}, not {}", origin, pointer, wanted, json_type_name(got));
}

// The member, or nullptr when absent or null.
const Json* member(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

}  // namespace

Result<ModelConfig> parse_model_config(const Json& config, std::string_view origin) {
  if (!config.is_object()) return failure("{}: must be an object, not {}", origin, json_type_name(config));
  ModelConfig out;
  if (const Json* v = member(config, "model_type")) {
    if (!v->is_string()) return wrong_type(origin, "/model_type", "a string", *v);
    out.model_type = v->get<std::string>();
  }
  if (const Json* v = member(config, "architectures")) {
    if (!v->is_array()) return wrong_type(origin, "/architectures", "a list of strings", *v);
    for (const Json& name : *v) {
      if (!name.is_string()) return wrong_type(origin, "/architectures", "a list of strings", name);
      out.architectures.push_back(name.get<std::string>());
    }
  }
  out.quantized = member(config, "quantization_config") != nullptr;

  // Multimodal models keep the language model's keys one level down.
  struct Level {
    const Json* object;
    std::string pointer;
  };
  std::vector<Level> levels{{&config, ""}};
  for (const char* key : kLanguageModelKeys) {
    if (const Json* v = member(config, key)) {
      if (!v->is_object()) return wrong_type(origin, fmt::format("/{}", key), "an object", *v);
      levels.push_back({v, fmt::format("/{}", key)});
    }
  }
  for (const Level& level : levels) {
    for (const char* key : {"num_hidden_layers", "n_layer", "num_layers"}) {
      const Json* v = member(*level.object, key);
      if (v == nullptr || out.num_hidden_layers) continue;
      if (!v->is_number_unsigned()) {
        return wrong_type(origin, fmt::format("{}/{}", level.pointer, key), "a whole number", *v);
      }
      out.num_hidden_layers = v->get<std::uint64_t>();
    }
    for (const char* key : {"torch_dtype", "dtype"}) {
      const Json* v = member(*level.object, key);  // transformers may write one a submodule, as an object
      if (v != nullptr && v->is_string() && out.dtype.empty()) out.dtype = v->get<std::string>();
    }
    if (const Json* v = member(*level.object, "tie_word_embeddings")) {
      if (!v->is_boolean()) {
        return wrong_type(origin, fmt::format("{}/tie_word_embeddings", level.pointer), "true or false", *v);
      }
      out.tie_word_embeddings = out.tie_word_embeddings || v->get<bool>();
    }
  }
  return out;
}

std::vector<const Json*> config_levels(const Json& config) {
  std::vector<const Json*> out{&config};
  for (const char* key : kLanguageModelKeys) {
    const auto part = config.find(key);
    if (part != config.end() && part->is_object()) out.push_back(&*part);
  }
  return out;
}

std::uint64_t language_model_number(const Json& config, const char* key) {
  for (const Json* level : config_levels(config)) {
    const auto number = level->find(key);
    if (number != level->end() && number->is_number_unsigned() && *number != 0) return number->get<std::uint64_t>();
  }
  return 0;
}

}  // namespace octavo
