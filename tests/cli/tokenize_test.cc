// octavo tokenize and detokenize as a user runs them.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

const std::string kModel = std::string(OCTAVO_SOURCE_DIR) + "/tests/data/tokenizer/bpe_bytes.model";

TEST(Tokenize, LinesInLinesOut) {
  const auto ids =
      test::run_octavo({"tokenize", kModel, "--json"}, {},
                       "{\"text\": \"Hello world\"}\n{\"text\": \"\"}\n{\"text\": \"a\\u2028b\", \"x\": 1}\n");
  EXPECT_EQ(ids.exit_code, 0) << ids.err;
  EXPECT_EQ(ids.err, "");
  // What was printed is what detokenize reads; BOS is no text in a bare SentencePiece model.
  const auto texts = test::run_octavo({"detokenize", kModel, "--json"}, {}, ids.out);
  EXPECT_EQ(texts.exit_code, 0) << texts.err;
  EXPECT_EQ(texts.out, "{\"text\":\"Hello world\"}\n{\"text\":\"\"}\n{\"text\":\"a\\u2028b\"}\n");
  EXPECT_NE(ids.out.find("\n{\"ids\":[1]}\n"), std::string::npos) << ids.out;
  const auto plain = test::run_octavo({"tokenize", kModel, "--json", "--no-special"}, {}, "{\"text\": \"\"}");
  EXPECT_EQ(plain.out, "{\"ids\":[]}\n");
}

TEST(Tokenize, ForPeople) {
  const auto tokens = test::run_octavo({"tokenize", kModel, "--no-special", "<|im_start|>", "\n"});
  EXPECT_EQ(tokens.exit_code, 0) << tokens.err;
  EXPECT_NE(tokens.out.find("  <|im_start|>\n"), std::string::npos) << tokens.out;
  EXPECT_NE(tokens.out.find("  <0x0A>\n\n"), std::string::npos) << tokens.out;
  const auto lines = test::run_octavo({"tokenize", kModel, "--no-special"}, {}, "<|im_start|>\n\n");
  EXPECT_EQ(std::count(lines.out.begin(), lines.out.end(), '\n'), 4) << lines.out;
  const auto text = test::run_octavo({"detokenize", kModel, "75,", "76 0x"});
  EXPECT_EQ(text.exit_code, 1);
  EXPECT_EQ(text.err, "octavo detokenize: \"0x\" is no token id\n");
}

TEST(Tokenize, SkipSpecial) {
  const test::TempDir folder;
  test::write_file(folder / "tokenizer.json",
                   R"({"added_tokens": [{"id": 2, "content": "<end>", "special": true}], "decoder": {"type": "Fuse"},
                       "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})");
  const std::string path = folder.path().string(), ids = "{\"ids\": [0, 1, 2]}\n";
  EXPECT_EQ(test::run_octavo({"detokenize", path, "--json"}, {}, ids).out, "{\"text\":\"ab<end>\"}\n");
  EXPECT_EQ(test::run_octavo({"detokenize", path, "--json", "--skip-special"}, {}, ids).out, "{\"text\":\"ab\"}\n");
  EXPECT_EQ(test::run_octavo({"tokenize", path, "--json", "--no-special"}, {}, "{\"text\":\"b<end>\"}").out,
            "{\"ids\":[1,2]}\n");
}

TEST(Tokenize, BadLines) {
  const struct {
    std::string command, input, says;
  } rows[] = {
      {"tokenize", "{\"text\": \"a\"}\n[1]\n", "line 2: must be an object {\"text\": ...}, not a list"},
      {"tokenize", "{\"text\": 1}\n", "line 1: \"text\" must be a string, not an integer"},
      {"tokenize", "{\"txt\": \"a\"}\n", "line 1: the object has no \"text\""},
      {"tokenize", "{\"text\": \"a\"}\n\n", "line 2: "},
      {"tokenize", "{\"text\": \"\xFF\"}\n", "line 1: "},
      {"tokenize", "{\"text\": \"\\ud800\"}\n", "line 1: "},
      {"detokenize", "{\"ids\": 1}\n", "line 1: \"ids\" must be a list, not an integer"},
      {"detokenize", "{\"ids\": [1, -1]}\n", "line 1: \"ids\" holds -1, which is no token id"},
      {"detokenize", "{\"ids\": [1.5]}\n", "\"ids\" holds 1.5"},
      {"detokenize", "{\"ids\": [1]}\n{\"ids\": [99999999999]}\n", "line 2: \"ids\" holds 99999999999"},
      {"detokenize", "{\"ids\": [1, 99999]}\n", "line 1: id 99999 at position 1 has no token"},
  };
  for (const auto& row : rows) {
    const auto result = test::run_octavo({row.command, kModel, "--json"}, {}, row.input);
    EXPECT_EQ(result.exit_code, 1) << row.input;
    EXPECT_NE(result.err.find("standard input, line "), std::string::npos) << result.err;
    EXPECT_NE(result.err.find(row.says), std::string::npos) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    // What came before the bad line was answered.
    const bool second = row.says.starts_with("line 2");
    EXPECT_EQ(std::count(result.out.begin(), result.out.end(), '\n'), second ? 1 : 0) << row.input;
  }
  EXPECT_EQ(test::run_octavo({"tokenize", kModel, "--json", "text"}).exit_code, 2);
  EXPECT_EQ(test::run_octavo({"tokenize"}).exit_code, 2);
  const auto absent = test::run_octavo({"tokenize", "/nonexistent/model", "a"});
  EXPECT_EQ(absent.exit_code, 1);
  EXPECT_NE(absent.err.find("/nonexistent/model"), std::string::npos) << absent.err;
}

}  // namespace
}  // namespace octavo
