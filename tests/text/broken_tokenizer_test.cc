// Damaged and hostile tokenizer files: each is refused with a sentence that says where.
#include "octavo/base/text.h"
#include "tests/support/temp_dir.h"
#include "tests/text/tokenizer_testing.h"

namespace octavo::text {
namespace {

// A sound byte-fallback tokenizer, small enough to change.
Json sound() {
  return *parse_json(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 0, "content": "<unk>", "special": true, "normalized": false},
                     {"id": 5, "content": "<x>", "special": false, "normalized": false}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "_"}]},
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Isolated", "invert": false},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<unk>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<unk>": {"id": "<unk>", "ids": [0], "tokens": ["<unk>"]}}},
    "decoder": {"type": "Strip", "content": "_", "start": 1, "stop": 0},
    "model": {"type": "BPE", "unk_token": "<unk>", "vocab": {"<unk>": 0, "_": 1, "a": 2, "b": 3, "ab": 4},
              "merges": ["a b"]}})",
                     "sound.json");
}

struct Row {
  std::string pointer;  // what is replaced, as a JSON pointer
  std::string value;    // by what; "" removes it
  std::string says;     // a part of the message
};

TEST(BrokenTokenizer, SoundOne) {
  const auto tokenizer = Tokenizer::parse(sound().dump(), "sound.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(ids_of(*tokenizer, "ab<x>", true), (std::vector<std::int32_t>{0, 1, 4, 5}));
}

TEST(BrokenTokenizer, EveryPartSaysWhere) {
  const std::string deep = std::string(200, '[') + std::string(200, ']');
  std::string nested = R"({"type": "NFC"})";
  for (int i = 0; i < 20; ++i) nested = R"({"type": "Sequence", "normalizers": [)" + nested + "]}";
  const Row rows[] = {
      {"/version", "\"2.0\"", "/version: version \"2.0\" is unknown"},
      {"/model", "", "has no \"model\""},
      {"/model", "3", "/model: has no \"type\""},
      {"/model/type", "\"Neural\"", "/model: the model \"Neural\" is not supported"},
      {"/model/type", "\"WordPiece\"", "not supported (BPE, Unigram, WordLevel)"},
      {"/model/type", "7", "/model/type: must be a string, not an integer"},
      {"/model/vocab", "", "needs \"vocab\""},
      {"/model/vocab", "[]", "a BPE model needs \"vocab\", tokens to ids"},
      {"/model/vocab", "\"x\"", "/model/vocab must map tokens to ids"},
      {"/model/vocab", "{\"a\": \"b\"}", "/model/vocab must map tokens to ids"},
      {"/model/vocab", "{\"a\": 1.5}", "/model/vocab must map tokens to ids"},
      {"/model/vocab", "{\"a\": {}}", "/model/vocab must map tokens to ids"},
      {"/model/vocab/a", "-1", "id -1, outside 0"},
      {"/model/vocab/a", "2000000000", "id 2000000000, outside 0"},
      {"/model/vocab/a", "18446744073709551615", "outside 0"},
      {"/model/vocab/a", "3", "id 3 belongs to two tokens, \"a\" and \"b\""},
      {"/model/merges", "", "and \"merges\""},
      {"/model/merges", "{}", "/model/merges must be a list"},
      {"/model/merges/0", "\"a\"", "/model/merges/0: \"a\" is not two tokens"},
      {"/model/merges/0", "\"a b c\"", "is not two tokens"},
      {"/model/merges/0", "[\"a\"]", "/model/merges must be a list"},
      {"/model/merges/0", "[\"a\", \"b\", \"c\"]", "/model/merges must be a list"},
      {"/model/merges/0", "[\"a\", [\"b\"]]", "/model/merges must be a list"},
      {"/model/merges/0", "\"a z\"", "merge 0 (\"a\" and \"z\"): \"z\" is not in the vocabulary"},
      {"/model/merges/0", "\"b a\"", "\"ba\" is not in the vocabulary"},
      {"/model/dropout", "0.1", "/model/dropout: a dropout of 0.1 makes the ids random"},
      {"/model/byte_fallback", "\"yes\"", "/model/byte_fallback: must be true or false, not a string"},
      {"/added_tokens", "{}", "/added_tokens: must be a list, not an object"},
      {"/added_tokens/1/id", "", "/added_tokens/1: has no \"id\""},
      {"/added_tokens/1/id", "\"5\"", "/added_tokens/1/id: must be an integer"},
      {"/added_tokens/1/id", "99999999999", "/added_tokens/1/id: is 99999999999, outside 0"},
      {"/added_tokens/1/id", "3", "/added_tokens/1: id 3 belongs to two tokens, \"b\" and \"<x>\""},
      {"/added_tokens/0/id", "1", "/added_tokens/0/id: is 1, but \"<unk>\" has id 0 already"},
      {"/added_tokens/1/content", "", "/added_tokens/1: has no \"content\""},
      {"/added_tokens/1/lstrip", "1", "/added_tokens/1/lstrip: must be true or false"},
      {"/normalizer", "\"NFC\"", "/normalizer: must be an object"},
      {"/normalizer/type", "\"BertNormalizer\"", "/normalizer: the normalizer \"BertNormalizer\" is not supported"},
      {"/normalizer", nested, "nested deeper than 16"},
      {"/normalizer/normalizers/0/prepend", "", "/normalizer/normalizers/0: has no \"prepend\""},
      {"/normalizer/normalizers/0", R"({"type": "Replace", "pattern": {"Regex": "(a"}, "content": ""})",
       "/normalizer/normalizers/0/pattern/Regex: the regular expression \"(a\" cannot be compiled: a group is not"},
      {"/normalizer/normalizers/0", R"({"type": "Replace", "pattern": "a", "content": ""})",
       "/normalizer/normalizers/0/pattern: must be {\"String\": ...} or {\"Regex\": ...}"},
      {"/normalizer/normalizers/0", R"({"type": "Precompiled", "precompiled_charsmap": "!"})", "is not base64"},
      {"/normalizer/normalizers/0", R"({"type": "Precompiled", "precompiled_charsmap": "/////w=="})",
       "the precompiled character map says its trie has 4294967295 bytes of 0"},
      {"/pre_tokenizer/type", "\"Nonsense\"", "/pre_tokenizer: the pre-tokenizer \"Nonsense\" is not supported"},
      {"/pre_tokenizer/pattern/Regex", "\"*\"", "/pre_tokenizer/pattern/Regex: the regular expression"},
      {"/pre_tokenizer/pattern/Regex", "\"[a\"", "a character class is not closed"},
      {"/pre_tokenizer/pattern/Regex", R"("\\p{Nonsense}")", "cannot be compiled"},
      {"/pre_tokenizer/behavior", "\"Often\"", "/pre_tokenizer/behavior: \"Often\" is no behavior"},
      {"/pre_tokenizer/invert", "", "/pre_tokenizer: has no \"invert\""},
      {"/post_processor/single/0/SpecialToken/id", "\"<bos>\"", "\"<bos>\" is not among the template's special_tokens"},
      {"/post_processor/single/1/Sequence/id", "\"B\"", "sequence \"B\" in a template for one text"},
      {"/post_processor/single/0", R"({"Sequence": {"id": "A", "type_id": 0}})", "stands in the template twice"},
      {"/post_processor/special_tokens/<unk>/ids/0", "77", "/ids/0: 77 is the id of no token"},
      {"/post_processor/type", "\"Nonsense\"", "/post_processor: the post-processor \"Nonsense\" is not supported"},
      {"/decoder/type", "\"CTC\"", "/decoder: the decoder \"CTC\" is not supported"},
      {"/decoder/content", "\"ab\"", "/decoder/content: must be one character, not \"ab\""},
      {"/decoder/start", "-1", "/decoder/start: is -1, outside 0"},
      {"/deep", deep, "nested deeper than 64"},
  };
  for (const Row& row : rows) {
    Json json = sound();
    const Json::json_pointer pointer(row.pointer);
    if (row.value.empty()) {
      json.at(pointer.parent_pointer()).erase(pointer.back());
    } else {
      json[pointer] = Json::parse(row.value);
    }
    const auto tokenizer = Tokenizer::parse(json.dump(), "broken.json");
    ASSERT_FALSE(tokenizer.ok()) << row.pointer << " = " << row.value;
    const std::string& message = tokenizer.error().message;
    EXPECT_NE(message.find(row.says), std::string::npos) << row.pointer << " = " << row.value << ": " << message;
    EXPECT_TRUE(message.starts_with("broken.json")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_TRUE(is_valid_utf8(message)) << message;
    EXPECT_LT(message.size(), 1000u);
  }
}

TEST(BrokenTokenizer, KeysTwice) {
  for (const std::string text : {R"({"model": {"vocab": {"a": 0, "a": 1}, "merges": []}})",
                                 R"({"model": {"type": "BPE", "type": "BPE"}})", R"({"a": 1, "a": 2})"}) {
    const auto tokenizer = Tokenizer::parse(text, "x");
    ASSERT_FALSE(tokenizer.ok()) << text;
    EXPECT_NE(tokenizer.error().message.find("tw"), std::string::npos) << tokenizer.error().message;
  }
}

TEST(BrokenTokenizer, Content) {
  const std::pair<std::string, std::string> rows[] = {
      {"", "is no SentencePiece model"},
      {"[]", "must be an object, not a list"},
      {"{", "1:"},
      {"{\"a\": 0}", "has no \"model\": not a tokenizer.json"},
      {std::string("\x7F\xFF\x00\x01", 4), "is no SentencePiece model"},
      {"IQ== 0\nIg== 1\n", "is a tiktoken vocabulary"},
      {"hello world", "is no SentencePiece model"},
  };
  for (const auto& [bytes, says] : rows) {
    const auto tokenizer = Tokenizer::parse(bytes, "x");
    ASSERT_FALSE(tokenizer.ok()) << bytes;
    EXPECT_NE(tokenizer.error().message.find(says), std::string::npos) << tokenizer.error().message;
  }
}

// Protobuf: field numbers and lengths below 128.
std::string field(int number, std::string_view content) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(content.size()) + std::string(content);
}
std::string varint(int number, int value) {
  std::string out;
  for (int key = number << 3; key > 0; key >>= 7) out += static_cast<char>((key & 0x7F) | (key > 0x7F ? 0x80 : 0));
  return out + static_cast<char>(value);
}
std::string piece(std::string_view text, int type) { return field(1, field(1, text) + varint(3, type)); }

TEST(BrokenTokenizer, SentencePiece) {
  const std::string unk = piece("<unk>", 2), bpe = field(2, varint(3, 2));
  ASSERT_TRUE(Tokenizer::parse(unk + piece("a", 1) + bpe, "x").ok());
  const std::pair<std::string, std::string> rows[] = {
      {unk + piece("a", 1).substr(0, 5), "damaged"},
      {piece("a", 1) + bpe, "there is no unknown piece"},
      {unk + unk + bpe, "has two ids, 0 and 1"},
      {unk + piece("x", 2) + bpe, "are both the unknown piece"},
      {unk + piece("", 1) + bpe, "piece 1 is empty"},
      {unk + piece("\xFF", 1) + bpe, "piece 1 is not valid UTF-8"},
      {unk + piece("a", 9) + bpe, "piece 1 has the unknown type 9"},
      {unk + piece("<0x100>", 6) + bpe, "is no byte"},
      {unk + field(1, field(1, "a") + "\x15" + std::string("\x00\x00\xC0\x7F", 4)) + bpe, "is not finite"},
      {unk + field(2, varint(3, 2) + varint(35, 1)), "not every byte has a piece"},
      {unk + field(2, varint(3, 3)), "type word and char are not supported"},
      {unk + field(2, varint(3, 5)), "model_type 5 is unknown"},
      {unk + bpe + field(3, field(2, "abc")), "character map is cut off"},
      {unk + bpe + field(5, field(2, "abc")), "denormalizer"},
      {unk + std::string("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 11), "damaged"},
      {unk + std::string(12, '\xFF'), "damaged"},
  };
  for (const auto& [bytes, says] : rows) {
    const auto tokenizer = Tokenizer::parse(bytes, "x.model");
    ASSERT_FALSE(tokenizer.ok()) << says;
    EXPECT_NE(tokenizer.error().message.find(says), std::string::npos) << tokenizer.error().message;
    EXPECT_TRUE(tokenizer.error().message.starts_with("x.model: ")) << tokenizer.error().message;
  }
}

TEST(BrokenTokenizer, CutAnywhere) {
  const std::string json = sound().dump();
  for (std::size_t length = 0; length < json.size(); ++length) {
    EXPECT_FALSE(Tokenizer::parse(json.substr(0, length), "x").ok()) << length;
  }
  // A protobuf cut between two fields is a sound one with less in it.
  const auto model = read_text_file(tokenizer_golden_path("bpe_bytes.model"), 1 << 20);
  ASSERT_TRUE(model.ok());
  for (std::size_t length = 0; length < model->size(); ++length) {
    const auto tokenizer = Tokenizer::parse(model->substr(0, length), "x");
    if (tokenizer.ok()) ids_of(*tokenizer, "Hello world", true);
  }
}

TEST(BrokenTokenizer, TextAndIds) {
  const auto tokenizer = Tokenizer::parse(sound().dump(), "sound.json");
  ASSERT_TRUE(tokenizer.ok());
  const auto invalid = tokenizer->encode("ab\xFFz");
  ASSERT_FALSE(invalid.ok());
  EXPECT_EQ(invalid.error().message, "the text is not valid UTF-8 at byte 2 (0xFF)");
  for (const std::int32_t id : {-1, 6, 1 << 30}) {
    const std::vector<std::int32_t> ids{1, id};
    const auto text = tokenizer->decode(ids, false);
    ASSERT_FALSE(text.ok());
    EXPECT_NE(text.error().message.find("at position 1 has no token"), std::string::npos) << text.error().message;
  }
}

// An expression that would backtrack for ages, and a normalizer that would fill the memory.
TEST(BrokenTokenizer, EffortIsBounded) {
  Json json = sound();
  json["pre_tokenizer"]["pattern"]["Regex"] = "(?:a+)+(?:a+)+(?:a+)+[cd]";
  auto tokenizer = Tokenizer::parse(json.dump(), "x");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto ids = tokenizer->encode(std::string(40, 'a') + "b");
  ASSERT_FALSE(ids.ok());
  EXPECT_NE(ids.error().message.find("gave up"), std::string::npos) << ids.error().message;

  json = sound();
  Json doubling = Json::array();
  for (int i = 0; i < 40; ++i) {
    doubling.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}});
  }
  json["normalizer"]["normalizers"] = doubling;
  tokenizer = Tokenizer::parse(json.dump(), "x");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto grown = tokenizer->encode("a");
  ASSERT_FALSE(grown.ok());
  EXPECT_NE(grown.error().message.find("normalizing makes"), std::string::npos) << grown.error().message;
}

}  // namespace
}  // namespace octavo::text
