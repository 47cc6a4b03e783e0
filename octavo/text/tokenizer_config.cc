// Reading the files that transformers writes beside a tokenizer.
#include "octavo/text/tokenizer_config.h"

#include <algorithm>
#include <charconv>

#include "octavo/base/file.h"
#include "octavo/base/text.h"
#include "octavo/text/json_field.h"

namespace octavo::text {
namespace {

constexpr std::uint64_t kLargestConfig = 64 << 20;

Result<std::optional<Json>> read_json(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return std::optional<Json>();
  OCTAVO_ASSIGN(const std::string text, read_text_file(path, kLargestConfig));
  JsonOptions options;
  options.python_constants = true;
  OCTAVO_ASSIGN(Json json, parse_json(text, path.string(), options));
  if (!json.is_object()) return failure("{}: must be an object, not {}", path.string(), json_type_name(json));
  return std::optional<Json>(std::move(json));
}

// "<s>" or {"content": "<s>", ...}
Result<std::string> parse_token(const JsonField& field) {
  if (field.json().is_string()) return field.string();
  return field.string("content");
}

void add_special(TokenizerConfig& config, std::string token) {
  if (std::find(config.specials.begin(), config.specials.end(), token) == config.specials.end()) {
    config.specials.push_back(std::move(token));
  }
}

// The keys that both files have.
Status read_specials(const JsonField& root, TokenizerConfig& config) {
  for (const std::string_view name :
       {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    const auto field = root.find(name);
    if (!field) continue;
    OCTAVO_ASSIGN(std::string token, parse_token(*field));
    if (name == "bos_token" && !config.bos_token) config.bos_token = token;
    if (name == "eos_token" && !config.eos_token) config.eos_token = token;
    add_special(config, std::move(token));
  }
  for (const std::string_view name : {"additional_special_tokens", "extra_special_tokens"}) {
    const auto field = root.find(name);
    if (!field) continue;
    std::vector<JsonField> items;
    if (field->json().is_object()) {  // transformers 4.4x wrote extra_special_tokens by name
      for (const auto& [key, value] : field->json().items()) items.emplace_back(value, field->pointer() + "/" + key);
    } else {
      OCTAVO_ASSIGN(items, field->items());
    }
    for (const JsonField& item : items) {
      OCTAVO_ASSIGN(std::string token, parse_token(item));
      add_special(config, std::move(token));
    }
  }
  return {};
}

Status read_config(const JsonField& root, TokenizerConfig& config) {
  if (const auto field = root.find("tokenizer_class")) {
    OCTAVO_ASSIGN(config.tokenizer_class, field->string());
    if (config.tokenizer_class.ends_with("Fast")) config.tokenizer_class.resize(config.tokenizer_class.size() - 4);
  }
  for (const auto& [name, target] :
       {std::pair("add_bos_token", &config.add_bos_token), std::pair("add_eos_token", &config.add_eos_token)}) {
    if (const auto field = root.find(name)) {
      OCTAVO_ASSIGN(*target, field->boolean());
    }
  }
  OCTAVO_ASSIGN(config.add_prefix_space, root.boolean("add_prefix_space", false));
  OCTAVO_ASSIGN(config.legacy, root.boolean("legacy", false));
  OCTAVO_TRY(read_specials(root, config));
  if (const auto field = root.find("added_tokens_decoder")) {
    if (!field->json().is_object()) return field->error("must be an object, not {}", json_type_name(field->json()));
    for (const auto& [key, value] : field->json().items()) {
      const JsonField entry(value, fmt::format("{}/{}", field->pointer(), printable(key)));
      OCTAVO_ASSIGN(AddedToken token, parse_added_token(entry));
      const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), token.id);
      if (code != std::errc() || end != key.data() + key.size() || token.id < 0) {
        return entry.error("\"{}\" is no token id", printable(key));
      }
      config.added.push_back(std::move(token));
    }
  }
  return {};
}

}  // namespace

Result<AddedToken> parse_added_token(const JsonField& field) {
  AddedToken token;
  OCTAVO_ASSIGN(token.content, field.string("content"));
  OCTAVO_ASSIGN(token.special, field.boolean("special", false));
  OCTAVO_ASSIGN(token.single_word, field.boolean("single_word", false));
  OCTAVO_ASSIGN(token.lstrip, field.boolean("lstrip", false));
  OCTAVO_ASSIGN(token.rstrip, field.boolean("rstrip", false));
  OCTAVO_ASSIGN(token.normalized, field.boolean("normalized", !token.special));
  return token;
}

Result<TokenizerConfig> read_tokenizer_config(const std::filesystem::path& folder) {
  TokenizerConfig config;
  const auto config_path = folder / "tokenizer_config.json", map_path = folder / "special_tokens_map.json",
             added_path = folder / "added_tokens.json";
  OCTAVO_ASSIGN(const auto main, read_json(config_path));
  OCTAVO_ASSIGN(const auto map, read_json(map_path));
  OCTAVO_ASSIGN(const auto added, read_json(added_path));
  config.present = main.has_value() || map.has_value();
  if (main) OCTAVO_TRY(read_config(JsonField(*main, ""), config).context(config_path.string()));
  if (map) OCTAVO_TRY(read_specials(JsonField(*map, ""), config).context(map_path.string()));
  if (added) {
    for (const auto& [content, value] : added->items()) {
      const JsonField entry(value, fmt::format("/{}", printable(content)));
      auto id = entry.integer(0, kMaxTokenId);
      if (!id.ok()) return std::move(id).error().context(added_path.string());
      const auto same = [&content = content](const AddedToken& t) { return t.content == content; };
      if (std::any_of(config.added.begin(), config.added.end(), same)) continue;
      AddedToken token;
      token.id = static_cast<std::int32_t>(*id);
      token.content = content;
      const auto& specials = config.specials;
      token.special = std::find(specials.begin(), specials.end(), content) != specials.end();
      token.normalized = !token.special;
      config.added.push_back(std::move(token));
    }
  }
  std::stable_sort(config.added.begin(), config.added.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return config;
}

}  // namespace octavo::text
