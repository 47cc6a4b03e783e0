// A model that serves: the engine's thread, the routes, HTTP; made in this order and ended in the reverse one.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "octavo/serve/http_server.h"
#include "octavo/serve/routes.h"
#include "octavo/serve/serve_context.h"

namespace octavo::serve {

// Adds routes beside those of routes.h.
using AddRoutes = std::function<void(RouteTable&, ServeContext&)>;

class Server {
 public:
  // Takes the engine; `model` describes what it runs. Failures: an address that cannot be bound.
  static Result<std::unique_ptr<Server>> start(std::unique_ptr<engine::Engine> engine, ServedModel model,
                                               const HttpOptions& options, const AddRoutes& more = {});
  ~Server();  // stop(0)
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  const HttpServer& http() const { return *http_; }
  engine::EngineThread& engine() { return engine_; }
  ServeContext& context() { return context_; }

  // Takes no more requests, finishes those in work for at most `drain`, ends the rest: each is answered. Idempotent.
  void stop(std::chrono::milliseconds drain);

 private:
  Server(std::unique_ptr<engine::Engine> engine, ServedModel model)
      : engine_(std::move(engine)), context_(engine_, std::move(model)) {}

  engine::EngineThread engine_;
  ServeContext context_;
  std::unique_ptr<HttpServer> http_;
  bool stopped_ = false;
};

// The facts of a folder and what it was opened as. `chat_template`: of the user's own, or "".
Result<ServedModel> served_model(const engine::RunnerFolder& folder, std::string path, std::vector<std::string> names,
                                 const std::string& chat_template);

}  // namespace octavo::serve
