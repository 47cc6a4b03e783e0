// Fields that mean the same on every OpenAI route.
#include "octavo/serve/openai_request.h"

#include <algorithm>

#include "octavo/base/text.h"

namespace octavo::serve {

void read_distribution(FieldReader& f, engine::SamplingParams& out) {
  f.read("temperature", out.temperature);
  f.read("top_p", out.top_p);
  f.read("top_k", out.top_k);
  f.read("min_p", out.min_p);
  f.read("frequency_penalty", out.frequency_penalty);
  f.read("presence_penalty", out.presence_penalty);
  f.read("repetition_penalty", out.repetition_penalty);
}

void read_seed(FieldReader& f, engine::SamplingParams& out) {
  const Json* seed = f.get("seed");
  if (seed == nullptr) return;
  if (seed->is_number_unsigned()) {
    out.seed = seed->get<std::uint64_t>();
  } else if (const auto number = integer_of(*seed)) {
    out.seed = static_cast<std::uint64_t>(*number);
  } else {
    f.fail("seed", "must be an integer");
  }
}

void read_common_fields(FieldReader& f, const ServedModel& model, OpenAiRequest& out) {
  engine::Request& r = out.base;
  engine::SamplingParams& s = r.sampling;
  const model::GenerationDefaults& d = model.defaults;
  s.temperature = d.temperature.value_or(s.temperature);
  s.top_p = d.top_p.value_or(s.top_p);
  s.top_k = d.top_k.value_or(s.top_k);
  s.min_p = d.min_p.value_or(s.min_p);
  s.repetition_penalty = d.repetition_penalty.value_or(s.repetition_penalty);

  f.read("model", out.model);
  f.read("request_id", out.request_id);
  f.read("stream", out.stream);
  if (const Json* options = f.get("stream_options"); options != nullptr) {
    if (!options->is_object()) {
      f.fail("stream_options", "must be an object");
    } else if (!out.stream) {
      f.fail("stream_options", "goes with \"stream\": true");
    } else {
      FieldReader inner(*options, "stream_options.");
      inner.read("include_usage", out.include_usage);
      inner.read("continuous_usage_stats", out.continuous_usage);
      inner.ignore({"include_obfuscation"});
      if (const Status status = inner.finish(); !status.ok()) f.fail("stream_options", status.error().message);
    }
  }
  f.read("n", r.n);
  read_distribution(f, s);
  read_seed(f, s);
  f.strings("stop", r.stop);
  f.tokens("stop_token_ids", s.stop_token_ids);
  f.biases("logit_bias", s.logit_bias);
  f.read("min_tokens", s.min_tokens);
  f.read("ignore_eos", r.ignore_eos);
  f.read("include_stop_str_in_output", r.include_stop_in_output);
  f.read("skip_special_tokens", r.skip_special_tokens);
  f.read("priority", r.priority);
  f.read("cache_salt", r.cache_salt);
  f.read("return_token_ids", out.return_token_ids);
  f.read("return_tokens_as_token_ids", out.tokens_as_ids);
  f.read("truncate_prompt_tokens", out.truncate_prompt_tokens);
  if (const auto keep = out.truncate_prompt_tokens; keep && (*keep == 0 || *keep < -1)) {
    f.fail("truncate_prompt_tokens", "must be 1 or more, or -1 for what the context takes");
  }
  if (std::optional<int> top; f.read("prompt_logprobs", top), top) {
    r.prompt_logprobs = engine::PromptLogprobsOptions{.start = 0, .top = *top};
    if (out.stream) f.fail("prompt_logprobs", "cannot be streamed");
  }

  constexpr std::string_view kNoBeams = "beam search is not offered; ask for n outputs";
  constexpr std::string_view kNoGrammar = "output that is forced into a form is not offered; ask for it in the prompt";
  f.refuse("use_beam_search", kNoBeams);
  f.only("length_penalty", 1, kNoBeams);
  for (const char* name : {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "structural_tag",
                           "structured_outputs", "guided_decoding_backend", "guided_whitespace_pattern"}) {
    f.refuse(name, kNoGrammar);
  }
  f.refuse("bad_words", "is not offered; use logit_bias");
  f.refuse("allowed_token_ids", "is not offered; use logit_bias");
  for (const char* name : {"logits_processors", "kv_transfer_params", "vllm_xargs", "mm_processor_kwargs",
                           "repetition_detection", "thinking_token_budget"}) {
    f.refuse(name, "is not offered");
  }
  f.refuse("max_new_tokens", "is called max_tokens here");
  f.refuse("sampling_params", "is a field of /generate; its fields stand beside the prompt here");
  // What decides nothing about the answer.
  f.ignore({"user", "metadata", "store", "service_tier", "prompt_cache_key", "prompt_cache_retention",
            "safety_identifier", "spaces_between_special_tokens", "include_reasoning"});
}

int refusal_status(const ServeContext& context) { return context.refusal() ? 503 : 400; }

std::optional<Reply> check_request(const ServeContext& context, const std::string& model) {
  if (const auto why = context.refusal()) return Reply::error(503, *why);
  const std::vector<std::string>& names = context.model.names;
  if (model.empty() || std::find(names.begin(), names.end(), model) != names.end()) return std::nullopt;
  const std::string hint = fmt::format("; this server has {}", names.front());
  return Reply::error(404, fmt::format("The model `{}` does not exist{}", printable(model), hint), "model");
}

void truncate_prompt(const ServeContext& context, const OpenAiRequest& request, std::vector<std::int32_t>& tokens) {
  if (!request.truncate_prompt_tokens) return;
  const std::uint64_t context_tokens = context.engine.engine().max_model_len();
  const std::uint64_t keep = *request.truncate_prompt_tokens == -1
                                 ? context_tokens - 1
                                 : static_cast<std::uint64_t>(*request.truncate_prompt_tokens);
  if (tokens.size() > keep) tokens.erase(tokens.begin(), tokens.end() - static_cast<std::ptrdiff_t>(keep));
}

Result<std::vector<std::int32_t>> encode_prompt(const ServeContext& context, std::string_view text,
                                                const OpenAiRequest& request) {
  if (!context.model.tokenizer) return failure("the model has no tokenizer: give the prompt as token ids");
  OCTAVO_ASSIGN(std::vector<std::int32_t> tokens,
                context.model.tokenizer->encode(text, {.add_special = request.add_special_tokens}));
  truncate_prompt(context, request, tokens);
  return tokens;
}

}  // namespace octavo::serve
