// The text of tokenizer.json. Vocabulary and merges are written as text, not built as a JSON tree: 300,000 nodes.
#include "octavo/checkpoint/gguf/tokenizer.h"

#include <algorithm>

#include "octavo/base/text.h"
#include "octavo/checkpoint/gguf/pre_tokenizer.h"

namespace octavo {
namespace {

std::string json_string(std::string_view text) { return Json(text).dump(); }

// "  "KEY": VALUE,\n", the value indented as a member of the outermost object.
void add_member(std::string& out, std::string_view key, const Json& value) {
  out += fmt::format("  \"{}\": ", key);
  for (const char c : value.dump(2)) {
    out += c;
    if (c == '\n') out += "  ";
  }
  out += ",\n";
}

void add_added_tokens(std::string& out, const GgufVocabulary& vocabulary) {
  out += "  \"added_tokens\": [";
  const char* separator = "\n";
  for (const GgufToken& token : vocabulary.tokens) {
    const bool user = token.kind == GgufTokenKind::kUserDefined;
    const bool special = token.kind == GgufTokenKind::kControl ||
                         (token.kind == GgufTokenKind::kUnknown && token.text == vocabulary.unk);
    if ((!user && !special) || token.text.empty()) continue;
    out += fmt::format(
        "{}    {{\n      \"id\": {},\n      \"content\": {},\n      \"single_word\": false,\n      \"lstrip\": false,\n"
        "      \"rstrip\": false,\n      \"normalized\": false,\n      \"special\": {}\n    }}",
        separator, token.id, json_string(token.text), special);
    separator = ",\n";
  }
  out += "\n  ],\n";
}

Json normalizer(const GgufVocabulary& vocabulary) {
  if (vocabulary.byte_level) {
    return find_pre_tokenizer(vocabulary.pre)->nfc ? Json::object({{"type", "NFC"}}) : Json();
  }
  Json steps = Json::array();
  if (vocabulary.add_space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", "▁"}});
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}});
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

Json decoder(const GgufVocabulary& vocabulary) {
  if (vocabulary.byte_level) {
    return {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  }
  Json steps = Json::array({Json{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
                            Json::object({{"type", "ByteFallback"}}), Json::object({{"type", "Fuse"}})});
  if (vocabulary.add_space_prefix) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", steps}};
}

// Adds bos before and eos behind each sequence, as the flags say; null when neither.
Json special_template(const GgufVocabulary& vocabulary) {
  if (!vocabulary.add_bos && !vocabulary.add_eos) return {};
  Json single = Json::array();
  Json pair = Json::array();
  Json specials = Json::object();
  for (const int type : {0, 1}) {
    const auto add = [&](bool wanted, const std::optional<std::string_view>& token) {
      if (!wanted) return;
      const Json step = {{"SpecialToken", {{"id", *token}, {"type_id", type}}}};
      if (type == 0) single.push_back(step);
      pair.push_back(step);
      specials[std::string(*token)] = {
          {"id", *token}, {"ids", Json::array({vocabulary.ids.at(*token)})}, {"tokens", Json::array({*token})}};
    };
    add(vocabulary.add_bos, vocabulary.bos);
    const Json sequence = {{"Sequence", {{"id", type == 0 ? "A" : "B"}, {"type_id", type}}}};
    if (type == 0) single.push_back(sequence);
    pair.push_back(sequence);
    add(vocabulary.add_eos, vocabulary.eos);
  }
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
}

Json post_processor(const GgufVocabulary& vocabulary) {
  Json specials = special_template(vocabulary);
  if (!vocabulary.byte_level) return specials;
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
  if (specials.is_null()) return bytes;
  return {{"type", "Sequence"}, {"processors", Json::array({bytes, specials})}};
}

// The merges as the file lists them. Those that name a token that is not there are left out: tokenizers refuses them.
Result<std::vector<Merge>> stated_merges(const GgufFile& file, const GgufVocabulary& vocabulary,
                                         std::vector<std::string>& notes) {
  if (vocabulary.merges == nullptr) {
    return failure("{}: metadata key 'tokenizer.ggml.merges' is missing; byte-level BPE needs it", file.origin);
  }
  std::vector<Merge> merges;
  merges.reserve(vocabulary.merges->size());
  std::size_t dropped = 0;
  std::string merged;
  for (std::size_t i = 0; i < vocabulary.merges->size(); ++i) {
    const std::string_view text = vocabulary.merges->string(i);
    const std::size_t space = text.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == text.size()) {
      return failure("{}: merge {} ('{}') is not two tokens with a space between them", file.origin, i,
                     printable(text));
    }
    const Merge parts(text.substr(0, space), text.substr(space + 1));
    merged.assign(parts.first).append(parts.second);
    if (vocabulary.ids.contains(parts.first) && vocabulary.ids.contains(parts.second) &&
        vocabulary.ids.contains(merged)) {
      merges.push_back(parts);
    } else {
      ++dropped;
    }
  }
  if (dropped > 0) {
    notes.push_back(fmt::format("{} merges name tokens that are not in the vocabulary and are left out", dropped));
  }
  return merges;
}

}  // namespace

Result<std::string> make_tokenizer_json(const GgufFile& file, const GgufVocabulary& vocabulary,
                                        std::vector<std::string>& notes) {
  const bool stated = vocabulary.byte_level || vocabulary.merges != nullptr;
  OCTAVO_ASSIGN(const std::vector<Merge> merges,
                stated ? stated_merges(file, vocabulary, notes) : merges_from_scores(vocabulary, file.origin));
  const PreTokenizer* pre = vocabulary.byte_level ? find_pre_tokenizer(vocabulary.pre) : nullptr;

  std::string out = "{\n";
  add_member(out, "version", "1.0");
  add_member(out, "truncation", nullptr);
  add_member(out, "padding", nullptr);
  add_added_tokens(out, vocabulary);
  add_member(out, "normalizer", normalizer(vocabulary));
  add_member(out, "pre_tokenizer", pre != nullptr ? pre_tokenizer_json(*pre) : Json());
  add_member(out, "post_processor", post_processor(vocabulary));
  add_member(out, "decoder", decoder(vocabulary));

  const bool unk = !vocabulary.byte_level && vocabulary.unk;
  out += fmt::format(
      "  \"model\": {{\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": {},\n"
      "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": {},\n"
      "    \"byte_fallback\": {},\n    \"ignore_merges\": {},\n    \"vocab\": {{",
      unk ? json_string(*vocabulary.unk) : "null", !vocabulary.byte_level, !vocabulary.byte_level,
      pre != nullptr && pre->ignore_merges);
  const char* separator = "\n";
  for (const GgufToken& token : vocabulary.tokens) {
    out += fmt::format("{}      {}: {}", separator, json_string(token.text), token.id);
    separator = ",\n";
  }
  out += "\n    },\n    \"merges\": [";
  separator = "\n";
  for (const auto& [left, right] : merges) {
    out += fmt::format("{}      {}", separator, json_string(fmt::format("{} {}", left, right)));
    separator = ",\n";
  }
  out += "\n    ]\n  }\n}\n";
  return out;
}

}  // namespace octavo
