// SGLang's /generate: text or ids, one or many, whole or streamed, with its meta_info.
#include <algorithm>

#include "octavo/base/text.h"
#include "octavo/serve/generation.h"
#include "octavo/serve/openai_json.h"
#include "octavo/serve/openai_request.h"
#include "octavo/serve/routes.h"

namespace octavo::serve {
namespace {

constexpr std::uint64_t kDefaultMaxTokens = 128;  // SGLang's
constexpr std::size_t kMostPrompts = 4096;

struct Item {
  engine::Request request;
  std::string rid;
  bool input_logprobs = false;
  std::uint64_t logprob_start = 0;
};

struct GenerateRequest {
  std::vector<Item> items;
  bool batch = false, stream = false, text_in_logprobs = false, return_prompt_ids = false;
};

Status read_sampling(const Json& object, engine::Request& out) {
  if (!object.is_object()) return usage_error("sampling_params: must be an object");
  engine::SamplingParams& s = out.sampling;
  out.max_tokens = kDefaultMaxTokens;
  FieldReader f(object, "sampling_params.");
  f.read("max_new_tokens", out.max_tokens);
  read_distribution(f, s);
  f.read("min_new_tokens", s.min_tokens);
  f.read("n", out.n);
  f.strings("stop", out.stop);
  f.tokens("stop_token_ids", s.stop_token_ids);
  f.read("ignore_eos", out.ignore_eos);
  f.read("skip_special_tokens", out.skip_special_tokens);
  f.read("no_stop_trim", out.include_stop_in_output);
  f.biases("logit_bias", s.logit_bias);
  if (std::optional<std::int64_t> seed; f.read("sampling_seed", seed), seed) s.seed = static_cast<std::uint64_t>(*seed);
  for (const char* name : {"json_schema", "regex", "ebnf", "structural_tag"}) {
    f.refuse(name, "output that is forced into a form is not offered");
  }
  f.refuse("max_tokens", "is called max_new_tokens here");
  f.refuse("min_tokens", "is called min_new_tokens here");
  f.refuse("seed", "is called sampling_seed here");
  f.refuse("stop_regex", "is not offered; use stop");
  f.refuse("custom_params", "is not offered");
  f.ignore({"spaces_between_special_tokens", "stream_interval"});
  return f.finish();
}

// A field that is one for all or a list of one each.
class PerItem {
 public:
  PerItem(FieldReader& f, const char* name, bool batch) : name_(name), value_(f.get(name)) {
    list_ = batch && value_ != nullptr && value_->is_array();
  }
  Status check(std::size_t count) const {
    if (!list_ || value_->size() == count) return {};
    return usage_error("{}: {} values for {} prompts", name_, value_->size(), count);
  }
  const Json& at(std::size_t i) const {
    static const Json kNull;
    return value_ == nullptr ? kNull : list_ ? (*value_)[i] : *value_;
  }

 private:
  const char* name_;
  const Json* value_;
  bool list_;
};

// As an object of its own, so that FieldReader says what is wrong.
template <typename T>
Status read_item(const PerItem& field, std::size_t i, const char* name, T& out) {
  const Json object = {{name, field.at(i)}};
  FieldReader f(object);
  f.read(name, out);
  return f.finish();
}

Result<std::vector<std::vector<std::int32_t>>> read_prompts(const ServeContext& context, const Json* text,
                                                            const Json* ids, bool batch) {
  if ((text == nullptr) == (ids == nullptr)) return usage_error("exactly one of text and input_ids must be given");
  std::vector<std::vector<std::int32_t>> out;
  if (ids != nullptr) {
    if (batch && ids->size() > kMostPrompts) return usage_error("input_ids: more than {} prompts", kMostPrompts);
    if (!batch) {
      auto one = tokens_of(*ids);
      if (!one) return usage_error("input_ids: must be a list of token ids, or a list of such lists");
      out.push_back(std::move(*one));
      return out;
    }
    for (const Json& item : *ids) {
      auto one = tokens_of(item);
      if (!one) return usage_error("input_ids: an item is no list of token ids");
      out.push_back(std::move(*one));
    }
    return out;
  }
  if (!batch && !text->is_string()) return usage_error("text: must be a string or a list of strings");
  if (batch && (text->empty() || text->size() > kMostPrompts)) {
    return usage_error("text: must have from 1 to {} prompts", kMostPrompts);
  }
  const OpenAiRequest defaults;
  for (std::size_t i = 0; i < (batch ? text->size() : 1); ++i) {
    const Json& item = batch ? (*text)[i] : *text;
    if (!item.is_string()) return usage_error("text: an item is no string");
    OCTAVO_ASSIGN(auto tokens, encode_prompt(context, item.get_ref<const std::string&>(), defaults));
    out.push_back(std::move(tokens));
  }
  return out;
}

Result<GenerateRequest> read_request(const ServeContext& context, const Json& body, const std::string& id) {
  GenerateRequest out;
  FieldReader f(body);
  const Json* text = f.get("text");
  const Json* ids = f.get("input_ids");
  const auto is_list_of_prompts = [](const Json& value) {
    return value.is_array() && !value.empty() && value.front().is_array();
  };
  out.batch = ids != nullptr ? is_list_of_prompts(*ids) : text != nullptr && text->is_array();
  f.read("stream", out.stream);
  f.read("return_text_in_logprobs", out.text_in_logprobs);
  f.read("return_prompt_token_ids", out.return_prompt_ids);
  const PerItem rid(f, "rid", out.batch);
  const PerItem sampling(f, "sampling_params", out.batch);
  const PerItem logprob(f, "return_logprob", out.batch);
  const PerItem start(f, "logprob_start_len", out.batch);
  const PerItem top(f, "top_logprobs_num", out.batch);
  const PerItem extra_key(f, "extra_key", out.batch);
  int priority = 0;
  f.read("priority", priority);
  for (const char* name : {"token_ids_logprob", "input_embeds", "image_data", "audio_data", "video_data", "lora_path",
                           "custom_logit_processor", "return_hidden_states", "return_routed_experts", "session_params",
                           "bootstrap_room", "return_sampling_mask", "routed_dp_rank", "data_parallel_rank"}) {
    f.refuse(name, "is not offered");
  }
  f.ignore({"log_metrics", "model", "background", "modalities", "return_bytes", "user", "trace"});
  OCTAVO_TRY(f.finish());
  OCTAVO_ASSIGN(auto prompts, read_prompts(context, text, ids, out.batch));
  const std::size_t count = prompts.size();
  for (const PerItem* field : {&rid, &sampling, &logprob, &start, &top, &extra_key}) OCTAVO_TRY(field->check(count));
  for (std::size_t i = 0; i < count; ++i) {
    Item item;
    engine::Request& r = item.request;
    r.max_tokens = kDefaultMaxTokens;
    r.logprobs_mode = engine::LogprobsMode::kTempered;  // SGLang's
    if (!sampling.at(i).is_null()) OCTAVO_TRY(read_sampling(sampling.at(i), r));
    r.prompt = std::move(prompts[i]);
    r.priority = priority;
    OCTAVO_TRY(read_item(rid, i, "rid", item.rid));
    // One name for many: each its own, as names are told apart by their beginnings.
    if (item.rid.empty()) item.rid = count > 1 ? fmt::format("{}_{}", id, i) : id;
    OCTAVO_TRY(read_item(extra_key, i, "extra_key", r.cache_salt));
    bool wanted = false;
    std::int64_t from = -1;
    int most = 0;
    OCTAVO_TRY(read_item(logprob, i, "return_logprob", wanted));
    OCTAVO_TRY(read_item(start, i, "logprob_start_len", from));
    OCTAVO_TRY(read_item(top, i, "top_logprobs_num", most));
    if (wanted) {
      r.logprobs = most;
      if (from < -1) return usage_error("logprob_start_len {}: must be -1 or more", from);
      if (from >= 0 && static_cast<std::uint64_t>(from) >= r.prompt.size()) {
        return usage_error("logprob_start_len {}: the prompt has {} tokens", from, r.prompt.size());
      }
      item.input_logprobs = from >= 0;
      item.logprob_start = static_cast<std::uint64_t>(std::max<std::int64_t>(from, 0));
      if (item.input_logprobs) r.prompt_logprobs = engine::PromptLogprobsOptions{item.logprob_start + 1, most};
    }
    OCTAVO_TRY(Generation::check_count(count, r.n));
    out.items.push_back(std::move(item));
  }
  return out;
}

// What one continuation has said so far: SGLang's stream repeats all of it.
struct Output {
  std::string text;
  std::vector<std::int32_t> tokens;
  Json logprobs = Json::array(), top_logprobs = Json::array();
};

class Answers {
 public:
  Answers(const ServeContext& context, const GenerateRequest& request) : context_(context), request_(request) {
    for (const Item& item : request.items) {
      first_.push_back(outputs_.size());
      outputs_.resize(outputs_.size() + static_cast<std::size_t>(item.request.n));
    }
    inputs_.resize(request.items.size());
  }

  std::size_t index(const GenerationEvent& e) const {
    return first_[e.prompt] + static_cast<std::size_t>(e.event.index);
  }
  bool is_list() const { return request_.batch || outputs_.size() > 1; }

  Json take(GenerationEvent& e) {
    const Item& item = request_.items[e.prompt];
    engine::Event& event = e.event;
    Output& out = outputs_[index(e)];
    out.text += event.text;
    out.tokens.insert(out.tokens.end(), event.tokens.begin(), event.tokens.end());
    for (const engine::Sample& sample : event.logprobs) {
      out.logprobs.push_back(entry(sample.chosen));
      out.top_logprobs.push_back(top(sample));
    }
    if (event.prompt_logprobs) inputs_[e.prompt] = std::move(event.prompt_logprobs);
    Json meta = {{"id", item.rid},
                 {"finish_reason", finish(event)},
                 {"prompt_tokens", event.usage.prompt_tokens},
                 {"completion_tokens", event.usage.completion_tokens},
                 {"cached_tokens", event.usage.cached_tokens},
                 {"reasoning_tokens", 0}};
    const engine::WeightVersion version = context_.engine.engine().weight_version();
    meta["weight_version"] = event.versions.empty() ? version.label : event.versions.back().label;
    meta["weight_versions"] = versions_json(event.versions);
    meta["num_retractions"] = event.usage.preemptions;
    if (item.request.logprobs) {
      put_input(item, inputs_[e.prompt], meta);
      meta["output_token_logprobs"] = out.logprobs;
      if (*item.request.logprobs > 0) meta["output_top_logprobs"] = out.top_logprobs;
    }
    Json answer = {{"text", out.text}, {"output_ids", out.tokens}, {"meta_info", std::move(meta)}};
    if (request_.return_prompt_ids) answer["prompt_token_ids"] = item.request.prompt;
    return answer;
  }

 private:
  // [logprob, id, text or null]
  Json entry(const engine::TokenLogprob& t) const { return entry(json_logprob(t.logprob), t.token); }
  Json entry(Json logprob, std::int32_t token) const {
    return Json::array(
        {std::move(logprob), token, request_.text_in_logprobs ? Json(token_text(context_.model, token)) : Json()});
  }
  Json top(const engine::Sample& sample) const {
    Json out = Json::array();
    for (const engine::TokenLogprob& t : sample.top) out.push_back(entry(t));
    return out;
  }
  Json finish(const engine::Event& event) const {
    if (!event.finished) return nullptr;
    if (event.reason == engine::FinishReason::kLength) {
      return {{"type", "length"}, {"length", event.usage.completion_tokens}};
    }
    if (event.reason == engine::FinishReason::kStop) {
      const Json matched = event.stop_text    ? Json(*event.stop_text)
                           : event.stop_token ? Json(*event.stop_token)
                                              : Json();
      return {{"type", "stop"}, {"matched", matched}};
    }
    const Json status = event.failed ? Json(500) : Json();
    const Json type = event.failed ? Json("InternalServerError") : Json();
    return {{"type", "abort"}, {"message", event.error}, {"status_code", status}, {"err_type", type}};
  }
  // The first of the span has no logprob of its own: nothing before it was looked at.
  void put_input(const Item& item, const std::optional<engine::PromptLogprobs>& input, Json& meta) const {
    Json list = Json::array(), tops = Json::array();
    if (item.input_logprobs) {
      list.push_back(entry(nullptr, item.request.prompt[static_cast<std::size_t>(item.logprob_start)]));
      tops.push_back(nullptr);
      for (const engine::Sample& sample : input ? input->entries : std::vector<engine::Sample>()) {
        list.push_back(entry(sample.chosen));
        tops.push_back(top(sample));
      }
    }
    meta["input_token_logprobs"] = std::move(list);
    if (*item.request.logprobs > 0) meta["input_top_logprobs"] = std::move(tops);
  }

  const ServeContext& context_;
  const GenerateRequest& request_;
  std::vector<std::size_t> first_;  // of each prompt, in outputs_
  std::vector<Output> outputs_;
  std::vector<std::optional<engine::PromptLogprobs>> inputs_;
};

void stream(Exchange& x, Answers& answers, Generation& generation) {
  if (!x.begin_stream(200, kSseType).ok()) return;
  for (;;) {
    auto events = generation.next(x);
    if (!events) return;
    if (events->empty()) break;
    std::string text;
    for (GenerationEvent& e : *events) {
      Json answer = answers.take(e);
      if (answers.is_list()) answer["index"] = answers.index(e);
      text += sse(answer);
    }
    if (!x.write(text).ok()) return;
  }
  static_cast<void>(x.write(kSseDone));
}

Reply whole(Answers& answers, std::vector<GenerationEvent> events) {
  std::sort(events.begin(), events.end(),
            [&](const GenerationEvent& a, const GenerationEvent& b) { return answers.index(a) < answers.index(b); });
  Json list = Json::array();
  for (GenerationEvent& e : events) {
    if (e.event.failed && !answers.is_list()) return Reply::error(500, e.event.error);
    list.push_back(answers.take(e));
  }
  return Reply::json(answers.is_list() ? list : list.front());
}

void generate(Exchange& x, ServeContext& context) {
  const std::optional<Json> body = read_json_object(x);
  if (!body) return;
  const auto refuse = [&](const Reply& reply) { static_cast<void>(x.reply(reply)); };
  if (const auto reply = check_request(context, "")) return refuse(*reply);
  const Result<GenerateRequest> request = read_request(context, *body, x.head().id);
  if (!request.ok()) return refuse(Reply::error(400, request.error()));
  Generation generation(context, request->stream ? Generation::Wait::kEach : Generation::Wait::kAll);
  for (const Item& item : request->items) {
    const Status status = generation.submit(item.request, {item.rid});
    if (!status.ok()) return refuse(Reply::error(refusal_status(context), status.error()));
  }
  Answers answers(context, *request);
  if (request->stream) return stream(x, answers, generation);
  auto events = generation.next(x);
  if (events && !events->empty()) refuse(whole(answers, std::move(*events)));
}

}  // namespace

void add_generate_route(RouteTable& table, ServeContext& context) {
  for (const char* method : {"POST", "PUT"}) {
    table.add(method, "/generate", [&context](Exchange& x) { generate(x, context); });
  }
}

}  // namespace octavo::serve
