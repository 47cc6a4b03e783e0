// Opening a model, what it is, and its text.
#include "octavo/capi/engine.h"

#include "octavo/base/version.h"
#include "octavo/capi/error.h"
#include "octavo/capi/option_reader.h"
#include "octavo/engine/kv_blocks.h"
#include "octavo/serve/chat_messages.h"
#include "octavo/serve/server.h"

using namespace octavo;        // NOLINT: this file defines C functions
using namespace octavo::capi;  // NOLINT

namespace {

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json sampling_defaults(const model::GenerationDefaults& d) {
  Json out = Json::object();
  if (d.temperature) out["temperature"] = *d.temperature;
  if (d.top_p) out["top_p"] = *d.top_p;
  if (d.top_k) out["top_k"] = *d.top_k;
  if (d.min_p) out["min_p"] = *d.min_p;
  if (d.repetition_penalty) out["repetition_penalty"] = *d.repetition_penalty;
  return out;
}

Json describe(engine::Engine& engine, const serve::ServedModel& model) {
  const engine::Runner& runner = engine.runner();
  const auto bos = model.tokenizer ? model.tokenizer->bos_id() : std::nullopt;
  const auto eos = model.tokenizer ? model.tokenizer->eos_id() : std::nullopt;
  return {{"model", model.path},
          {"model_type", model.model_type},
          {"architectures", model.architectures},
          {"precision", runner.describe()},
          {"max_model_len", engine.max_model_len()},
          {"max_num_seqs", engine.options().max_num_seqs},
          {"kv_cache_tokens", engine.kv_blocks() * engine::kKvBlockTokens},
          {"resident_bytes", runner.model->report.resident_bytes()},
          {"load_seconds", runner.model->report.seconds},
          {"vocab_size", runner.config().vocab},
          {"bos_token_id", or_null(bos)},
          {"eos_token_id", or_null(eos)},
          {"end_token_ids", runner.end_tokens},
          {"has_tokenizer", model.tokenizer.has_value()},
          {"has_chat_template", model.chat.has_value()},
          {"default_sampling_params", sampling_defaults(model.defaults)},
          {"edge_channel", runner.model->report.edge_channel},
          {"warnings", runner.model->report.warnings}};
}

Result<std::unique_ptr<octavo_engine>> open_engine(const std::string& path, const char* options) {
  OCTAVO_ASSIGN(const Json json, parse_options(options, "options"));
  OCTAVO_ASSIGN(const EngineSettings settings, read_engine_settings(json));
  OCTAVO_ASSIGN(engine::RunnerFolder folder, engine::read_runner_folder(path));
  OCTAVO_ASSIGN(serve::ServedModel model, serve::served_model(folder, path, {}, settings.chat_template));
  OCTAVO_ASSIGN(std::unique_ptr<engine::Engine> opened,
                engine::Engine::open(std::move(folder), settings.runner, settings.engine));
  Json info = describe(*opened, model);
  auto out = std::make_unique<octavo_engine>(std::move(opened), std::move(model), settings);
  out->info = std::move(info);
  return out;
}

}  // namespace

extern "C" {

const char* octavo_version(void) {
  static const std::string text(version());
  return text.c_str();
}

octavo_code octavo_engine_open(const char* model, const char* options, octavo_engine** engine) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(model, "model"));
    OCTAVO_TRY(needed(engine, "engine"));
    OCTAVO_ASSIGN(auto opened, open_engine(model, options));
    *engine = opened.release();
    return {};
  });
}

void octavo_engine_close(octavo_engine* engine) {
  static_cast<void>(guarded([&]() -> Status {
    delete engine;
    return {};
  }));
}

octavo_code octavo_engine_info(const octavo_engine* engine, octavo_buffer* json) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    OCTAVO_TRY(needed(json, "json"));
    give(json, json_text(engine->info));
    return {};
  });
}

octavo_code octavo_engine_metrics(const octavo_engine* engine, octavo_buffer* json) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    OCTAVO_TRY(needed(json, "json"));
    const engine::EngineMetrics m = engine->thread.metrics();
    give(json, json_text({{"running", m.running},
                          {"waiting", m.waiting},
                          {"kv_cache_usage", m.kv_usage()},
                          {"prompt_tokens", m.prompt_tokens},
                          {"generation_tokens", m.generation_tokens},
                          {"prefix_cache_queries", m.prefix_queries},
                          {"prefix_cache_hits", m.prefix_hits},
                          {"preemptions", m.preemptions},
                          {"steps", m.steps},
                          {"weight_version", m.weight_version},
                          {"weight_updates", m.weight_updates}}));
    return {};
  });
}

octavo_code octavo_tokenize(const octavo_engine* engine, const char* text, size_t size, int add_special_tokens,
                            octavo_buffer* tokens) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    OCTAVO_TRY(needed(tokens, "tokens"));
    if (size > 0) OCTAVO_TRY(needed(text, "text"));
    OCTAVO_ASSIGN(const text::Tokenizer* tokenizer, engine->tokenizer());
    OCTAVO_ASSIGN(const auto ids, tokenizer->encode({text, size}, {.add_special = add_special_tokens != 0}));
    give(tokens, {reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(std::int32_t)});
    return {};
  });
}

octavo_code octavo_detokenize(const octavo_engine* engine, const int32_t* tokens, size_t count, int skip_special_tokens,
                              octavo_buffer* text) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    OCTAVO_TRY(needed(text, "text"));
    if (count > 0) OCTAVO_TRY(needed(tokens, "tokens"));
    OCTAVO_ASSIGN(const text::Tokenizer* tokenizer, engine->tokenizer());
    OCTAVO_ASSIGN(const std::string decoded, tokenizer->decode({tokens, count}, skip_special_tokens != 0));
    give(text, decoded);
    return {};
  });
}

octavo_code octavo_render_chat(const octavo_engine* engine, const char* chat, octavo_buffer* text) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    OCTAVO_TRY(needed(chat, "chat"));
    OCTAVO_TRY(needed(text, "text"));
    if (!engine->model.chat) return failure("{}", engine->model.no_chat);
    OCTAVO_ASSIGN(const Json json, parse_options(chat, "chat"));
    FieldReader f(json);
    serve::ChatInput input = serve::read_chat_input(f);
    OCTAVO_TRY(f.finish());
    OCTAVO_ASSIGN(const std::string rendered, engine->model.chat->render(std::move(input.messages), input.arguments));
    give(text, rendered);
    return {};
  });
}

}  // extern "C"
