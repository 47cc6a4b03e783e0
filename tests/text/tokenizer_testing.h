// What the tokenizer tests share: the golden files, and tokenizers put together from parts.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/json.h"
#include "octavo/text/detokenizer.h"
#include "octavo/text/tokenizer.h"

namespace octavo::text {

inline std::string tokenizer_golden_path(const std::string& name) {
  return std::string(OCTAVO_SOURCE_DIR) + "/tests/data/tokenizer/" + name;
}

// A file that tools/make_tokenizer_golden.py wrote.
inline Json tokenizer_golden(const std::string& name) {
  const auto text = read_text_file(tokenizer_golden_path(name), 64 << 20);
  EXPECT_TRUE(text.ok()) << text.error().message;
  auto json = parse_json(*text, name);
  EXPECT_TRUE(json.ok()) << json.error().message;
  return *json;
}

// The models of components.json with what a case changes.
inline Json compose(const Json& components, const std::string& model, const Json& changes) {
  Json out = {{"version", "1.0"},
              {"truncation", {{"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}, {"direction", "Right"}}},
              {"padding", {{"strategy", {{"Fixed", 9}}}, {"direction", "Right"}, {"pad_id", 0}, {"pad_token", "x"}}}};
  for (const auto& [key, value] : changes.items()) {
    if (key != "model") out[key] = value;
  }
  out["model"] = components.at("models").at(model);
  if (changes.contains("model")) {
    for (const auto& [key, value] : changes["model"].items()) out["model"][key] = value;
  }
  return out;
}

inline std::vector<std::int32_t> ids_of(const Tokenizer& tokenizer, std::string_view text, bool add_special) {
  const auto ids = tokenizer.encode(text, {.add_special = add_special});
  EXPECT_TRUE(ids.ok()) << ids.error().message;
  return ids.ok() ? *ids : std::vector<std::int32_t>();
}

inline std::string text_of(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids, bool skip_special) {
  const auto text = tokenizer.decode(ids, skip_special);
  EXPECT_TRUE(text.ok()) << text.error().message;
  return text.ok() ? *text : std::string();
}

// The parts that an incremental detokenizer hands out, the rest last.
inline std::vector<std::string> parts_of(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids,
                                         bool skip_special) {
  IncrementalDetokenizer detokenizer(tokenizer, skip_special);
  std::vector<std::string> parts;
  for (const std::int32_t id : ids) parts.push_back(detokenizer.push(id));
  parts.push_back(detokenizer.finish());
  return parts;
}

inline std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += part;
  return out;
}

}  // namespace octavo::text
