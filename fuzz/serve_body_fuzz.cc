// Bodies of the POST routes that clients call: the first byte chooses the route, the rest is the body. Requests are
// read, tokenized and checked; the engine has ended and computes none.
#include <array>

#include "octavo/serve/routes.h"
#include "octavo/serve/server.h"
#include "property.h"

using namespace octavo;

namespace {

constexpr std::array<const char*, 8> kRoutes = {
    "/v1/completions", "/v1/chat/completions", "/generate",      "/inference/v1/generate",
    "/tokenize",       "/detokenize",          "/abort_request", "/inference/v1/abort_requests"};

class FakeExchange final : public serve::Exchange, private serve::BodyReader {
 public:
  explicit FakeExchange(std::string_view body) : left_(body) {
    head_.method = "POST";
    head_.id = "fuzz";
  }
  const serve::RequestHead& head() const override { return head_; }
  serve::BodyReader& body() override { return *this; }
  Status reply(const serve::Reply& reply) override {
    fuzz::require(!answered_, "one answer");
    answered_ = true;
    const bool known = reply.status == 200 || reply.status == 400 || reply.status == 404;
    fuzz::require(known, "the status is of the client's doing", reply.body);
    if (reply.status == 200) return {};
    const Json error = Json::parse(reply.body, nullptr, /*allow_exceptions=*/false);
    fuzz::require(error.is_object() && error["error"]["message"].is_string(), "an error has a sentence", reply.body);
    fuzz::require_readable(error["error"]["message"].get_ref<const std::string&>());
    return {};
  }
  Status begin_stream(int, std::string_view) override {
    fuzz::require(false, "nothing streams without an engine");
    return {};
  }
  Status write(std::string_view) override { return {}; }
  bool answered() const override { return answered_; }
  bool wait_readable(int) override { return false; }

 private:
  Result<std::size_t> read(std::span<std::byte> into) override {
    const std::size_t count = std::min({into.size(), left_.size(), std::size_t{100}});
    std::copy_n(left_.data(), count, reinterpret_cast<char*>(into.data()));
    left_.remove_prefix(count);
    return count;
  }
  std::optional<std::uint64_t> length() const override { return std::nullopt; }

  serve::RequestHead head_;
  std::string_view left_;
  bool answered_ = false;
};

struct Service {
  Service() {
    const std::string folder_path = OCTAVO_SOURCE_DIR "/models/abacus";
    engine::RunnerOptions options = engine::runner_options({}, {});
    options.load.threads = 1;
    engine::RunnerFolder folder = std::move(engine::read_runner_folder(folder_path)).value();
    serve::ServedModel model = std::move(serve::served_model(folder, folder_path, {"abacus"}, "")).value();
    engine::Runner runner = std::move(engine::open_runner(std::move(folder), options)).value();
    thread = std::make_unique<engine::EngineThread>(std::move(engine::Engine::create(std::move(runner), {})).value());
    thread->shutdown(std::chrono::milliseconds(0));
    context = std::make_unique<serve::ServeContext>(*thread, std::move(model));
    serve::add_serve_routes(table, *context);
  }
  std::unique_ptr<engine::EngineThread> thread;
  std::unique_ptr<serve::ServeContext> context;
  serve::RouteTable table;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Service service;
  if (size == 0) return 0;
  const char* path = kRoutes[data[0] % kRoutes.size()];
  FakeExchange exchange(fuzz::as_text(data + 1, size - 1));
  service.table.find("POST", path).route->handler(exchange);
  fuzz::require(exchange.answered(), "every request has an answer", path);
  return 0;
}
