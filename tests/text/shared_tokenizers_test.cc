// Every tokenizer in ../shared/data against its library, and llama.cpp's vectors.
#include <filesystem>
#include <sstream>

#include "tests/support/temp_dir.h"
#include "tests/text/tokenizer_testing.h"

namespace octavo::text {
namespace {

std::string shared(const std::string& path) { return std::string(OCTAVO_SOURCE_DIR) + "/../shared/data/" + path; }

bool absent(const std::string& path) { return !std::filesystem::exists(shared(path)); }

TEST(SharedTokenizers, EqualToTheirLibraries) {
  const Json texts = tokenizer_golden("texts.json");
  std::size_t found = 0;
  const Json tokenizers = tokenizer_golden("shared.json");
  for (const auto& [path, entry] : tokenizers.items()) {
    if (absent(path)) continue;
    ++found;
    const auto tokenizer = Tokenizer::load(shared(path));
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    const std::vector<std::int32_t> prefix = entry["prefix"], suffix = entry["suffix"];
    for (std::size_t i = 0; i < texts.size(); ++i) {
      const std::string text = texts[i];
      const std::vector<std::int32_t> want = entry["ids"][i];
      ASSERT_EQ(ids_of(*tokenizer, text, false), want) << path << ": " << texts[i];
      std::vector<std::int32_t> full = prefix;
      full.insert(full.end(), want.begin(), want.end());
      full.insert(full.end(), suffix.begin(), suffix.end());
      ASSERT_EQ(ids_of(*tokenizer, text, true), full) << path << ": " << texts[i];
      for (const bool skip : {false, true}) {
        const Json& decoded = entry[skip ? "skip" : "keep"];
        const std::string key = std::to_string(i);
        const std::string back = decoded["others"].contains(key) ? decoded["others"][key].get<std::string>()
                                                                 : decoded["head"].get<std::string>() + text;
        ASSERT_EQ(text_of(*tokenizer, full, skip), back) << path << ": " << texts[i];
        ASSERT_EQ(joined(parts_of(*tokenizer, full, skip)), back) << path << ": " << texts[i];
      }
    }
  }
  if (found == 0) GTEST_SKIP() << "../shared/data/tokenizers is absent";
}

// Texts separated by a line; ids a line.
TEST(SharedTokenizers, LlamaCppVectors) {
  if (absent("tokenizer_vectors")) GTEST_SKIP() << "../shared/data/tokenizer_vectors is absent";
  for (const auto& [vectors, path] : {std::pair("ggml-vocab-gpt-2.gguf", "tokenizers/gpt2_hf/vocab.json"),
                                      std::pair("ggml-vocab-qwen2.gguf", "tokenizers/qwen2.5/vocab.json")}) {
    // gpt2_hf's tokenizer.json is CodeGen's, with tokens for runs of spaces: only its vocabulary is GPT-2's.
    test::TempDir folder;
    std::filesystem::path source = std::filesystem::path(shared(path)).parent_path();
    if (std::string_view(vectors).find("qwen") == std::string_view::npos) {
      const auto json = parse_json(test::read_file(source / "tokenizer.json"), "tokenizer.json");
      ASSERT_TRUE(json.ok());
      Json plain = *json;
      plain["added_tokens"] = Json::array({plain["added_tokens"][0]});
      test::write_file(folder / "tokenizer.json", plain.dump());
      source = folder.path();
    }
    const auto tokenizer = Tokenizer::load(source);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    const std::string inputs = test::read_file(shared(std::string("tokenizer_vectors/") + vectors + ".inp"));
    std::istringstream outputs(test::read_file(shared(std::string("tokenizer_vectors/") + vectors + ".out")));
    const std::string mark = "\n__ggml_vocab_test__\n";
    std::size_t rows = 0;
    for (std::size_t at = 0; at <= inputs.size(); ++rows) {
      const std::size_t end = std::min(inputs.find(mark, at), inputs.size());
      std::string text = inputs.substr(at, end - at);
      at = end + mark.size();
      std::string line;
      if (!std::getline(outputs, line)) break;
      std::istringstream numbers(line);
      const std::vector<std::int32_t> want{std::istream_iterator<std::int32_t>(numbers), {}};
      EXPECT_EQ(ids_of(*tokenizer, text, false), want) << vectors << ": " << text;
    }
    EXPECT_GE(rows, 40u) << vectors;
  }
}

}  // namespace
}  // namespace octavo::text
