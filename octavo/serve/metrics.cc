// Prometheus' exposition format.
#include "octavo/serve/metrics.h"

#include <fmt/format.h>

#include "octavo/engine/finish.h"
#include "octavo/serve/routes.h"

namespace octavo::serve {
namespace {

std::string escaped(const std::string& label) {
  std::string out;
  for (const char c : label) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

class Writer {
 public:
  explicit Writer(const std::string& model) : model_(fmt::format("model_name=\"{}\"", escaped(model))) {}

  void gauge(std::string_view name, std::string_view help, double value) {
    head(name, help, "gauge");
    out_ += fmt::format("{}{{{}}} {}\n", name, model_, value);
  }
  void counter(std::string_view name, std::string_view help, std::uint64_t value) {
    head(name, help, "counter");
    out_ += fmt::format("{}_total{{{}}} {}\n", name, model_, value);
  }
  void finished(const engine::EngineMetrics& m) {
    constexpr std::string_view kName = "vllm:request_success";
    head(kName, "Continuations that ended, by reason.", "counter");
    for (const auto reason :
         {engine::FinishReason::kStop, engine::FinishReason::kLength, engine::FinishReason::kAbort}) {
      out_ += fmt::format("{}_total{{finished_reason=\"{}\",{}}} {}\n", kName, engine::finish_name(reason), model_,
                          m.finished[static_cast<std::size_t>(reason)]);
    }
  }
  void histogram(std::string_view name, std::string_view help, const engine::Histogram& h) {
    head(name, help, "histogram");
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < h.bounds.size(); ++i) {
      below += h.counts[i];
      out_ += fmt::format("{}_bucket{{le=\"{}\",{}}} {}\n", name, h.bounds[i], model_, below);
    }
    out_ += fmt::format("{}_bucket{{le=\"+Inf\",{}}} {}\n", name, model_, h.count);
    out_ += fmt::format("{}_count{{{}}} {}\n{}_sum{{{}}} {}\n", name, model_, h.count, name, model_, h.sum);
  }
  std::string take() { return std::move(out_); }

 private:
  void head(std::string_view name, std::string_view help, std::string_view type) {
    const std::string_view suffix = type == "counter" ? "_total" : "";
    out_ += fmt::format("# HELP {}{} {}\n# TYPE {}{} {}\n", name, suffix, help, name, suffix, type);
  }
  std::string model_, out_;
};

}  // namespace

std::string metrics_text(const engine::EngineMetrics& m, const std::string& model) {
  Writer w(model);
  w.gauge("vllm:num_requests_running", "Continuations that are being computed.", static_cast<double>(m.running));
  w.gauge("vllm:num_requests_waiting", "Continuations that wait for a place.", static_cast<double>(m.waiting));
  w.gauge("vllm:kv_cache_usage_perc", "Share of the KV cache's blocks in use, 0 to 1.", m.kv_usage());
  w.gauge("octavo:kv_blocks", "Blocks of the KV cache.", static_cast<double>(m.kv_blocks));
  w.counter("vllm:prefix_cache_queries", "Prompt tokens looked up in the prefix cache.", m.prefix_queries);
  w.counter("vllm:prefix_cache_hits", "Prompt tokens found in the prefix cache.", m.prefix_hits);
  w.counter("vllm:prompt_tokens", "Prompt tokens of requests.", m.prompt_tokens);
  w.counter("vllm:generation_tokens", "Output tokens.", m.generation_tokens);
  w.counter("vllm:num_preemptions", "Continuations sent back to the queue.", m.preemptions);
  w.finished(m);
  w.histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.", m.time_to_first_token);
  w.histogram("vllm:inter_token_latency_seconds", "Between two tokens of a continuation.", m.inter_token_latency);
  w.histogram("vllm:e2e_request_latency_seconds", "From arrival to the end of a request.", m.e2e_latency);
  w.histogram("vllm:request_queue_time_seconds", "From arrival to the first admission.", m.queue_time);
  w.counter("octavo:steps", "Steps of the engine.", m.steps);
  w.counter("octavo:step_tokens", "Tokens computed in all steps.", m.step_tokens);
  w.gauge("octavo:weight_version", "Number of the weights that serve.", static_cast<double>(m.weight_version));
  w.counter("octavo:weight_updates", "Updates of the weights.", m.weight_updates);
  return w.take();
}

void add_metrics_route(RouteTable& table, ServeContext& context) {
  const auto answer = [&context](Exchange& x) {
    static_cast<void>(x.reply({.status = 200,
                               .content_type = kMetricsType,
                               .body = metrics_text(context.engine.metrics(), context.model.names.front())}));
  };
  table.add("GET", "/metrics", answer, {.without_key = true});
}

}  // namespace octavo::serve
