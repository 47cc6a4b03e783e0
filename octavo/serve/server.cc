// Starting and stopping in the right order.
#include "octavo/serve/server.h"

#include <algorithm>
#include <ctime>
#include <thread>

namespace octavo::serve {
namespace {

constexpr std::chrono::milliseconds kAsk{50};
// For answers to leave once the engine has ended.
constexpr std::chrono::milliseconds kLastAnswers{2'000};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(std::unique_ptr<engine::Engine> engine, ServedModel model,
                                              const HttpOptions& options, const AddRoutes& more) {
  std::unique_ptr<Server> out(new Server(std::move(engine), std::move(model)));
  RouteTable table;
  add_serve_routes(table, out->context_);
  if (more) more(table, out->context_);
  OCTAVO_ASSIGN(out->http_, HttpServer::start(std::move(table), options));
  return out;
}

Server::~Server() { stop(std::chrono::milliseconds(0)); }

void Server::stop(std::chrono::milliseconds drain) {
  if (stopped_ || !http_) return;
  stopped_ = true;
  context_.refuse_new("the server is shutting down");
  http_->begin_shutdown();
  const auto until = std::chrono::steady_clock::now() + drain;
  for (;;) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= until || engine_.paused()) break;
    if (http_->wait_until_idle(std::min(until, now + kAsk))) break;
  }
  engine_.shutdown(std::chrono::milliseconds(0));
  http_->wait_until_idle(std::chrono::steady_clock::now() + kLastAnswers);
  http_->abort();
}

Result<ServedModel> served_model(const engine::RunnerFolder& folder, std::string path, std::vector<std::string> names,
                                 const std::string& chat_template) {
  ServedModel out;
  out.names = std::move(names);
  if (out.names.empty()) out.names.push_back(path);
  out.path = std::move(path);
  out.model_type = folder.config.model_type;
  if (const Json& config = folder.checkpoint.config(); config.contains("architectures")) {
    for (const Json& name : config["architectures"]) {
      if (name.is_string()) out.architectures.push_back(name.get<std::string>());
    }
  }
  out.created = static_cast<std::int64_t>(std::time(nullptr));
  out.tokenizer = folder.tokenizer;
  out.defaults = folder.defaults;
  const std::filesystem::path dir = folder.checkpoint.dir();
  Result<engine::ChatPrompt> chat =
      chat_template.empty() ? engine::ChatPrompt::load(dir) : engine::ChatPrompt::load(dir, chat_template);
  if (chat.ok()) {
    out.chat = std::move(*chat);
  } else if (!chat_template.empty()) {
    return std::move(chat).error().context("--chat-template");
  } else {
    out.no_chat = chat.error().message;
  }
  return out;
}

}  // namespace octavo::serve
