// octavo score: what every token of given texts costs a model.
#include "octavo/engine/score.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iostream>

#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/score_input.h"

namespace octavo::cli {
namespace {

constexpr int kMostTop = 1000;

struct ScoreOptions {
  ModelOptions model;
  int top = 0;
  bool summary = false;
};

// A number that JSON readers take for a real one, with as many digits as tell it from its neighbours.
std::string real(float value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == text.npos) text += ".0";
  return text;
}

std::string format_line(std::span<const std::int32_t> tokens, const engine::Scores& scores) {
  std::string logprobs, ranks, top;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const char* comma = i == 0 ? "" : ",";
    logprobs += comma + (i == 0 ? std::string("null") : real(scores.logprobs[i]));
    ranks += comma + (i == 0 ? std::string("null") : fmt::format("{}", scores.ranks[i]));
    if (scores.top.empty()) continue;
    std::string list;
    for (const engine::TokenLogprob& t : scores.top[i]) {
      list += fmt::format("{}{{\"token_id\":{},\"logprob\":{},\"rank\":{}}}", list.empty() ? "" : ",", t.token,
                          real(t.logprob), t.rank);
    }
    top += comma + (i == 0 ? std::string("null") : "[" + list + "]");
  }
  std::string line =
      fmt::format("{{\"token_ids\":[{}],\"logprobs\":[{}],\"ranks\":[{}]", fmt::join(tokens, ","), logprobs, ranks);
  if (!scores.top.empty()) line += ",\"top\":[" + top + "]";
  return line + "}\n";
}

struct Totals {
  std::uint64_t scored = 0;  // tokens with a logprob: all but the first of each line
  double nll = 0;
  void add(const engine::Scores& scores) {
    for (std::size_t i = 1; i < scores.logprobs.size(); ++i) nll -= static_cast<double>(scores.logprobs[i]);
    scored += scores.logprobs.empty() ? 0 : scores.logprobs.size() - 1;
  }
  double mean() const { return nll / static_cast<double>(scored); }
};

Outcome run(const ScoreOptions& o) {
  OCTAVO_ASSIGN(engine::RunnerOptions options, runner_options(o.model));
  OCTAVO_ASSIGN(engine::RunnerFolder folder, read_model_folder(o.model, "score"));
  // All input is read first: a bad line is found before a long load, and the longest line says what context is needed.
  const std::uint64_t most = options.context != 0 ? options.context : folder.config.max_positions;
  OCTAVO_ASSIGN(const auto sequences, read_score_input(std::cin, folder, most));
  std::uint64_t longest = 1, total = 0;
  for (const auto& tokens : sequences) {
    longest = std::max<std::uint64_t>(longest, tokens.size());
    total += tokens.size();
  }
  if (options.context == 0) options.context = longest;
  options.chunk = std::min(options.chunk, total);
  // Short texts fill their cache blocks badly: twice a step's tokens is room for most steps to be full.
  options.cache_tokens = std::max(options.context, 2 * options.chunk);
  OCTAVO_ASSIGN(engine::Runner runner, load_runner(o.model, "score", std::move(folder), options));

  Totals totals;
  const auto start = std::chrono::steady_clock::now();
  const auto write = [&](std::size_t index, engine::Scores scores) -> Status {
    totals.add(scores);
    if (o.summary) return {};
    const std::string line = format_line(sequences[index], scores);
    if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() || std::fflush(stdout) != 0) {
      return failure("standard output: write failed");
    }
    return {};
  };
  OCTAVO_TRY(engine::score(runner, sequences, o.top, write));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double rate = seconds > 0 ? static_cast<double>(totals.scored) / seconds : 0;

  const bool any = totals.scored > 0;
  const Json json = {{"lines", sequences.size()},
                     {"tokens", totals.scored},
                     {"mean_nll", any ? Json(totals.mean()) : Json()},
                     {"perplexity", any ? Json(std::exp(totals.mean())) : Json()},
                     {"seconds", seconds},
                     {"tokens_per_second", rate},
                     {"load", load_json(runner)},
                     {"peak_memory_bytes", peak_memory()}};
  CommonOptions common = o.model.common;
  common.json = common.json && o.summary;
  std::string human;
  if (o.summary) {
    human = fmt::format("tokens       {}\n", totals.scored);
    if (any) human += fmt::format("mean NLL     {:.6f}\nperplexity   {:.4f}\n", totals.mean(), std::exp(totals.mean()));
    common.quiet = false;  // asked for by name
  }
  OCTAVO_TRY(print_result(common, human, json));
  if (!o.model.common.quiet) {
    fmt::print(stderr, "octavo score: {} lines, {} tokens in {:.2f} s, {:.1f} tok/s\n", sequences.size(), totals.scored,
               seconds, rate);
  }
  return 0;
}

}  // namespace

void add_score(CLI::App& app, Action& action) {
  auto options = std::make_shared<ScoreOptions>();
  ScoreOptions& o = *options;
  CLI::App* command =
      add_command(app, "score", "Log probability and rank of every token of given texts: JSON lines in, JSON lines out",
                  "echo '{\"text\": \"The sky is blue.\"}' | octavo score Qwen3-0.6B-FP8\n"
                  "Input: {\"text\": TEXT} with the specials its tokenizer adds (\"bos\": false omits them) or "
                  "{\"token_ids\": [ID, "
                  "...]};\n\"max_tokens\": N keeps the first N tokens.");
  add_model_options(*command, o.model);
  command->add_option("--top", o.top, "also the N most likely tokens at each place")
      ->check(CLI::Range(0, kMostTop))
      ->option_text("N")
      ->group("Output");
  command->add_flag("--summary", o.summary, "instead of lines: tokens, mean NLL, perplexity")->group("Output");
  add_common_options(*command, o.model.common);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
