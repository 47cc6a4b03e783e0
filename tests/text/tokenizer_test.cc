// The interface of a tokenizer, and what the files of a model folder change.
#include <thread>

#include "tests/support/temp_dir.h"
#include "tests/text/tokenizer_testing.h"

namespace octavo::text {
namespace {

using Ids = std::vector<std::int32_t>;

// A folder with a byte-level vocab.json and merges.txt: bytes, "<|endoftext|>" 256, "th" 257, "the" 258, " t" 259.
class VocabAndMerges {
 public:
  VocabAndMerges() {
    const Json components = tokenizer_golden("components.json");
    Json vocab = Json::object();
    // The first 256 of the alphabet, in the order of their bytes, from the golden model's vocabulary.
    for (const auto& [token, id] : components["models"]["byte_level"]["vocab"].items()) vocab[token] = id;
    std::string merges = "#version: 0.2\n";
    for (const Json& merge : components["models"]["byte_level"]["merges"]) {
      merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
    }
    test::write_file(folder / "vocab.json", vocab.dump());
    test::write_file(folder / "merges.txt", merges);
  }
  void config(const Json& json) const { test::write_file(folder / "tokenizer_config.json", json.dump()); }
  Tokenizer load() const {
    auto tokenizer = Tokenizer::load(folder.path());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    return *tokenizer;
  }
  std::string error() const {
    const auto tokenizer = Tokenizer::load(folder.path());
    return tokenizer.ok() ? "" : tokenizer.error().message;
  }
  test::TempDir folder;
};

TEST(Tokenizer, VocabAndMergesAreTheirTokenizerJson) {
  const Json components = tokenizer_golden("components.json");
  const Json& entry = components["tokenizer byte level"];
  const auto whole = Tokenizer::parse(compose(components, "byte_level", entry["changes"]).dump(), "x");
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  const VocabAndMerges files;
  files.config({{"tokenizer_class", "GPT2TokenizerFast"}});
  const Tokenizer tokenizer = files.load();
  for (const Json& row : entry["rows"]) {
    EXPECT_EQ(Json(ids_of(tokenizer, row[0].get<std::string>(), true)), row[1]) << row[0];
  }
  EXPECT_EQ(tokenizer.vocab_size(), whole->vocab_size());
}

TEST(Tokenizer, ClassSaysHowToCut) {
  const VocabAndMerges files;
  files.config({{"tokenizer_class", "GPT2Tokenizer"}});
  const std::string text = "e\u0301 12";  // Qwen normalizes, and isolates digits
  const Ids gpt2 = ids_of(files.load(), text, true);
  files.config({{"tokenizer_class", "Qwen2Tokenizer"}});
  const Ids qwen = ids_of(files.load(), text, true);
  EXPECT_NE(gpt2, qwen);
  EXPECT_EQ(qwen, ids_of(files.load(), "\u00e9 12", true));
  EXPECT_EQ(text_of(files.load(), qwen, false), "\u00e9 12");

  files.config({{"tokenizer_class", "GPT2Tokenizer"}, {"add_prefix_space", true}});
  EXPECT_EQ(ids_of(files.load(), "a b", true), ids_of(files.load(), " a b", true));

  files.config({{"tokenizer_class", "NonsenseTokenizer"}});
  EXPECT_NE(files.error().find("tokenizer_class \"NonsenseTokenizer\" does not say how to use vocab.json"),
            std::string::npos)
      << files.error();
  std::filesystem::remove(files.folder / "tokenizer_config.json");
  EXPECT_NE(files.error().find("no tokenizer_class in tokenizer_config.json"), std::string::npos) << files.error();
}

TEST(Tokenizer, AddedTokensOfAFolder) {
  const VocabAndMerges files;
  Json config = {{"tokenizer_class", "GPT2Tokenizer"},
                 {"bos_token", {{"content", "<s>"}, {"__type", "AddedToken"}}},
                 {"eos_token", "</s>"},
                 {"added_tokens_decoder",
                  {{"500", {{"content", "<|im_start|>"}, {"special", true}, {"normalized", false}}},
                   {"501", {{"content", "<tool>"}, {"special", false}, {"normalized", false}}}}}};
  files.config(config);
  test::write_file(files.folder / "added_tokens.json", R"({"<more>": 502, "<tool>": 501})");
  const Tokenizer tokenizer = files.load();
  EXPECT_EQ(tokenizer.bos_id(), 1);
  EXPECT_EQ(tokenizer.eos_id(), 2);
  EXPECT_EQ(tokenizer.vocab_size(), 503);
  EXPECT_EQ(tokenizer.token_id("<tool>"), 501);
  EXPECT_EQ(tokenizer.token_text(500), "<|im_start|>");
  EXPECT_EQ(tokenizer.token_text(450), std::nullopt);
  EXPECT_EQ(tokenizer.token_text(-1), std::nullopt);
  const Ids ids = ids_of(tokenizer, "<s><|im_start|><tool><more></s>", true);
  EXPECT_EQ(ids, (Ids{1, 500, 501, 502, 2}));
  EXPECT_TRUE(tokenizer.is_special(500));
  EXPECT_TRUE(tokenizer.is_special(1));
  EXPECT_FALSE(tokenizer.is_special(501));
  EXPECT_EQ(text_of(tokenizer, ids, false), "<s><|im_start|><tool><more></s>");
  EXPECT_EQ(text_of(tokenizer, ids, true), "<tool><more>");

  config["add_bos_token"] = true;
  config["add_eos_token"] = true;
  files.config(config);
  EXPECT_EQ(ids_of(files.load(), "<tool>", true), (Ids{1, 501, 2}));
  EXPECT_EQ(ids_of(files.load(), "<tool>", false), (Ids{501}));

  config["added_tokens_decoder"]["3"] = {{"content", "<tool>"}, {"special", false}};
  config["added_tokens_decoder"].erase("501");
  files.config(config);
  EXPECT_NE(files.error().find("id 3 belongs to two tokens"), std::string::npos) << files.error();
  config["added_tokens_decoder"] = {{"x", {{"content", "<tool>"}}}};
  files.config(config);
  EXPECT_NE(files.error().find("/added_tokens_decoder/x: \"x\" is no token id"), std::string::npos) << files.error();
}

TEST(Tokenizer, ConfigAddsWhatTheTemplateDoesNotSay) {
  const Json components = tokenizer_golden("components.json");
  const test::TempDir folder;
  const auto load = [&](const Json& tokenizer, const Json& config) {
    test::write_file(folder / "tokenizer.json", tokenizer.dump());
    test::write_file(folder / "tokenizer_config.json", config.dump());
    auto loaded = Tokenizer::load(folder.path());
    EXPECT_TRUE(loaded.ok()) << loaded.error().message;
    return *loaded;
  };
  const Json config = {
      {"bos_token", "<s>"}, {"eos_token", "</s>"}, {"add_bos_token", true}, {"model_max_length", 1e30}};
  const Json bare = compose(components, "byte_level", components["tokenizer byte level"]["changes"]);
  const Ids plain = ids_of(load(bare, Json::object()), "Hi", true);
  Ids with_bos = plain;
  with_bos.insert(with_bos.begin(), 1);
  EXPECT_EQ(ids_of(load(bare, config), "Hi", true), with_bos);
  EXPECT_EQ(ids_of(load(bare, config), "Hi", false), plain);
  // A template is the truth, whatever the config says.
  const Json templated = compose(components, "byte_level", components["tokenizer special tokens"]["changes"]);
  EXPECT_EQ(ids_of(load(templated, config), "Hi", true), ids_of(load(templated, Json::object()), "Hi", true));
  EXPECT_EQ(load(templated, config).eos_id(), 2);
}

TEST(Tokenizer, SentencePieceFolder) {
  const test::TempDir folder;
  std::filesystem::copy(tokenizer_golden_path("bpe_bytes.model"), folder / "tokenizer.model");
  const auto bare = Tokenizer::load(folder.path());
  ASSERT_TRUE(bare.ok()) << bare.error().message;
  const Ids plain = ids_of(*bare, "Hello", false);
  // As the library: control symbols are not found in text and are no text.
  EXPECT_GT(ids_of(*bare, "<s>", false).size(), 1u);
  EXPECT_EQ(text_of(*bare, ids_of(*bare, "Hello", true), false), "Hello");

  test::write_file(folder / "tokenizer_config.json",
                   R"({"tokenizer_class": "LlamaTokenizer", "add_eos_token": true, "bos_token": "<s>",
                       "eos_token": "</s>", "added_tokens_decoder": {"900": {"content": "<|im_end|>", "special": true}}})");
  const auto tokenizer = Tokenizer::load(folder.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  Ids full{1};
  full.insert(full.end(), plain.begin(), plain.end());
  full.push_back(2);
  EXPECT_EQ(ids_of(*tokenizer, "Hello", true), full);
  full.back() = 900;
  EXPECT_EQ(ids_of(*tokenizer, "<s>Hello<|im_end|>", false).back(), 900);
  EXPECT_EQ(ids_of(*tokenizer, "<s>", false), (Ids{1}));
  EXPECT_EQ(text_of(*tokenizer, full, false), "<s> Hello<|im_end|>");
  EXPECT_EQ(text_of(*tokenizer, full, true), "Hello");
}

TEST(Tokenizer, FoldersWithoutOne) {
  const test::TempDir folder;
  auto tokenizer = Tokenizer::load(folder.path());
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_NE(tokenizer.error().message.find("no tokenizer.json, no vocab.json with merges.txt, no tokenizer.model"),
            std::string::npos);
  tokenizer = Tokenizer::load(folder / "absent.json");
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_NE(tokenizer.error().message.find("absent.json"), std::string::npos);
}

TEST(Tokenizer, LongWordsAreNotQuadratic) {
  const Json components = tokenizer_golden("components.json");
  for (const char* name : {"tokenizer byte level", "tokenizer spm", "tokenizer unigram", "tokenizer unknown, fused"}) {
    const Json& entry = components[name];
    const auto tokenizer = Tokenizer::parse(compose(components, entry["model"], entry["changes"]).dump(), name);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    constexpr std::size_t kLong = 300'000;  // the square of it would take minutes
    for (const std::string& unit : {std::string("a"), std::string(" "), std::string("\n"), std::string("\u4e00")}) {
      std::string text;
      while (text.size() < kLong) text += unit;
      const Ids ids = ids_of(*tokenizer, text, false);
      EXPECT_FALSE(ids.empty());
    }
    std::string marks = "a";
    while (marks.size() < kLong) marks += "\u0301\u0316";
    ids_of(*tokenizer, marks, false);
  }
}

TEST(Tokenizer, SharedByThreads) {
  const Json components = tokenizer_golden("components.json");
  const Json& entry = components["tokenizer spm"];
  const auto tokenizer = Tokenizer::parse(compose(components, entry["model"], entry["changes"]).dump(), "x");
  ASSERT_TRUE(tokenizer.ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, copy = *tokenizer] {
      for (const Json& row : entry["rows"]) {
        const auto ids = copy.encode(row[0].get<std::string>(), {.add_special = false});
        ASSERT_TRUE(ids.ok());
        EXPECT_EQ(Json(*ids), row[1]);
        EXPECT_TRUE(copy.decode(*ids, true).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace octavo::text
