// Wrong ways to run a model: each ends in one sentence that says what to do.
#include <gtest/gtest.h>

#include "tests/cli/broken_inputs.h"
#include "tests/support/tiny_decoder.h"
#include "tests/support/tiny_tokenizer.h"

namespace octavo::test {
namespace {

struct Wrong {
  const char* name;
  Args args;  // @m: a model with a tokenizer; @p: without; @f: in FP8 (quantized from m)
  int exit_code;
  const char* sentence;
  std::string input = {};
};

std::vector<Wrong> wrong_runs() {
  return {
      // The command line.
      {"unknown option", {"generate", "@m", "--promt", "x"}, kUsage, "unknown option --promt; did you mean --prompt"},
      {"unknown command", {"chatt", "@m"}, kUsage, "unknown command chatt; did you mean chat"},
      {"no model", {"score"}, kUsage, "MODEL is required"},
      {"prompt and chat", {"generate", "@m", "--prompt", "x", "--chat", "y"}, kUsage, "--prompt and --chat exclude"},
      {"system without chat",
       {"generate", "@m", "--prompt", "x", "--system", "s"},
       kUsage,
       "--system goes with --chat"},
      {"template argument without chat",
       {"generate", "@m", "--prompt", "x", "--template-arg", "a=1"},
       kUsage,
       "--template-arg goes with --chat"},
      {"template argument that is no JSON",
       {"generate", "@m", "--chat", "x", "--template-arg", "a=yes"},
       kUsage,
       "the value must be JSON"},
      {"template argument without a value",
       {"generate", "@m", "--chat", "x", "--template-arg", "a"},
       kUsage,
       "--template-arg a: must be KEY=JSON"},
      {"temperature",
       {"generate", "@m", "--prompt", "x", "--temperature=-1"},
       kUsage,
       "--temperature -1: must be 0 or more"},
      {"top-p",
       {"generate", "@m", "--prompt", "x", "--top-p", "0"},
       kUsage,
       "--top-p 0: must be above 0 and at most 1"},
      {"top-k",
       {"generate", "@m", "--prompt", "x", "--top-k=-3"},
       kUsage,
       "--top-k -3: must be 1 or more, or 0 for all"},
      {"min-p", {"generate", "@m", "--prompt", "x", "--min-p", "1.5"}, kUsage, "--min-p 1.5: must be from 0 to 1"},
      {"penalty",
       {"generate", "@m", "--prompt", "x", "--repetition-penalty", "0"},
       kUsage,
       "--repetition-penalty 0: must be above 0"},
      {"a word for a number", {"generate", "@m", "--prompt", "x", "--seed", "two"}, kUsage, "--seed"},
      {"no tokens", {"generate", "@m", "--prompt", "x", "--max-tokens", "0"}, kUsage, "--max-tokens"},
      {"no continuations", {"generate", "@m", "--prompt", "x", "--n", "0"}, kUsage, "--n"},
      {"empty stop text", {"generate", "@m", "--prompt", "x", "--stop", ""}, kUsage, "--stop: an empty text"},
      {"unknown arithmetic", {"score", "@m", "--compute", "f16"}, kUsage, "--compute: f16 not in {bf16,f32}"},
      {"unknown activations", {"score", "@m", "--activations", "int8"}, kUsage, "--activations: int8 not in"},
      {"unknown head",
       {"generate", "@m", "--lm-head", "fp9"},
       kUsage,
       "--lm-head: fp9 is unknown; one of auto, fp8; did you mean fp8?"},
      {"unknown cache", {"score", "@m", "--kv-cache-dtype", "int8"}, kUsage, "--kv-cache-dtype: int8 not in"},
      {"unknown quantization",
       {"score", "@m", "--quantization", "fp8_blok"},
       kUsage,
       "--quantization fp8_blok: unknown; one of fp8, fp8_per_tensor, fp8_channel, fp8_per_channel, fp8_block, "
       "fp8_per_block; did you mean fp8_block?"},
      {"keep without quantization",
       {"score", "@m", "--keep-first", "1"},
       kUsage,
       "--keep-first goes with --quantization: without it the model runs as its folder has it"},
      {"ignore without quantization", {"generate", "@m", "--ignore", "x"}, kUsage, "--ignore goes with --quantization"},
      {"edge without quantization", {"chat", "@m", "--edge", "partial"}, kUsage, "--edge goes with --quantization"},
      {"edge without blocks",
       {"score", "@m", "--quantization", "fp8", "--edge", "channel"},
       kUsage,
       "--edge channel goes with --quantization fp8_block, not fp8"},
      // The model.
      {"quantized already",
       {"generate", "@f", "--quantization", "fp8", "--prompt", "x"},
       kFailure,
       "already quantized"},
      {"no such model", {"generate", "@d/none", "--prompt", "x"}, kFailure, "none: no such folder"},
      {"no tokenizer", {"generate", "@p", "--prompt", "x"}, kFailure, "has no tokenizer.json"},
      {"no tokenizer to chat with", {"chat", "@p"}, kFailure, "has no tokenizer.json"},
      {"context beyond the model's",
       {"generate", "@m", "--prompt", "x", "--context", "513"},
       kFailure,
       "a context of 513 tokens is asked for, but the model has 512 positions (max_position_embeddings)"},
      // The prompt.
      {"empty prompt", {"generate", "@m", "--prompt", ""}, kFailure, "--prompt is empty"},
      {"empty message", {"generate", "@m", "--chat", ""}, kFailure, "--chat is empty"},
      {"empty input", {"generate", "@m"}, kFailure, "the prompt on standard input is empty"},
      {"prompt in Latin-1",
       {"generate", "@m", "--prompt", "na\xEFve"},
       kFailure,
       "--prompt is not UTF-8: byte 2 is \\xef"},
      {"input in Latin-1",
       {"generate", "@m"},
       kFailure,
       "the prompt on standard input is not UTF-8: byte 2",
       "na\xEFve"},
      {"prompt too long",
       {"generate", "@m", "--prompt", std::string(511, 'x')},
       kFailure,
       "the prompt has 512 tokens, which leaves no room in the model's context of 512 tokens"},
      {"prompt too long for the context asked for",
       {"generate", "@m", "--prompt", "12345678", "--context", "9"},
       kFailure,
       "the prompt has 9 tokens, which leaves no room in the --context of 9 tokens"},
      // Lines of score.
      {"not JSON", {"score", "@m"}, kFailure, "standard input, line 2, column ", "{\"text\": \"a\"}\n{\"text\": }\n"},
      {"not an object", {"score", "@m"}, kFailure, "standard input, line 1: must be an object", "[1, 2]\n"},
      {"an empty line", {"score", "@m"}, kFailure, "standard input, line 2: is empty", "{\"text\": \"a\"}\n\n"},
      {"unknown key",
       {"score", "@m"},
       kFailure,
       "standard input, line 1: unknown key \"tokens_ids\" (known are text, token_ids, bos and max_tokens); did you "
       "mean token_ids?",
       "{\"tokens_ids\": [1]}\n"},
      {"text and ids",
       {"score", "@m"},
       kFailure,
       "has both \"text\" and \"token_ids\"",
       "{\"text\": \"a\", \"token_ids\": []}\n"},
      {"neither", {"score", "@m"}, kFailure, "has neither \"text\" nor \"token_ids\"", "{\"bos\": false}\n"},
      {"text that is a number",
       {"score", "@m"},
       kFailure,
       "line 1: /text: must be a string, not an integer",
       "{\"text\": 1}\n"},
      {"ids that are text", {"score", "@m"}, kFailure, "/token_ids: must be an array", "{\"token_ids\": \"1\"}\n"},
      {"half an id", {"score", "@m"}, kFailure, "/token_ids/1: must be a whole number", "{\"token_ids\": [1, 1.5]}\n"},
      {"an id too large",
       {"score", "@m"},
       kFailure,
       "line 1: /token_ids/1: token id 320 is outside the model's vocabulary of 320",
       "{\"token_ids\": [1, 320]}\n"},
      {"a negative id", {"score", "@m"}, kFailure, "/token_ids/0: token id -1 is outside", "{\"token_ids\": [-1]}\n"},
      {"bos of ids", {"score", "@m"}, kFailure, "/bos: goes with \"text\"", "{\"token_ids\": [1], \"bos\": true}\n"},
      {"bos that is a word",
       {"score", "@m"},
       kFailure,
       "/bos: must be true or false",
       "{\"text\": \"a\", \"bos\": \"no\"}\n"},
      {"max_tokens of nothing",
       {"score", "@m"},
       kFailure,
       "/max_tokens: must be a whole number of 1 or more, not 0",
       "{\"text\": \"a\", \"max_tokens\": 0}\n"},
      {"invalid UTF-8 in a line", {"score", "@m"}, kFailure, "standard input, line 1", "{\"text\": \"na\xEFve\"}\n"},
      {"a line too long",
       {"score", "@m"},
       kFailure,
       "line 2: 513 tokens are more than the context of 512; cut them with \"max_tokens\"",
       "{\"text\": \"a\"}\n{\"text\": \"" + std::string(512, 'x') + "\"}\n"},
      {"a line too long for the context asked for",
       {"score", "@m", "--context", "4"},
       kFailure,
       "5 tokens are more than the context of 4; cut them with \"max_tokens\" or raise --context",
       "{\"text\": \"abcd\"}\n"},
      {"text without a tokenizer", {"score", "@p"}, kFailure, "\"text\" needs a tokenizer", "{\"text\": \"a\"}\n"},
      // chat.
      {"message in Latin-1", {"chat", "@m", "-q"}, kFailure, "the message is not UTF-8: byte 2", "na\xEFve\n"},
      {"unknown command of chat",
       {"chat", "@m", "-q"},
       kUsage,
       "unknown command /rest (/help lists them); did you mean /reset?",
       "/rest\n"},
      {"conversation too long",
       {"chat", "@m", "-q", "--context", "20"},
       kFailure,
       "the conversation has 33 tokens, which leaves no room in the context of 20; /reset starts anew",
       std::string(30, 'x') + "\n"},
  };
}

TEST(WrongRuns, SayWhatIsWrong) {
  const TempDir dir;
  CheckpointBuilder model = tiny_decoder();
  model.write(dir / "p");
  add_tiny_tokenizer(model);
  model.write(dir / "m");
  ASSERT_EQ(run_octavo({"quantize", dir / "m", "-o", dir / "f", "-q"}).exit_code, 0);
  for (const Wrong& wrong : wrong_runs()) {
    SCOPED_TRACE(wrong.name);
    Args args = wrong.args;
    for (std::string& arg : args) {
      if (arg.starts_with("@d/")) arg = dir / arg.substr(3);
      if (arg.starts_with("@")) arg = dir / arg.substr(1);
    }
    const auto run = run_octavo(args, {}, wrong.input);
    EXPECT_EQ(run.exit_code, wrong.exit_code) << run.err;
    EXPECT_EQ(run.out, "");
    check_messages(run.err, wrong.sentence);
  }
}

}  // namespace
}  // namespace octavo::test
