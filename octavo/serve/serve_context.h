// What the routes share: the engine's thread, the model's names and text, who asks for what, whether new requests are
// taken. A route is a lambda that holds a reference to it.
//
//   void add_weight_routes(RouteTable& table, ServeContext& context, ...);   // how a file of routes presents itself
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/engine/chat_prompt.h"
#include "octavo/engine/engine_thread.h"

namespace octavo::serve {

// The clients' own names of requests in flight (SGLang's rid, vLLM's request_id) beside the engine's. Any thread.
class RequestNames {
 public:
  void add(std::string_view name, engine::RequestId id);
  void remove(std::string_view name, engine::RequestId id);
  std::vector<engine::RequestId> with_prefix(std::string_view prefix) const;
  std::vector<engine::RequestId> exactly(std::string_view name) const;
  std::size_t size() const;

 private:
  mutable std::mutex mutex_;
  std::multimap<std::string, engine::RequestId, std::less<>> ids_;
};

// Facts of the model that do not change while it serves.
struct ServedModel {
  std::string path;                // MODEL as the user gave it
  std::vector<std::string> names;  // --served-model-name; the first is what answers say. Not empty
  std::string description;         // Runner::describe()
  std::string model_type;
  std::vector<std::string> architectures;
  std::int64_t created = 0;  // seconds since 1970: when the server started
  std::optional<text::Tokenizer> tokenizer;
  std::optional<engine::ChatPrompt> chat;  // nullopt: the model has no chat template
  std::string no_chat;                     // then: why
  model::GenerationDefaults defaults;
};

struct ServeContext {
  ServeContext(engine::EngineThread& thread, ServedModel served) : engine(thread), model(std::move(served)) {}

  engine::EngineThread& engine;
  const ServedModel model;
  RequestNames names;

  // New requests are answered with 503 and this sentence until accept_new() (vLLM's pause, modes abort and wait; the
  // end of the server). Requests that were taken are not touched. Any thread.
  void refuse_new(std::string why);
  void accept_new();
  std::optional<std::string> refusal() const;

 private:
  mutable std::mutex mutex_;
  std::optional<std::string> refusal_;
};

}  // namespace octavo::serve
