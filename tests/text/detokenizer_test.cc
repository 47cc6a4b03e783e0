// Streaming: whole characters only, as early as they are decided, and in sum what decode() says.
#include <random>

#include "octavo/base/text.h"
#include "octavo/text/utf8.h"
#include "tests/text/tokenizer_testing.h"

namespace octavo::text {
namespace {

using Ids = std::vector<std::int32_t>;

Tokenizer component(const std::string& name) {
  const Json components = tokenizer_golden("components.json");
  const Json& entry = components[name];
  const auto tokenizer = Tokenizer::parse(compose(components, entry["model"], entry["changes"]).dump(), name);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return *tokenizer;
}

std::vector<std::string> component_names() {
  std::vector<std::string> names;
  const Json components = tokenizer_golden("components.json");
  for (const auto& [key, entry] : components.items()) {
    if (key.starts_with("tokenizer ")) names.push_back(key);
  }
  return names;
}

TEST(Detokenizer, NeverHalfACharacter) {
  const Json texts = tokenizer_golden("texts.json");
  for (const std::string& name : component_names()) {
    const Tokenizer tokenizer = component(name);
    for (const Json& text : texts) {
      const Ids ids = ids_of(tokenizer, text.get<std::string>(), true);
      const auto parts = parts_of(tokenizer, ids, false);
      for (const std::string& part : parts) EXPECT_TRUE(is_valid_utf8(part)) << name << ": " << text;
      EXPECT_EQ(joined(parts), text_of(tokenizer, ids, false)) << name << ": " << text;
    }
  }
}

// Any ids. Where bytes are judged by the run, the sum may differ, but only in U+FFFD.
TEST(Detokenizer, RandomIds) {
  constexpr unsigned kSeed = 20240607;
  std::mt19937 random(kSeed);
  for (const std::string& name : component_names()) {
    const Tokenizer tokenizer = component(name);
    const bool by_run = name.find("spm") != name.npos || name.find("metaspace first") != name.npos ||
                        name.find("some bytes") != name.npos;
    for (int round = 0; round < 200; ++round) {
      Ids ids;
      const std::size_t length = random() % 12;
      while (ids.size() < length) {
        const auto id = static_cast<std::int32_t>(random() % static_cast<unsigned>(tokenizer.vocab_size()));
        if (tokenizer.token_text(id)) ids.push_back(id);
      }
      for (const bool skip : {false, true}) {
        const auto parts = parts_of(tokenizer, ids, skip);
        for (const std::string& part : parts) ASSERT_TRUE(is_valid_utf8(part)) << name;
        const std::string whole = text_of(tokenizer, ids, skip);
        if (by_run && joined(parts) != whole) {
          EXPECT_NE(whole.find("\uFFFD"), std::string::npos) << name << ": " << Json(ids);
        } else {
          EXPECT_EQ(joined(parts), whole) << name << ": " << Json(ids);
        }
      }
    }
  }
}

TEST(Detokenizer, CharactersComeWhenTheyAreWhole) {
  const Tokenizer byte_level = component("tokenizer byte level");
  Ids ids;
  for (const char* token : {"a", "ð", "Ł", "ĺ", "Ģ", "b", "ã", "c", "ã"}) ids.push_back(*byte_level.token_id(token));
  EXPECT_EQ(parts_of(byte_level, ids, false),
            (std::vector<std::string>{"a", "", "", "", "\U0001F600", "b", "", "\uFFFDc", "", "\uFFFD"}));

  const Tokenizer spm = component("tokenizer spm");
  ids = {*spm.token_id("<s>")};
  for (const char* token : {"<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "a", "<0xC3>"}) ids.push_back(*spm.token_id(token));
  EXPECT_EQ(parts_of(spm, ids, true), (std::vector<std::string>{"", "", "", "", "\U0001F600", "a", "", "\uFFFD"}));
  EXPECT_EQ(text_of(spm, ids, true), "\U0001F600a\uFFFD");
  // A run that ends badly: the characters before are out already.
  ids = {*spm.token_id("<0x41>"), *spm.token_id("<0xFF>")};
  EXPECT_EQ(joined(parts_of(spm, ids, true)), "A\uFFFD");
  EXPECT_EQ(text_of(spm, ids, true), "\uFFFD\uFFFD");
}

TEST(Detokenizer, TheFirstSpaceOnly) {
  const Tokenizer spm = component("tokenizer spm");
  const std::int32_t space = *spm.token_id("▁"), a = *spm.token_id("a");
  EXPECT_EQ(parts_of(spm, {space, space, a, space, a}, false), (std::vector<std::string>{"", " ", "a", " ", "a", ""}));
}

TEST(Detokenizer, UnknownIdsAddNothing) {
  const Tokenizer tokenizer = component("tokenizer byte level");
  const std::int32_t a = *tokenizer.token_id("a");
  EXPECT_EQ(joined(parts_of(tokenizer, {a, -1, 1 << 29, tokenizer.vocab_size(), a}, false)), "aa");
}

TEST(Detokenizer, LongRunsStream) {
  const Tokenizer spm = component("tokenizer spm");
  const std::int32_t byte = *spm.token_id("<0x80>");  // never a whole character
  IncrementalDetokenizer detokenizer(spm, false);
  constexpr int kLong = 200'000;
  std::size_t bytes = 0;
  for (int i = 0; i < kLong; ++i) bytes += detokenizer.push(byte).size();
  bytes += detokenizer.finish().size();
  EXPECT_EQ(bytes, 3u * kLong);
}

}  // namespace
}  // namespace octavo::text
