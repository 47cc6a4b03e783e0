// Fields of SamplingParams.
#include "octavo/capi/sampling.h"

#include "octavo/capi/option_reader.h"
#include "octavo/serve/openai_request.h"

namespace octavo::capi {
namespace {

constexpr std::uint64_t kDefaultMaxTokens = 16;  // vLLM's

void refuse_what_is_not_offered(FieldReader& f) {
  f.refuse("bad_words", "is not offered; use logit_bias");
  f.refuse("allowed_token_ids", "is not offered; use logit_bias");
  for (const char* name : {"structured_outputs", "guided_decoding"}) {
    f.refuse(name, "output that is forced into a form is not offered; ask for it in the prompt");
  }
  f.refuse("logits_processors", "is not offered");
  f.refuse("best_of", "is not offered; ask for n outputs and choose");
  f.refuse("use_beam_search", "beam search is not offered; ask for n outputs");
  f.only("spaces_between_special_tokens", true, "is not offered: text is as the tokenizer decodes it");
}

}  // namespace

Result<engine::Request> read_sampling(const Json& params, engine::LogprobsMode mode) {
  engine::Request r;
  engine::SamplingParams& s = r.sampling;
  FieldReader f(params);
  f.read("n", r.n);
  serve::read_distribution(f, s);
  if (const Json* seed = f.get("seed"); seed != nullptr) {
    // Negative seeds are seeds, too.
    const auto number = serve::integer_of(*seed);
    if (seed->is_number_unsigned()) {
      s.seed = seed->get<std::uint64_t>();
    } else if (number) {
      s.seed = static_cast<std::uint64_t>(*number);
    } else {
      f.fail("seed", "must be an integer");
    }
  }
  f.strings("stop", r.stop);
  f.tokens("stop_token_ids", s.stop_token_ids);
  // null is not absent: as many as the context takes.
  const auto most = params.find("max_tokens");
  if (most == params.end()) r.max_tokens = kDefaultMaxTokens;
  f.read("max_tokens", r.max_tokens);
  f.read("min_tokens", s.min_tokens);
  f.read("logprobs", r.logprobs);
  if (std::optional<int> top; f.read("prompt_logprobs", top), top) {
    r.prompt_logprobs = engine::PromptLogprobsOptions{.start = 0, .top = *top};
  }
  f.biases("logit_bias", s.logit_bias);
  f.read("ignore_eos", r.ignore_eos);
  f.read("include_stop_str_in_output", r.include_stop_in_output);
  f.read("skip_special_tokens", r.skip_special_tokens);
  f.read("detokenize", r.detokenize);
  f.read("priority", r.priority);
  f.read("cache_salt", r.cache_salt);
  refuse_what_is_not_offered(f);
  OCTAVO_TRY(f.finish());
  r.logprobs_mode = mode;
  return r;
}

}  // namespace octavo::capi
