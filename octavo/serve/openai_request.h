// What the OpenAI routes share in their requests: sampling and its kin, with vLLM's further fields.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "octavo/serve/json_reader.h"
#include "octavo/serve/router.h"
#include "octavo/serve/serve_context.h"

namespace octavo::serve {

struct OpenAiRequest {
  engine::Request base;  // all but the prompt
  std::string model;     // "": the client does not say
  std::string request_id;
  bool stream = false, include_usage = false, continuous_usage = false;
  bool return_token_ids = false, tokens_as_ids = false;
  bool add_special_tokens = true;
  std::optional<std::int64_t> truncate_prompt_tokens;  // the last ones; -1: as many as the context takes
};

// temperature, top_p, top_k, min_p and the three penalties, which SGLang's sampling_params call the same.
void read_distribution(FieldReader& f, engine::SamplingParams& out);

// seed: any integer, negative ones too.
void read_seed(FieldReader& f, engine::SamplingParams& out);

// Reads the fields of both /v1/completions and /v1/chat/completions. Defaults: the model's generation_config.json, as
// in vLLM, else the engine's.
void read_common_fields(FieldReader& f, const ServedModel& model, OpenAiRequest& out);

// 503 while new requests are refused, 404 for a model that is not served here; nothing where it can go on.
std::optional<Reply> check_request(const ServeContext& context, const std::string& model);
// The status for a request that the engine or a reader refused.
int refusal_status(const ServeContext& context);

// Text to ids, with OpenAiRequest's options.
Result<std::vector<std::int32_t>> encode_prompt(const ServeContext& context, std::string_view text,
                                                const OpenAiRequest& request);
void truncate_prompt(const ServeContext& context, const OpenAiRequest& request, std::vector<std::int32_t>& tokens);

}  // namespace octavo::serve
