// tokenizer.json and tokenizer_config.json from GGUF metadata.
#include <gtest/gtest.h>

#include "octavo/base/file.h"
#include "octavo/checkpoint/gguf/tokenizer.h"
#include "tests/support/gguf_builder.h"

namespace octavo {
namespace {

using test::GgufBuilder;
using test::tiny_gguf;

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

struct Made {
  Json tokenizer, config;
  std::vector<std::string> notes;
  std::string error;  // "" when it worked
};

Made make(const GgufBuilder& builder) {
  const std::string bytes = builder.build();
  const MemorySource source(as_bytes(bytes), "x.gguf");
  Made made;
  const auto run = [&]() -> Status {
    OCTAVO_ASSIGN(const GgufFile file, parse_gguf(source));
    OCTAVO_ASSIGN(const GgufModel model, describe_gguf_model(file, source, made.notes));
    OCTAVO_ASSIGN(const auto vocabulary, read_gguf_vocabulary(file, model, made.notes));
    if (!vocabulary) return {};
    OCTAVO_ASSIGN(const std::string text, make_tokenizer_json(file, *vocabulary, made.notes));
    OCTAVO_ASSIGN(made.tokenizer, parse_json(text, "tokenizer.json"));
    OCTAVO_ASSIGN(made.config, make_tokenizer_config(file, *vocabulary, model));
    return {};
  };
  if (const Status status = run(); !status.ok()) made.error = status.error().message;
  return made;
}

// Eight tokens for an embedding of 40 rows.
GgufBuilder byte_level(std::string_view pre) {
  GgufBuilder b = tiny_gguf();
  b.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", pre);
  b.strings("tokenizer.ggml.tokens", {"<|end|>", "a", "b", "ab", "Ġ", "Ġab", "\"q\\", "<user>", "[PAD8]"});
  b.numbers<std::int32_t>("tokenizer.ggml.token_type", GgufBuilder::kI32, {3, 1, 1, 1, 1, 1, 1, 4, 5});
  b.strings("tokenizer.ggml.merges", {"a b", "Ġ ab"});
  b.u32("tokenizer.ggml.bos_token_id", 0).u32("tokenizer.ggml.eos_token_id", 0);
  return b;
}

TEST(GgufTokenizer, ByteLevel) {
  GgufBuilder b = byte_level("smollm");
  b.u32("tokenizer.ggml.padding_token_id", 7).string("tokenizer.chat_template", "{{ \"hé\" }}\n");
  const Made made = make(b);
  ASSERT_EQ(made.error, "");
  EXPECT_EQ(made.tokenizer["model"]["vocab"],
            Json::parse(R"({"<|end|>": 0, "a": 1, "b": 2, "ab": 3, "Ġ": 4, "Ġab": 5, "\"q\\": 6, "<user>": 7})"));
  EXPECT_EQ(made.tokenizer["model"]["merges"], Json::parse(R"(["a b", "Ġ ab"])"));
  EXPECT_EQ(made.tokenizer["model"]["ignore_merges"], false);
  EXPECT_EQ(made.tokenizer["model"]["byte_fallback"], false);
  EXPECT_EQ(made.tokenizer["added_tokens"], Json::parse(R"([
      {"id": 0, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
       "special": true},
      {"id": 7, "content": "<user>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
       "special": false}])"));
  EXPECT_EQ(made.tokenizer["pre_tokenizer"], Json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}]})"));
  EXPECT_EQ(made.tokenizer["decoder"]["type"], "ByteLevel");
  EXPECT_TRUE(made.tokenizer["normalizer"].is_null());
  EXPECT_EQ(made.tokenizer["post_processor"]["type"], "ByteLevel");
  EXPECT_EQ(made.config["bos_token"], "<|end|>");
  EXPECT_EQ(made.config["eos_token"], "<|end|>");
  EXPECT_EQ(made.config["pad_token"], "<user>");
  EXPECT_TRUE(made.config["unk_token"].is_null());
  EXPECT_EQ(made.config["add_bos_token"], false);
  EXPECT_EQ(made.config["chat_template"], "{{ \"hé\" }}\n");
  EXPECT_EQ(made.config["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(made.config["model_max_length"], 128);
}

TEST(GgufTokenizer, PreTokenizers) {
  Made made = make(byte_level("default"));
  EXPECT_EQ(made.tokenizer["pre_tokenizer"]["type"], "ByteLevel");
  EXPECT_EQ(made.tokenizer["pre_tokenizer"]["use_regex"], true);
  made = make(byte_level("qwen2"));
  EXPECT_EQ(made.tokenizer["normalizer"], Json::parse(R"({"type": "NFC"})"));
  const Json& split = made.tokenizer["pre_tokenizer"]["pretokenizers"];
  ASSERT_EQ(split.size(), 2u);
  EXPECT_SAYS(split[0]["pattern"]["Regex"].get<std::string>(), R"(\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+)");
  EXPECT_EQ(split[0]["behavior"], "Isolated");
  EXPECT_EQ(split[1]["use_regex"], false);
  made = make(byte_level("llama-bpe"));
  EXPECT_SAYS(made.tokenizer["pre_tokenizer"].dump(), "{1,3}");
  EXPECT_EQ(made.tokenizer["model"]["ignore_merges"], true);
  // llama-bpe adds bos unless told otherwise.
  EXPECT_EQ(made.config["add_bos_token"], true);
  EXPECT_EQ(made.tokenizer["post_processor"]["processors"][1]["single"], Json::parse(R"([
      {"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}])"));
  EXPECT_EQ(made.tokenizer["post_processor"]["processors"][1]["special_tokens"],
            Json::parse(R"({"<|end|>": {"id": "<|end|>", "ids": [0], "tokens": ["<|end|>"]}})"));
  GgufBuilder b = byte_level("llama-bpe");
  b.boolean("tokenizer.ggml.add_bos_token", false);
  EXPECT_EQ(make(b).tokenizer["post_processor"]["type"], "ByteLevel");
  EXPECT_SAYS(make(byte_level("tekken")).error, "tokenizer.ggml.pre 'tekken' is not supported; Octavo knows default");
}

GgufBuilder sentencepiece() {
  GgufBuilder b = tiny_gguf();
  b.string("tokenizer.ggml.model", "llama").string("tokenizer.ggml.pre", "default");
  b.strings("tokenizer.ggml.tokens",
            {"<unk>", "<s>", "</s>", "<0x41>", "▁", "a", "b", "ab", "▁a", "▁ab", "é", "éa", "<s>a", "tool"});
  b.numbers<std::int32_t>("tokenizer.ggml.token_type", GgufBuilder::kI32, {2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4});
  b.numbers<float>("tokenizer.ggml.scores", GgufBuilder::kF32, {0, 0, 0, 0, -9, -8, -7, -1, -2, -3, -6, -4, -5, 0});
  b.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  return b;
}

TEST(GgufTokenizer, SentencePiece) {
  const Made made = make(sentencepiece());
  ASSERT_EQ(made.error, "");
  // Best score first; "▁ab" splits two ways, the longer left part first; "<s>a" has no two normal parts.
  EXPECT_EQ(made.tokenizer["model"]["merges"], Json::parse(R"(["a b", "▁ a", "▁a b", "▁ ab", "é a"])"));
  EXPECT_EQ(made.tokenizer["model"]["byte_fallback"], true);
  EXPECT_EQ(made.tokenizer["model"]["fuse_unk"], true);
  EXPECT_EQ(made.tokenizer["model"]["unk_token"], "<unk>");
  EXPECT_EQ(made.tokenizer["model"]["vocab"]["<0x41>"], 3);
  EXPECT_TRUE(made.tokenizer["pre_tokenizer"].is_null());
  EXPECT_EQ(made.tokenizer["normalizer"], Json::parse(R"({"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})"));
  EXPECT_EQ(made.tokenizer["decoder"], Json::parse(R"({"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})"));
  EXPECT_EQ(made.tokenizer["post_processor"]["type"], "TemplateProcessing");  // bos by default
  ASSERT_EQ(made.tokenizer["added_tokens"].size(), 4u);
  EXPECT_EQ(made.tokenizer["added_tokens"][3]["content"], "tool");
  EXPECT_EQ(made.tokenizer["added_tokens"][3]["special"], false);
  EXPECT_EQ(made.config["unk_token"], "<unk>");
  EXPECT_EQ(made.config["add_bos_token"], true);

  GgufBuilder b = sentencepiece();
  b.boolean("tokenizer.ggml.add_space_prefix", false).boolean("tokenizer.ggml.add_eos_token", true);
  const Made other = make(b);
  EXPECT_EQ(other.tokenizer["normalizer"]["normalizers"].size(), 1u);
  EXPECT_EQ(other.tokenizer["decoder"]["decoders"].size(), 3u);
  EXPECT_EQ(other.tokenizer["post_processor"]["single"].back()["SpecialToken"]["id"], "</s>");
}

TEST(GgufTokenizer, NoTokenizerIsANote) {
  const Made made = make(tiny_gguf());
  EXPECT_EQ(made.error, "");
  EXPECT_TRUE(made.tokenizer.is_null());
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_SAYS(made.notes[0], "has no tokenizer");
}

TEST(GgufTokenizer, RefusesAndNotes) {
  GgufBuilder b = byte_level("gpt-2");
  b.string("tokenizer.ggml.model", "bert");
  EXPECT_SAYS(make(b).error, "tokenizer.ggml.model 'bert' is not supported");
  b = byte_level("gpt-2");
  b.remove_key("tokenizer.ggml.tokens");
  EXPECT_SAYS(make(b).error, "'tokenizer.ggml.tokens' is missing");
  b = byte_level("gpt-2");
  b.remove_key("tokenizer.ggml.merges");
  EXPECT_SAYS(make(b).error, "'tokenizer.ggml.merges' is missing");
  b = byte_level("gpt-2");
  b.strings("tokenizer.ggml.merges", {"ab"});
  EXPECT_SAYS(make(b).error, "merge 0 ('ab') is not two tokens");
  b = byte_level("gpt-2");
  b.strings("tokenizer.ggml.merges", {"a b", "b a", "a zz"});
  Made made = make(b);
  EXPECT_EQ(made.tokenizer["model"]["merges"].size(), 1u);
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_SAYS(made.notes[0], "2 merges name tokens that are not in the vocabulary");
  b = byte_level("gpt-2");
  b.strings("tokenizer.ggml.tokens", {"a", "\xff", "b", "ab", "c", "d", "e", "f", "g"});
  EXPECT_SAYS(make(b).error, "token 1 ('\\xff') is not valid UTF-8");
  b = byte_level("gpt-2");
  b.strings("tokenizer.ggml.tokens", {"a", "a", "b", "ab", "Ġ", "Ġab", "e", "f", "g"});
  made = make(b);
  EXPECT_EQ(made.tokenizer["model"]["vocab"]["a"], 0);
  ASSERT_EQ(made.notes.size(), 1u);
  EXPECT_SAYS(made.notes[0], "1 tokens repeat");
  b = byte_level("gpt-2");
  b.numbers<std::int32_t>("tokenizer.ggml.token_type", GgufBuilder::kI32, {1, 1});
  EXPECT_SAYS(make(b).error, "token_type has 2 entries for 9 tokens");
  b = byte_level("gpt-2");
  b.numbers<std::int32_t>("tokenizer.ggml.token_type", GgufBuilder::kI32, {1, 1, 1, 99, 1, 1, 1, 1, 1});
  EXPECT_SAYS(make(b).error, "unknown token type 99");
  b = byte_level("gpt-2");
  b.strings("tokenizer.ggml.tokens", std::vector<std::string>(41, "x"));
  EXPECT_SAYS(make(b).error, "41 tokens for an embedding of 40 rows");
  b = byte_level("gpt-2");
  b.u32("tokenizer.ggml.eos_token_id", 0xFFFFFFFFu).boolean("tokenizer.ggml.add_eos_token", true);
  made = make(b);
  EXPECT_TRUE(made.config["eos_token"].is_null());
  EXPECT_EQ(made.config["add_eos_token"], false);
  EXPECT_EQ(made.notes.size(), 2u);
  b = sentencepiece();
  b.remove_key("tokenizer.ggml.scores");
  EXPECT_SAYS(make(b).error, "neither tokenizer.ggml.merges nor tokenizer.ggml.scores");
  b = byte_level("gpt-2");
  b.string("tokenizer.chat_template", "\xff");
  EXPECT_SAYS(make(b).error, "'tokenizer.chat_template' is not valid UTF-8");
}

}  // namespace
}  // namespace octavo
