// Options of sampling, and where their defaults come from: shared by `generate` and `chat`.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/engine/generate.h"

namespace octavo::cli {

struct SamplingOptions {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<std::int64_t> top_k;
  std::uint64_t seed = 0;
  std::vector<std::string> stop;
  bool ignore_eos = false;
};
void add_sampling_options(CLI::App& command, SamplingOptions& options);

// What was given; else what the model's generation_config.json says, as vLLM does (do_sample is not looked at); else
// vLLM's defaults.
Result<engine::SamplingParams> sampling_params(const SamplingOptions& options,
                                               const model::GenerationDefaults& defaults);
Json sampling_json(const engine::SamplingParams& params);

// Text of the user (an option, a line): a failure naming the first byte that is not UTF-8.
Status check_utf8(std::string_view text, std::string_view what);

// Rates of a finished run: "12 tokens in 0.51 s, 23.5 tok/s, 12.9 GB/s; prompt 5 tokens, 240.1 tok/s".
std::string rates_text(const engine::Runner& runner, const engine::GenerateResult& result);
// Bytes of weights and seconds of decode: GB/s; 0 without a decode step.
double decode_gb_per_s(const engine::Runner& runner, const engine::GenerateResult& result);

}  // namespace octavo::cli
