// generate and score as a user runs them, on a small random model with a tokenizer of bytes.
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "octavo/base/json.h"
#include "octavo/base/text.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"
#include "tests/support/tiny_tokenizer.h"

namespace octavo::test {
namespace {

using Args = std::vector<std::string>;

class RunModel : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = std::make_unique<TempDir>();
    CheckpointBuilder model = tiny_decoder();
    add_tiny_tokenizer(model);
    model.write(*dir_ / "m");
  }
  static void TearDownTestSuite() { dir_.reset(); }
  static std::string folder() { return *dir_ / "m"; }

  static CommandResult octavo(const std::string& command, Args more, const std::string& input = "") {
    more.insert(more.begin(), {command, folder()});
    return run_octavo(more, {}, input);
  }
  static Json object(const CommandResult& run) {
    EXPECT_EQ(run.exit_code, 0) << run.err;
    const auto json = parse_json(run.out, "output");
    EXPECT_TRUE(json.ok()) << run.out;
    return json.ok() ? *json : Json::object();
  }
  static std::vector<Json> lines(const std::string& text) {
    std::vector<Json> out;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
      const auto json = parse_json(line, "output");
      EXPECT_TRUE(json.ok()) << line;
      if (json.ok()) out.push_back(*json);
    }
    return out;
  }

  static std::unique_ptr<TempDir> dir_;
};
std::unique_ptr<TempDir> RunModel::dir_;

TEST_F(RunModel, GenerateStreamsTextAndSaysHow) {
  const auto run = octavo("generate", {"--prompt", "Once upon", "--max-tokens", "40"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_TRUE(is_valid_utf8(run.out));
  EXPECT_NE(run.err.find("octavo generate: BF16; activations BF16; compute bf16; KV cache bf16; cpu"),
            std::string::npos)
      << run.err;
  EXPECT_NE(run.err.find("of weights in memory (BF16 "), std::string::npos) << run.err;
  EXPECT_NE(run.err.find(" tok/s, "), std::string::npos) << run.err;
  const auto quiet = octavo("generate", {"--prompt", "Once upon", "--max-tokens", "40", "-q"});
  EXPECT_EQ(quiet.out, run.out) << "the same seed, the same text";
  EXPECT_EQ(quiet.err, "");
  const auto json = object(octavo("generate", {"--prompt", "Once upon", "--max-tokens", "40", "--json"}));
  EXPECT_EQ(json["completions"][0]["text"].get<std::string>() + "\n", run.out);
  EXPECT_EQ(json["completions"][0]["token_ids"].size(), 40u);
  EXPECT_EQ(json["completions"][0]["finish_reason"], "length");
  EXPECT_EQ(json["prompt_token_ids"][0], TinyTokenizer::kBos);
  EXPECT_EQ(json["prompt_token_ids"].size(), 10u);
  const auto other = octavo("generate", {"--prompt", "Once upon", "--max-tokens", "40", "-q", "--seed", "1"});
  EXPECT_NE(other.out, run.out);
}

TEST_F(RunModel, GenerateFromStandardInput) {
  const auto given = octavo("generate", {"--prompt", "Hi\n the", "--max-tokens", "9", "-q"});
  const auto piped = octavo("generate", {"--max-tokens", "9", "-q"}, "Hi\n the");
  EXPECT_EQ(piped.exit_code, 0) << piped.err;
  EXPECT_EQ(piped.out, given.out);
}

TEST_F(RunModel, GenerateThroughTheChatTemplate) {
  const auto prompt = [&](Args args) {
    args.insert(args.end(), {"--max-tokens", "1", "--json"});
    return object(octavo("generate", args))["prompt_token_ids"].get<std::vector<std::int32_t>>();
  };
  using T = TinyTokenizer;
  EXPECT_EQ(prompt({"--chat", "Hi"}), (std::vector<std::int32_t>{T::kBos, T::kUser, 'H', 'i', T::kAssistant}));
  EXPECT_EQ(prompt({"--chat", "Hi", "--system", "S", "--template-arg", "shout=true"}),
            (std::vector<std::int32_t>{T::kBos, T::kSystem, 'S', T::kUser, 'H', 'i', '!', T::kAssistant}));
}

TEST_F(RunModel, GenerateManyContinuations) {
  const Args args = {"--prompt", "A longer prompt, of more than sixteen tokens", "--max-tokens", "12", "--json"};
  const auto with_n = [&](const std::string& n) {
    Args more = args;
    more.insert(more.end(), {"--n", n});
    return object(octavo("generate", more))["completions"];
  };
  const Json three = with_n("3"), one = with_n("1");
  ASSERT_EQ(three.size(), 3u);
  EXPECT_EQ(three[0]["token_ids"], one[0]["token_ids"]);
  EXPECT_NE(three[1]["token_ids"], three[0]["token_ids"]);
  EXPECT_EQ(three[2]["index"], 2);
  const auto text = octavo("generate", {"--prompt", "x", "--max-tokens", "5", "--n", "2", "-q"});
  EXPECT_TRUE(text.out.starts_with("=== 0 (length)\n")) << text.out;
  EXPECT_NE(text.out.find("\n=== 1 (length)\n"), std::string::npos) << text.out;
}

TEST_F(RunModel, LogprobsAreThoseOfScore) {
  const auto json = object(
      octavo("generate", {"--prompt", "Once", "--max-tokens", "20", "--ignore-eos", "--logprobs", "2", "--json"}));
  const Json& c = json["completions"][0];
  Json ids = json["prompt_token_ids"];
  for (const Json& id : c["token_ids"]) ids.push_back(id);
  const auto scored = octavo("score", {"--top", "2"}, Json({{"token_ids", ids}}).dump() + "\n");
  EXPECT_EQ(scored.exit_code, 0) << scored.err;
  const Json line = lines(scored.out).at(0);
  const std::size_t prompt = json["prompt_token_ids"].size();
  ASSERT_EQ(c["logprobs"].size(), 20u);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(c["logprobs"][i]["token_id"], c["token_ids"][i]);
    EXPECT_EQ(c["logprobs"][i]["logprob"].get<float>(), line["logprobs"][prompt + i].get<float>());
    EXPECT_EQ(c["logprobs"][i]["rank"], line["ranks"][prompt + i]);
    ASSERT_EQ(c["logprobs"][i]["top"].size(), 2u);
    EXPECT_EQ(c["logprobs"][i]["top"][1]["token_id"], line["top"][prompt + i][1]["token_id"]);
  }
  // Without a number, and as text.
  const auto plain = object(octavo("generate", {"--prompt", "x", "--max-tokens", "2", "--json", "--logprobs"}));
  EXPECT_EQ(plain["completions"][0]["logprobs"].size(), 2u);
  EXPECT_FALSE(plain["completions"][0]["logprobs"][0].contains("top"));
  EXPECT_FALSE(object(octavo("generate", {"--prompt", "x", "--max-tokens", "2", "--json"}))["completions"][0].contains(
      "logprobs"));
  const auto text = octavo("generate", {"--prompt", "x", "--max-tokens", "2", "-q", "--logprobs=1"});
  EXPECT_NE(text.out.find("rank 1"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("of: \""), std::string::npos) << text.out;
}

TEST_F(RunModel, SamplingDefaultsComeFromTheModel) {
  const TempDir dir;
  CheckpointBuilder model = tiny_decoder();
  add_tiny_tokenizer(model);
  model.add_file("generation_config.json",
                 R"({"do_sample": false, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "eos_token_id": 5})");
  const std::string folder = model.write(dir / "m");
  const auto sampling = [&](Args args) {
    args.insert(args.begin(), {"generate", folder, "--prompt", "x", "--max-tokens", "1", "--json"});
    return object(run_octavo(args))["sampling"];
  };
  EXPECT_EQ(sampling({}), Json({{"temperature", 0.6},
                                {"top_k", 20},
                                {"top_p", 0.95},
                                {"min_p", 0.0},
                                {"seed", 0},
                                {"repetition_penalty", 1.0}}));
  EXPECT_EQ(sampling({"--temperature", "0", "--top-k", "0"})["temperature"], 0);
  EXPECT_EQ(sampling({"--temperature", "0", "--top-k", "0"})["top_k"], 0);
}

TEST_F(RunModel, StopAndContext) {
  const auto whole = object(octavo("generate", {"--prompt", "x", "--max-tokens", "60", "--ignore-eos", "--json"}));
  const std::string text = whole["completions"][0]["text"];
  std::size_t at = 10;  // a stop text from the middle
  while ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
  std::size_t end = at + 3;
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
  const std::string stop = text.substr(at, end - at);
  if (stop.find('\0') == stop.npos) {
    const auto stopped =
        object(octavo("generate", {"--prompt", "x", "--max-tokens", "60", "--ignore-eos", "--json", "--stop=" + stop}));
    EXPECT_EQ(stopped["completions"][0]["text"], text.substr(0, text.find(stop)));
    EXPECT_EQ(stopped["completions"][0]["finish_reason"], "stop");
  }
  const auto cut =
      object(octavo("generate", {"--prompt", "x", "--max-tokens", "60", "--context", "12", "--json", "--ignore-eos"}));
  EXPECT_EQ(cut["completions"][0]["token_ids"].size(), 10u);  // and BOS, and x
  EXPECT_EQ(cut["load"]["context"], 12);
}

TEST_F(RunModel, ScoreLinesInOrder) {
  const std::string input =
      "{\"text\": \"Once upon the time\"}\n{\"token_ids\": []}\n{\"text\": \"ab\", \"bos\": false}\n"
      "{\"token_ids\": [7, 300, 9]}\n{\"text\": \"Once upon\", \"max_tokens\": 3}\n{\"text\": \"\"}\n";
  const auto run = octavo("score", {}, input);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  const auto out = lines(run.out);
  ASSERT_EQ(out.size(), 6u);
  EXPECT_EQ(out[0]["token_ids"][0], TinyTokenizer::kBos);
  EXPECT_EQ(out[0]["token_ids"].back(), 'e');
  EXPECT_EQ(out[1], Json::parse(R"({"token_ids": [], "logprobs": [], "ranks": []})"));
  EXPECT_EQ(out[2]["token_ids"], Json({'a', 'b'}));
  EXPECT_EQ(out[3]["token_ids"], Json({7, 300, 9}));
  EXPECT_EQ(out[4]["token_ids"], Json({TinyTokenizer::kBos, 'O', 'n'}));
  EXPECT_EQ(out[5]["token_ids"], Json::array({TinyTokenizer::kBos}));
  EXPECT_EQ(out[5]["logprobs"], Json::array({nullptr}));
  for (const Json& line : out) {
    ASSERT_EQ(line["logprobs"].size(), line["token_ids"].size());
    ASSERT_EQ(line["ranks"].size(), line["token_ids"].size());
    for (std::size_t i = 0; i < line["logprobs"].size(); ++i) {
      EXPECT_EQ(line["logprobs"][i].is_null(), i == 0);
      EXPECT_EQ(line["ranks"][i].is_null(), i == 0);
      if (i == 0) continue;
      EXPECT_TRUE(line["logprobs"][i].is_number_float());
      EXPECT_LE(line["logprobs"][i], 0);
      EXPECT_GE(line["ranks"][i], 1);
    }
    EXPECT_FALSE(line.contains("top"));
  }
  // The same lines alone, other thread counts: the same bytes.
  std::istringstream in(input);
  std::string alone;
  for (std::string line; std::getline(in, line);) alone += octavo("score", {"--threads", "1", "-q"}, line).out;
  EXPECT_EQ(run.out, alone);
  EXPECT_EQ(octavo("score", {"--threads", "3", "-q"}, input).out, alone);
}

TEST_F(RunModel, ScoreSummary) {
  const std::string input = "{\"text\": \"Once upon the time\"}\n{\"text\": \"another one\"}\n{\"token_ids\": [3]}\n";
  double nll = 0;
  std::uint64_t tokens = 0;
  for (const Json& line : lines(octavo("score", {"-q"}, input).out)) {
    for (std::size_t i = 1; i < line["logprobs"].size(); ++i, ++tokens) nll -= line["logprobs"][i].get<float>();
  }
  const Json json = object(octavo("score", {"--summary", "--json"}, input));
  EXPECT_EQ(json["lines"], 3);
  EXPECT_EQ(json["tokens"], tokens);
  EXPECT_NEAR(json["mean_nll"].get<double>(), nll / static_cast<double>(tokens), 1e-9);
  EXPECT_NEAR(json["perplexity"].get<double>(), std::exp(nll / static_cast<double>(tokens)), 1e-6);
  const auto text = octavo("score", {"--summary", "-q"}, input);
  EXPECT_TRUE(text.out.starts_with("tokens       " + std::to_string(tokens) + "\nmean NLL     ")) << text.out;
  EXPECT_EQ(text.err, "");
  // Nothing to average.
  EXPECT_TRUE(object(octavo("score", {"--summary", "--json"}, "{\"token_ids\": [3]}\n"))["perplexity"].is_null());
  EXPECT_EQ(octavo("score", {"-q"}, "").out, "");
  // Lines on standard output, the summary in a file.
  const std::string file = *dir_ / "summary.json";
  EXPECT_EQ(lines(octavo("score", {"-q", "--json-file", file}, input).out).size(), 3u);
  EXPECT_EQ(parse_json(read_file(file), file)->at("tokens"), tokens);
}

TEST_F(RunModel, AnFp8HeadIsAskedForAndSaid) {
  const std::string input = "{\"text\": \"Once upon the time\"}\n";
  constexpr const char* kSaid = "; lm_head F8_E4M3 per channel (--lm-head fp8: faster, less exact)";
  const auto stored = octavo("score", {}, input);
  EXPECT_EQ(stored.err.find("lm_head"), std::string::npos) << stored.err;
  EXPECT_EQ(octavo("score", {"--lm-head", "auto", "-q"}, input).out, stored.out);
  const auto head = octavo("score", {"--lm-head", "fp8"}, input);
  EXPECT_EQ(head.exit_code, 0) << head.err;
  EXPECT_NE(head.out, stored.out);
  EXPECT_NE(head.err.find(std::string("BF16") + kSaid), std::string::npos) << head.err;
  EXPECT_NE(head.err.find("(W8A16: no FP8 units here; --activations fp8 runs W8A8)"), std::string::npos) << head.err;
  const auto both = octavo("score", {"--lm-head", "fp8", "--quantization", "fp8_block", "--activations", "fp8"}, input);
  EXPECT_NE(both.err.find(kSaid), std::string::npos) << both.err;
  EXPECT_NE(both.err.find("activations E4M3 per group of 128, lm_head's E4M3 per token (W8A8)"), std::string::npos)
      << both.err;
  const Json load = object(octavo("score", {"--summary", "--json", "--lm-head", "fp8"}, input))["load"];
  EXPECT_EQ(load["fp8_head_bytes"], load["resident"]["F8_E4M3"]);
  // Of a tied model a copy, whose bytes are said.
  test::tiny_decoder({.tied = true}).write(*dir_ / "tied");
  const auto tied = run_octavo({"score", *dir_ / "tied", "--lm-head", "fp8"}, {}, "{\"token_ids\": [3, 4]}\n");
  EXPECT_NE(tied.err.find(std::string(kSaid) + ", a copy of 42.2 kB beside the tied embedding"), std::string::npos)
      << tied.err;
}

TEST_F(RunModel, OnlineQuantizationIsTheQuantizedFolder) {
  const std::string input = "{\"text\": \"Once upon the time\"}\n{\"text\": \"in a house of glass, the\"}\n";
  const std::string out = *dir_ / "fp8";
  ASSERT_EQ(run_octavo({"quantize", folder(), "-o", out, "--scheme", "block", "--keep-first", "1", "-q"}).exit_code, 0);
  for (const char* activations : {"bf16", "fp8"}) {
    const auto offline = run_octavo({"score", out, "-q", "--activations", activations}, {}, input);
    const auto online = octavo(
        "score", {"--quantization", "fp8_block", "--keep-first", "1", "-q", "--activations", activations}, input);
    EXPECT_EQ(offline.exit_code, 0) << offline.err;
    EXPECT_EQ(online.out, offline.out) << online.err;
    EXPECT_NE(online.out, octavo("score", {"-q"}, input).out);
  }
  // The precision, said in a line; W8A16 is what a CPU does unless asked.
  EXPECT_NE(run_octavo({"score", out}, {}, input)
                .err.find("activations BF16 (W8A16: no FP8 units here; --activations fp8 runs W8A8)"),
            std::string::npos);
  EXPECT_NE(run_octavo({"score", out, "--activations", "fp8"}, {}, input).err.find("(W8A8)"), std::string::npos);
  const Json load = object(run_octavo({"score", out, "--summary", "--json"}, {}, input))["load"];
  EXPECT_GT(load["resident"]["F8_E4M3"], 0);
  EXPECT_GT(load["resident"]["BF16"], 0);
  // Modules that blocks do not fit are named.
  const auto edge = octavo("score", {"--quantization", "fp8_block", "--edge", "channel"}, input);
  EXPECT_EQ(edge.exit_code, 0) << edge.err;
  EXPECT_NE(edge.err.find("per channel: model.layers.1.mlp.down_proj (does not fit whole blocks)"), std::string::npos)
      << edge.err;
}

}  // namespace
}  // namespace octavo::test
