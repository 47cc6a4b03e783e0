// --temperature and its kin.
#include "cli/sampling_options.h"

#include <fmt/format.h>

#include "cli/flag_words.h"
#include "octavo/text/utf8.h"

namespace octavo::cli {

void add_sampling_options(CLI::App& command, SamplingOptions& o) {
  const std::string fallback = "; default: the model's generation_config.json, else ";
  command.add_option("--temperature", o.temperature, "0: always the most likely token" + fallback + "1")
      ->option_text("T")
      ->group("Sampling");
  command.add_option("--top-k", o.top_k, "only the K most likely tokens, 0 for all" + fallback + "0")
      ->option_text("K")
      ->group("Sampling");
  command
      .add_option("--top-p", o.top_p,
                  "only the most likely tokens whose probability together reaches P" + fallback + "1")
      ->option_text("P")
      ->group("Sampling");
  command
      .add_option("--min-p", o.min_p, "only tokens at least P times as likely as the most likely one" + fallback + "0")
      ->option_text("P")
      ->group("Sampling");
  command
      .add_option("--repetition-penalty", o.repetition_penalty,
                  "above 1: tokens of prompt and output become less likely" + fallback + "1")
      ->option_text("X")
      ->group("Sampling");
  command.add_option("--seed", o.seed, "of the random numbers (default 0); the same seed gives the same output")
      ->option_text("N")
      ->group("Sampling");
  command.add_option("--stop", o.stop, "end the output before this text; repeatable")
      ->allow_extra_args(false)
      ->option_text("TEXT")
      ->group("Output");
  command.add_flag("--ignore-eos", o.ignore_eos, "go on after end tokens")->group("Output");
}

Result<engine::SamplingParams> sampling_params(const SamplingOptions& o, const model::GenerationDefaults& defaults) {
  engine::SamplingParams out;
  const auto choose = [](auto& to, const auto& given, const auto& by_model) {
    if (given) {
      to = *given;
    } else if (by_model) {
      to = *by_model;
    }
  };
  choose(out.temperature, o.temperature, defaults.temperature);
  choose(out.top_k, o.top_k, defaults.top_k);
  choose(out.top_p, o.top_p, defaults.top_p);
  choose(out.min_p, o.min_p, defaults.min_p);
  choose(out.repetition_penalty, o.repetition_penalty, defaults.repetition_penalty);
  out.seed = o.seed;
  OCTAVO_TRY(in_flags(engine::check_sampling(out)));
  for (const std::string& stop : o.stop) {
    if (stop.empty()) return usage_error("--stop: an empty text would end the output before it begins");
    OCTAVO_TRY(check_utf8(stop, "--stop"));
  }
  return out;
}

Json sampling_json(const engine::SamplingParams& p) {
  return {{"temperature", p.temperature},
          {"top_k", p.top_k},
          {"top_p", p.top_p},
          {"min_p", p.min_p},
          {"seed", p.seed.value_or(0)},
          {"repetition_penalty", p.repetition_penalty}};
}

Status check_utf8(std::string_view text, std::string_view what) {
  const auto bad = text::invalid_utf8_offset(text);
  if (!bad) return {};
  return failure("{} is not UTF-8: byte {} is \\x{:02x}", what, *bad, static_cast<unsigned char>(text[*bad]));
}

double decode_gb_per_s(const engine::Runner& runner, const engine::GenerateResult& r) {
  if (r.decode_seconds <= 0) return 0;
  return static_cast<double>(runner.decoder->bytes_per_token() * r.decode_steps) / 1e9 / r.decode_seconds;
}

std::string rates_text(const engine::Runner& runner, const engine::GenerateResult& r) {
  std::uint64_t tokens = 0;
  for (const engine::Completion& c : r.completions) tokens += c.tokens.size();
  const std::string reused = r.reused_tokens > 0 ? fmt::format(", {} of them kept", r.reused_tokens) : "";
  return fmt::format("{} tokens in {:.2f} s, {:.1f} tok/s, {:.2f} GB/s; prompt {} tokens{}, {:.2f} s, {:.1f} tok/s",
                     tokens, r.prefill_seconds + r.decode_seconds, r.decode_rate(), decode_gb_per_s(runner, r),
                     r.prompt_tokens, reused, r.prefill_seconds, r.prefill_rate());
}

}  // namespace octavo::cli
