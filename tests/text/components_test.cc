// Normalizers, pre-tokenizers, decoders one by one, and whole tokenizers made of them, against the tokenizers library.
#include "octavo/text/decoder.h"
#include "octavo/text/normalizer.h"
#include "octavo/text/pre_tokenizer.h"
#include "octavo/text/utf8.h"
#include "tests/text/tokenizer_testing.h"

namespace octavo::text {
namespace {

TEST(Components, Normalizers) {
  const Json components = tokenizer_golden("components.json");
  const Json texts = tokenizer_golden("texts.json");
  for (const Json& entry : components["normalizers"]) {
    const auto normalizer = parse_normalizer(JsonField(entry[0], "/normalizer"));
    ASSERT_TRUE(normalizer.ok()) << normalizer.error().message;
    for (const Json& text : texts) {
      std::string want = text;  // only what changes is stored
      for (const Json& row : entry[1]) {
        if (row[0] == text) want = row[1];
      }
      std::string got = text;
      bool at_start = true;
      ASSERT_TRUE(normalizer->apply(got, at_start).ok());
      EXPECT_EQ(got, want) << entry[0] << " of " << text;
    }
  }
}

TEST(Components, PreTokenizers) {
  const Json components = tokenizer_golden("components.json");
  const Json& texts = components["split_texts"];
  for (const Json& entry : components["pre_tokenizers"]) {
    const auto pre_tokenizer = parse_pre_tokenizer(JsonField(entry[0], "/pre_tokenizer"));
    ASSERT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.error().message;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      Pieces pieces;
      pieces.text = texts[i];
      pieces.spans = {{0, pieces.text.size(), -1, true}};
      ASSERT_TRUE(pre_tokenizer->apply(pieces).ok());
      std::vector<std::string> got;
      for (const Span& span : pieces.spans) got.emplace_back(pieces.of(span));
      EXPECT_EQ(Json(got), entry[1][i]) << entry[0] << " of " << texts[i];
    }
  }
}

TEST(Components, Decoders) {
  const Json components = tokenizer_golden("components.json");
  for (const Json& entry : components["decoders"]) {
    const auto decoder = parse_decoder(JsonField(entry[0], "/decoder"));
    ASSERT_TRUE(decoder.ok()) << decoder.error().message;
    for (const Json& row : entry[1]) {
      std::string got;
      const auto stream = (*decoder)->start(/*eager=*/false);
      for (const Json& token : row[0]) stream->push(0, token.get<std::string>(), got);
      stream->finish(got);
      EXPECT_EQ(got, row[1].get<std::string>()) << entry[0] << " of " << row[0];
    }
  }
}

TEST(Components, NoTokensAreNoText) {
  const Json components = tokenizer_golden("components.json");
  for (const Json& entry : components["decoders"]) {
    const auto decoder = parse_decoder(JsonField(entry[0], "/decoder"));
    ASSERT_TRUE(decoder.ok());
    std::string out;
    (*decoder)->start(true)->finish(out);
    EXPECT_EQ(out, "") << entry[0];
  }
}

// Rows: text, ids, ids with specials (null: the same), decoded with specials (null: the text), without (null: the
// same).
TEST(Components, WholeTokenizers) {
  const Json components = tokenizer_golden("components.json");
  std::size_t tokenizers = 0;
  for (const auto& [key, entry] : components.items()) {
    if (!key.starts_with("tokenizer ")) continue;
    ++tokenizers;
    const auto tokenizer = Tokenizer::parse(compose(components, entry["model"], entry["changes"]).dump(), key);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    for (const Json& row : entry["rows"]) {
      const std::string text = row[0];
      const Json& full = row[2].is_null() ? row[1] : row[2];
      EXPECT_EQ(Json(ids_of(*tokenizer, text, false)), row[1]) << key << ": " << row[0];
      EXPECT_EQ(Json(ids_of(*tokenizer, text, true)), full) << key << ": " << row[0];
      const std::string keep = row[3].is_null() ? text : row[3].get<std::string>();
      const std::string skip = row[4].is_null() ? keep : row[4].get<std::string>();
      EXPECT_EQ(text_of(*tokenizer, full, false), keep) << key << ": " << full;
      EXPECT_EQ(text_of(*tokenizer, full, true), skip) << key << ": " << full;
      // These decode to whole characters, so streaming gives the same.
      EXPECT_EQ(joined(parts_of(*tokenizer, full, false)), keep) << key << ": " << full;
      EXPECT_EQ(joined(parts_of(*tokenizer, full, true)), skip) << key << ": " << full;
    }
  }
  EXPECT_GE(tokenizers, 20u);
}

TEST(SentencePiece, EqualToTheLibrary) {
  const Json models = tokenizer_golden("sentencepiece.json");
  for (const auto& [name, entry] : models.items()) {
    const auto tokenizer = Tokenizer::load(tokenizer_golden_path(name + ".model"));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    const std::int32_t bos = entry["bos"];
    EXPECT_EQ(tokenizer->bos_id().value_or(-1), bos);
    EXPECT_EQ(tokenizer->eos_id().value_or(-1), entry["eos"].get<std::int32_t>());
    for (const Json& row : entry["rows"]) {
      const std::string text = row[0];
      const auto ids = ids_of(*tokenizer, text, false);
      EXPECT_EQ(Json(ids), row[1]) << name << ": " << row[0];
      auto with_bos = row[1].get<std::vector<std::int32_t>>();
      if (bos >= 0) with_bos.insert(with_bos.begin(), bos);
      EXPECT_EQ(ids_of(*tokenizer, text, true), with_bos) << name << ": " << row[0];
      EXPECT_EQ(text_of(*tokenizer, row[1], false), row[2].get<std::string>()) << name << ": " << row[1];
    }
    for (const Json& row : entry["decoded"]) {
      const std::vector<std::int32_t> ids = row[0];
      EXPECT_EQ(text_of(*tokenizer, ids, false), row[1].get<std::string>()) << name << ": " << row[0];
      EXPECT_EQ(joined(parts_of(*tokenizer, ids, false)), row[1].get<std::string>()) << name << ": " << row[0];
    }
  }
}

}  // namespace
}  // namespace octavo::text
