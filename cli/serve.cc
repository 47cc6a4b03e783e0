// octavo serve: a model behind HTTP until a signal comes.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <thread>

#include "cli/command.h"
#include "cli/flag_words.h"
#include "cli/interrupt.h"
#include "cli/model_options.h"
#include "octavo/base/text.h"
#include "octavo/engine/kv_blocks.h"
#include "octavo/serve/server.h"
#include "octavo/serve/update_routes.h"

namespace octavo::cli {
namespace {

constexpr std::uint64_t kMostTokens = 1ull << 32;
constexpr std::uint64_t kMostSequences = 1 << 16;
constexpr int kMostPort = 65535;
constexpr int kMostSeconds = 86'400;

struct ServeOptions {
  ModelOptions model;
  engine::EngineOptions engine;
  serve::HttpOptions http;
  std::vector<std::string> names;
  std::string config;  // expanded before the command line is parsed
  std::string chat_template, dtype = "auto", load_format = "auto";
  std::optional<std::uint64_t> kv_memory;
  std::optional<double> utilization;
  int shutdown_seconds = 60, parallel = 1;
  std::string update_policy = "abort";
  int update_seconds = 300;
  bool no_updates = false, free_update_memory = false;
  bool unused = false;  // flags of others that ask for what is so anyway
};

std::string limits_text(engine::Engine& engine) {
  const engine::EngineOptions& o = engine.options();
  return fmt::format("at most {} tokens a request, {} requests and {} tokens a step; KV cache {}, {} tokens",
                     engine.max_model_len(), o.max_num_seqs, o.max_num_batched_tokens,
                     human_bytes(engine.runner().cache->shape().bytes()), engine.kv_blocks() * engine::kKvBlockTokens);
}

Result<std::unique_ptr<engine::Engine>> open_engine(const ServeOptions& o, engine::RunnerFolder folder,
                                                    const engine::EngineOptions& wanted,
                                                    const engine::RunnerOptions& base) {
  OCTAVO_TRY(engine::check_engine_options(wanted));
  OCTAVO_ASSIGN(engine::Runner runner,
                load_runner(o.model, "serve", std::move(folder), engine::runner_options(wanted, base)));
  OCTAVO_TRY(engine::size_kv_cache(runner, wanted));
  return engine::Engine::create(std::move(runner), wanted);
}

Outcome run(const ServeOptions& o) {
  // What is wrong is said before a model is read, which may take minutes.
  OCTAVO_ASSIGN(const engine::InFlight policy, rollout::find_policy(o.update_policy).context("--update-policy"));
  OCTAVO_ASSIGN(const engine::RunnerOptions base, runner_options(o.model));
  engine::EngineOptions wanted = o.engine;
  wanted.max_model_len = o.model.context;
  wanted.kv_memory = o.kv_memory;
  wanted.gpu_memory_utilization = o.utilization;
  OCTAVO_ASSIGN(engine::RunnerFolder folder, read_model_folder(o.model, "serve"));
  OCTAVO_ASSIGN(serve::ServedModel model, serve::served_model(folder, o.model.model, o.names, o.chat_template));
  OCTAVO_ASSIGN(std::unique_ptr<engine::Engine> engine, in_flags(open_engine(o, std::move(folder), wanted, base)));
  model.description = engine->runner().describe();
  const std::string limits = limits_text(*engine);
  const std::string names = fmt::format("{}", fmt::join(model.names, ", "));
  const std::string no_chat = model.chat ? "" : fmt::format("no /v1/chat/completions: {}", model.no_chat);

  serve::UpdateRouteOptions updates;
  updates.policy = policy;
  updates.manager.update.isa = base.load.isa;
  updates.manager.update.threads = base.load.threads;
  updates.manager.timeout = std::chrono::seconds(o.update_seconds);
  updates.manager.keep_shadow = !o.free_update_memory;
  const serve::AddRoutes more = [&](serve::RouteTable& table, serve::ServeContext& context) {
    if (o.no_updates) return add_absent_update_routes(table, "--no-weight-updates");
    add_update_routes(table, context, updates);
  };
  catch_interrupts();
  OCTAVO_ASSIGN(const std::unique_ptr<serve::Server> server,
                serve::Server::start(std::move(engine), std::move(model), o.http, more));
  if (!o.model.common.quiet) {
    fmt::print(stderr, "octavo serve: {}\n", limits);
    if (!no_chat.empty()) fmt::print(stderr, "octavo serve: {}\n", no_chat);
  }
  // With --port 0 only this line says where it is.
  fmt::print(stderr, "octavo serve: {} at {}{}\n", names, server->http().url(),
             o.http.api_key.empty() ? "" : " (with a key)");
  while (interrupt_signal() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  if (!o.model.common.quiet) {
    fmt::print(stderr, "octavo serve: finishing what is in work, for at most {} s; a second signal ends it at once\n",
               o.shutdown_seconds);
  }
  server->stop(std::chrono::seconds(o.shutdown_seconds));
  return 0;
}

void add_server_options(CLI::App& command, ServeOptions& o) {
  const char* group = "Server";
  command.add_option("--host", o.http.host, "address to listen on (default 127.0.0.1: this machine only)")
      ->option_text("ADDRESS")
      ->group(group);
  command.add_option("--port", o.http.port, "port (default 8000); 0: any that is free, which is then said")
      ->check(CLI::Range(0, kMostPort))
      ->option_text("N")
      ->group(group);
  command.add_option("--api-key", o.http.api_key, "requests must carry \"Authorization: Bearer KEY\"")
      ->check([](const std::string& key) {
        return std::string(key.empty() ? "is empty, which would be a server without a key: leave it out for one" : "");
      })
      ->option_text("KEY")
      ->group(group);
  command.add_option("--served-model-name", o.names, "names that requests may give (default: MODEL)")
      ->expected(1, 64)
      ->option_text("NAME...")
      ->group(group);
  command.add_option("--chat-template", o.chat_template, "instead of the model's: a file, or the template itself")
      ->option_text("FILE")
      ->group(group);
  command
      .add_option("--shutdown-timeout", o.shutdown_seconds, "after SIGTERM or Ctrl-C: time for what is in work (60)")
      ->check(CLI::Range(0, kMostSeconds))
      ->option_text("SECONDS")
      ->group(group);
  command.add_option("--config", o.config, "YAML of these options, as of vllm serve --config; or of ROLL or NeMo-RL")
      ->option_text("FILE")
      ->group(group);
}

void add_engine_options(CLI::App& command, ServeOptions& o) {
  const char* group = "Engine";
  command
      .add_option("--max-num-seqs", o.engine.max_num_seqs,
                  fmt::format("requests computed at once (default {})", o.engine.max_num_seqs))
      ->check(CLI::Range(std::uint64_t{1}, kMostSequences))
      ->option_text("N")
      ->group(group);
  command
      .add_option("--max-num-batched-tokens", o.engine.max_num_batched_tokens,
                  fmt::format("tokens of one step (default {})", o.engine.max_num_batched_tokens))
      ->check(CLI::Range(std::uint64_t{1}, kMostTokens))
      ->option_text("N")
      ->group(group);
  command.add_option("--kv-memory", o.kv_memory, "size of the KV cache, such as 4GiB")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->option_text("SIZE")
      ->group(group);
  command
      .add_option("--gpu-memory-utilization", o.utilization,
                  fmt::format("the KV cache's share of the memory that the weights leave (default {})",
                              engine::kDefaultUtilization))
      ->option_text("SHARE")
      ->group(group);
  command
      .add_flag("--enable-prefix-caching,!--no-enable-prefix-caching", o.engine.enable_prefix_caching,
                "requests share the KV cache of what their prompts have in common (default)")
      ->group(group);
  command
      .add_option("--max-logprobs", o.engine.max_logprobs,
                  fmt::format("the most logprobs a request may ask for (default {}); -1: all", o.engine.max_logprobs))
      ->check(CLI::Range(-1, 1 << 20))
      ->option_text("N")
      ->group(group);
  command.add_option("--seed", o.engine.seed, "of requests that bring none (default 0)")
      ->option_text("N")
      ->group(group);
  command.add_option("--weight-version", o.engine.weight_version, "label of the weights (default \"default\")")
      ->option_text("NAME")
      ->group(group);
  command
      .add_option("--hf-overrides", o.model.hf_overrides,
                  "a quantization_config as ROLL gives it, with --quantization fp8: blocks where it has "
                  "weight_block_size")
      ->option_text("JSON")
      ->group("Quantization");
}

void add_update_options(CLI::App& command, ServeOptions& o) {
  const char* group = "Weight updates (docs/rollout.md)";
  command
      .add_option("--update-policy", o.update_policy,
                  "requests in flight when new weights come: abort (default), wait, keep (keys and values computed "
                  "again), in_place")
      ->option_text("NAME")
      ->group(group);
  command.add_option("--update-timeout", o.update_seconds, "an update that nothing comes for so long is aborted (300)")
      ->check(CLI::Range(1, kMostSeconds))
      ->option_text("SECONDS")
      ->group(group);
  command
      .add_flag("--free-update-memory", o.free_update_memory,
                "give the second set of weights back after every update (default: kept)")
      ->group(group);
  command
      .add_flag("--no-weight-updates", o.no_updates,
                "no routes that change weights, pause, or release memory: for a server that others reach")
      ->group(group);
}

// What command lines of vLLM often say, and what is so here in any case.
void add_tolerated_options(CLI::App& command, ServeOptions& o) {
  const char* group = "Accepted from vLLM, without effect";
  command.add_option("--dtype", o.dtype, "auto or bfloat16; see --compute")
      ->check(CLI::IsMember({"auto", "bfloat16"}))
      ->option_text("NAME")
      ->group(group);
  command.add_option("--load-format", o.load_format, "auto or safetensors")
      ->check(CLI::IsMember({"auto", "safetensors"}))
      ->option_text("NAME")
      ->group(group);
  command.add_option("--tensor-parallel-size", o.parallel, "1")
      ->check([](const std::string& count) {
        return count == "1" ? std::string() : "one process serves one machine, all of its cores: leave it out";
      })
      ->option_text("N")
      ->group(group);
  command
      .add_flag(
          "--trust-remote-code,--enforce-eager,--disable-log-requests,--disable-log-stats,"
          "--enable-chunked-prefill,--async-scheduling",
          o.unused, "are taken and change nothing")
      ->group(group);
}

}  // namespace

void add_serve(CLI::App& app, Action& action) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command = add_command(app, "serve", "Serve a model over HTTP: OpenAI's and SGLang's routes",
                                  "octavo serve Qwen3-0.6B-FP8 --port 8000");
  add_model_options(*command, options->model);
  add_server_options(*command, *options);
  add_engine_options(*command, *options);
  add_update_options(*command, *options);
  add_tolerated_options(*command, *options);
  add_run_options(*command, options->model.common);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
