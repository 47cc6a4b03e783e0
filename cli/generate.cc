// octavo generate: one prompt, one or more continuations, streamed.
#include "octavo/engine/generate.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "cli/command.h"
#include "cli/flag_words.h"
#include "cli/model_options.h"
#include "cli/sampling_options.h"
#include "octavo/base/text.h"
#include "octavo/engine/chat_prompt.h"

namespace octavo::cli {
namespace {

constexpr std::uint64_t kMaxTokens = 512;
constexpr std::uint64_t kMostTokens = 1ull << 32;
constexpr std::uint64_t kMostContinuations = 1024;
constexpr int kMostLogprobs = 1000;

struct GenerateOptions {
  ModelOptions model;
  SamplingOptions sampling;
  std::optional<std::string> prompt, chat, system;
  std::vector<std::string> template_arguments;
  std::uint64_t max_tokens = kMaxTokens, n = 1;
  std::vector<int> logprobs;   // at most one
  bool with_logprobs = false;  // --logprobs stands there, with or without N
  int top() const { return !with_logprobs ? -1 : logprobs.empty() ? 0 : logprobs.front(); }
};

Result<std::string> read_stdin() {
  if (isatty(STDIN_FILENO) != 0) fmt::print(stderr, "octavo generate: type the prompt, end it with Ctrl-D\n");
  std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  if (std::cin.bad()) return failure("standard input: read failed");
  return text;
}

Status check(const GenerateOptions& o) {
  if (o.prompt && o.chat) return usage_error("--prompt and --chat exclude each other: one is raw text, one a message");
  if (o.system && !o.chat) return usage_error("--system goes with --chat: a raw prompt has no system message");
  if (!o.template_arguments.empty() && !o.chat) return usage_error("--template-arg goes with --chat");
  if (o.system) OCTAVO_TRY(check_utf8(*o.system, "--system"));
  return {};
}

// The prompt's tokens: raw text with the specials its tokenizer adds, or a message in the model's chat template, whose
// text has them already.
Result<std::vector<std::int32_t>> encode_prompt(const GenerateOptions& o, const engine::RunnerFolder& folder) {
  if (!folder.tokenizer) return failure("{}: has no tokenizer.json", o.model.model);
  std::string text;
  if (o.prompt || o.chat) {
    text = o.prompt ? *o.prompt : *o.chat;
  } else {
    OCTAVO_ASSIGN(text, read_stdin());
  }
  const char* what = o.prompt ? "--prompt" : o.chat ? "--chat" : "the prompt on standard input";
  if (text.empty()) return failure("{} is empty: a model needs text to go on from", what);
  OCTAVO_TRY(check_utf8(text, what));
  if (!o.chat) return folder.tokenizer->encode(text, {.add_special = true});
  std::vector<engine::ChatMessage> messages;
  if (o.system) messages.push_back({"system", *o.system});
  messages.push_back({"user", text});
  OCTAVO_ASSIGN(const Json arguments, engine::parse_template_arguments(o.template_arguments));
  OCTAVO_ASSIGN(const engine::ChatPrompt chat, engine::ChatPrompt::load(folder.checkpoint.dir()));
  return chat.encode(*folder.tokenizer, messages, arguments);
}

Json logprob_json(const engine::TokenLogprob& t, const text::Tokenizer& tokenizer) {
  const auto text = tokenizer.decode(std::span(&t.token, 1), /*skip_special=*/false);
  return {{"token_id", t.token}, {"text", text.ok() ? *text : ""}, {"logprob", t.logprob}, {"rank", t.rank}};
}

Json completion_json(std::size_t index, const engine::Completion& c, const text::Tokenizer& tokenizer, int top) {
  Json out = {{"index", index}, {"text", c.text}, {"token_ids", c.tokens}, {"finish_reason", finish_name(c.finish)}};
  if (top < 0) return out;
  Json logprobs = Json::array();
  for (const engine::Sample& s : c.samples) {
    Json entry = logprob_json(s.chosen, tokenizer);
    if (top > 0) {
      Json list = Json::array();
      for (const engine::TokenLogprob& t : s.top) list.push_back(logprob_json(t, tokenizer));
      entry["top"] = std::move(list);
    }
    logprobs.push_back(std::move(entry));
  }
  out["logprobs"] = std::move(logprobs);
  return out;
}

// One line a token: logprob, rank, text; the alternatives behind it.
std::string logprobs_text(const engine::Completion& c, const text::Tokenizer& tokenizer) {
  const auto quoted = [&](std::int32_t token) {
    const auto text = tokenizer.decode(std::span(&token, 1), /*skip_special=*/false);
    return fmt::format("\"{}\"", printable(text.ok() ? *text : ""));
  };
  std::string out;
  for (const engine::Sample& s : c.samples) {
    out += fmt::format("{:10.5f}  rank {:<6} {}", s.chosen.logprob, s.chosen.rank, quoted(s.chosen.token));
    for (std::size_t i = 0; i < s.top.size(); ++i) {
      out += fmt::format("{}{} {:.5f}", i == 0 ? "   of: " : ", ", quoted(s.top[i].token), s.top[i].logprob);
    }
    out += '\n';
  }
  return out;
}

Json result_json(const GenerateOptions& o, const engine::Runner& runner, const engine::GenerateRequest& request,
                 const engine::GenerateResult& r) {
  Json completions = Json::array();
  for (std::size_t i = 0; i < r.completions.size(); ++i) {
    completions.push_back(completion_json(i, r.completions[i], *runner.tokenizer, o.top()));
  }
  return {{"model", o.model.model},
          {"completions", std::move(completions)},
          {"prompt_token_ids", request.prompt},
          {"sampling", sampling_json(request.sampling)},
          {"load", load_json(runner)},
          {"prefill_seconds", r.prefill_seconds},
          {"prefill_tokens_per_second", r.prefill_rate()},
          {"decode_seconds", r.decode_seconds},
          {"decode_tokens_per_second", r.decode_rate()},
          {"decode_gb_per_second", decode_gb_per_s(runner, r)},
          {"peak_memory_bytes", peak_memory()}};
}

Outcome run(const GenerateOptions& o) {
  OCTAVO_TRY(check(o));
  OCTAVO_ASSIGN(engine::RunnerOptions options, runner_options(o.model));
  OCTAVO_ASSIGN(engine::RunnerFolder folder, read_model_folder(o.model, "generate"));
  engine::GenerateRequest request;
  OCTAVO_ASSIGN(request.sampling, sampling_params(o.sampling, folder.defaults));
  OCTAVO_ASSIGN(request.prompt, encode_prompt(o, folder));
  request.stop = o.sampling.stop;
  request.ignore_eos = o.sampling.ignore_eos;
  request.n = o.n;
  request.logprobs = o.top();
  request.max_tokens = o.max_tokens;

  // No more context than can be used: what the prompt and the output need.
  const std::uint64_t length = request.prompt.size() + o.max_tokens;
  if (options.context == 0) options.context = std::min(length, folder.config.max_positions);
  if (request.prompt.size() >= options.context) {
    return failure("the prompt has {} tokens, which leaves no room in {} of {} tokens", request.prompt.size(),
                   o.model.context != 0 ? "the --context" : "the model's context", options.context);
  }
  options.chunk = std::min<std::uint64_t>(options.chunk, request.prompt.size());
  options.sequences = o.n;
  options.cache_tokens = engine::cache_tokens(request.prompt.size(), std::min(length, options.context), o.n);
  OCTAVO_ASSIGN(engine::Runner runner, load_runner(o.model, "generate", std::move(folder), options));

  const bool text = !o.model.common.json;
  const bool stream = text && o.n == 1;
  OCTAVO_ASSIGN(const engine::GenerateResult result,
                in_flags(engine::generate(runner, request, [&](std::uint64_t, std::string_view piece) {
                  if (!stream) return;
                  std::fwrite(piece.data(), 1, piece.size(), stdout);
                  std::fflush(stdout);
                })));
  std::string human = stream ? "\n" : "";
  for (std::size_t i = 0; i < result.completions.size(); ++i) {
    const engine::Completion& c = result.completions[i];
    if (!stream) human += fmt::format("=== {} ({})\n{}\n", i, finish_name(c.finish), c.text);
    if (o.with_logprobs) human += logprobs_text(c, *runner.tokenizer);
  }
  // The text is what was asked for: --quiet silences what stands beside it.
  CommonOptions common = o.model.common;
  common.quiet = false;
  OCTAVO_TRY(print_result(common, human, result_json(o, runner, request, result)));
  if (!o.model.common.quiet && text) {
    const engine::FinishReason finish = result.completions.front().finish;
    const std::string end = o.n > 1 ? "" : fmt::format("; ended by {}", finish_name(finish));
    fmt::print(stderr, "octavo generate: {}{}\n", rates_text(runner, result), end);
  }
  return 0;
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  auto options = std::make_shared<GenerateOptions>();
  GenerateOptions& o = *options;
  CLI::App* command = add_command(app, "generate", "Continue a text, or answer a message",
                                  "octavo generate Qwen3-0.6B-FP8 --chat \"Why is the sky blue?\"");
  add_model_options(*command, o.model);
  command
      ->add_option("--prompt", o.prompt,
                   "text to continue, with the specials its tokenizer adds; without --prompt "
                   "and --chat: all of standard input")
      ->option_text("TEXT")
      ->group("Input");
  command->add_option("--chat", o.chat, "message to answer, through the model's chat template")
      ->option_text("TEXT")
      ->group("Input");
  command->add_option("--system", o.system, "system message before --chat")->option_text("TEXT")->group("Input");
  command
      ->add_option("--template-arg", o.template_arguments,
                   "variable of the chat template, such as enable_thinking=false; repeatable")
      ->allow_extra_args(false)
      ->option_text("KEY=JSON")
      ->group("Input");
  command->add_option("--max-tokens", o.max_tokens, fmt::format("longest output (default {})", kMaxTokens))
      ->check(CLI::Range(std::uint64_t{1}, kMostTokens))
      ->option_text("N")
      ->group("Output");
  command->add_option("--n", o.n, "continuations, each with random numbers of its own (default 1)")
      ->check(CLI::Range(std::uint64_t{1}, kMostContinuations))
      ->option_text("N")
      ->group("Output");
  add_sampling_options(*command, o.sampling);
  const CLI::Option* logprobs =
      command
          ->add_option("--logprobs", o.logprobs, "log probability and rank of each token, and the N most likely ones")
          ->expected(0, 1)
          ->check(CLI::Range(0, kMostLogprobs))
          ->option_text("[N]")
          ->group("Output");
  add_common_options(*command, o.model.common);
  command->callback([options, logprobs, &action] {
    options->with_logprobs = logprobs->count() > 0;
    action = [options] { return run(*options); };
  });
}

}  // namespace octavo::cli
