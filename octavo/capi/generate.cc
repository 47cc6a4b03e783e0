// Requests to the engine's thread, and what it says of them until all are finished.
#include <algorithm>
#include <condition_variable>
#include <iterator>
#include <mutex>

#include "octavo/capi/engine.h"
#include "octavo/capi/error.h"
#include "octavo/capi/sampling.h"

using namespace octavo;        // NOLINT: this file defines C functions
using namespace octavo::capi;  // NOLINT

namespace {

constexpr auto kPollEvery = std::chrono::milliseconds(100);

// Logprobs as octavo_logprobs lays them out.
struct FlatLogprobs {
  std::vector<octavo_logprob> entries;
  std::vector<std::size_t> starts;

  void add(const engine::Sample& sample) {
    if (starts.empty()) starts.push_back(0);
    const auto put = [&](const engine::TokenLogprob& t) { entries.push_back({t.token, t.rank, t.logprob}); };
    put(sample.chosen);
    for (const engine::TokenLogprob& top : sample.top) put(top);
    starts.push_back(entries.size());
  }
  octavo_logprobs view() const {
    if (starts.empty()) return {nullptr, nullptr, 0};
    return {entries.data(), starts.data(), starts.size() - 1};
  }
};

struct Output {
  std::vector<std::int32_t> tokens;
  std::string text;
  FlatLogprobs logprobs;
  double cumulative = 0;
  engine::Event last;  // what its end says
  std::vector<octavo_version_span> versions;
};

struct RequestResult {
  std::vector<std::int32_t> prompt;
  FlatLogprobs prompt_logprobs;
  std::uint64_t cached = 0;
  std::vector<Output> outputs;
};

}  // namespace

struct octavo_results {
  std::vector<RequestResult> requests;
};

namespace {

// Filled on the engine's thread, and kept by the sinks as well as by the caller, who may have gone.
struct Batch {
  std::mutex mutex;
  std::condition_variable changed;
  octavo_results results;
  std::size_t finished = 0;
  std::string failure;

  void take(std::size_t request, engine::Event event) {
    const std::lock_guard lock(mutex);
    RequestResult& result = results.requests[request];
    Output& out = result.outputs[event.index];
    out.tokens.insert(out.tokens.end(), event.tokens.begin(), event.tokens.end());
    out.text += event.text;
    for (const engine::Sample& sample : event.logprobs) {
      out.logprobs.add(sample);
      out.cumulative += static_cast<double>(sample.chosen.logprob);
    }
    if (event.prompt_logprobs) {
      for (const engine::Sample& sample : event.prompt_logprobs->entries) result.prompt_logprobs.add(sample);
    }
    if (event.index == 0) result.cached = event.usage.cached_tokens;
    if (event.failed && failure.empty()) failure = event.error;
    const bool all = event.all_finished;
    if (event.finished) out.last = std::move(event);
    if (!all) return;
    ++finished;
    if (finished == results.requests.size()) changed.notify_all();
  }
};

Result<engine::Request> read_request(const octavo_engine& engine, const octavo_request& r) {
  OCTAVO_ASSIGN(const Json params, parse_options(r.sampling, "sampling"));
  OCTAVO_ASSIGN(engine::Request out, read_sampling(params, engine.logprobs_mode));
  if (r.prompt != nullptr) {
    if (r.tokens != nullptr) return usage_error("a request has both a prompt and tokens; give one");
    OCTAVO_ASSIGN(const text::Tokenizer* tokenizer, engine.tokenizer());
    OCTAVO_ASSIGN(out.prompt, tokenizer->encode({r.prompt, r.prompt_size}));
    return out;
  }
  if (r.token_count > 0) OCTAVO_TRY(needed(r.tokens, "tokens"));
  out.prompt.assign(r.tokens, r.tokens + r.token_count);
  return out;
}

// Where several were asked for: which one it is.
Error of_request(Error error, std::size_t index, std::size_t count) {
  return count == 1 ? std::move(error) : std::move(error).context(fmt::format("request {}", index));
}

// The requests of one call. What has not ended when it goes is aborted.
class Running {
 public:
  Running(octavo_engine& engine, std::size_t count) : engine_(engine), batch_(std::make_shared<Batch>()) {
    batch_->results.requests.resize(count);
    ids_.reserve(count);
  }
  ~Running() {
    if (done_) return;
    for (const engine::RequestId id : ids_) engine_.thread.abort(id, "the caller has stopped");
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  Status submit(std::vector<engine::Request> requests) {
    // Before any event can come.
    for (std::size_t i = 0; i < requests.size(); ++i) {
      batch_->results.requests[i].prompt = requests[i].prompt;
      batch_->results.requests[i].outputs.resize(static_cast<std::size_t>(
          std::min<std::uint64_t>(requests[i].n, engine_.thread.engine().options().max_num_seqs)));
    }
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const auto sink = [batch = batch_, i](engine::Event event) { batch->take(i, std::move(event)); };
      auto id = engine_.thread.submit(std::move(requests[i]), sink);
      if (!id.ok()) return of_request(std::move(id).error(), i, requests.size());
      ids_.push_back(*id);
    }
    return {};
  }

  Status wait(octavo_poll poll, void* user) {
    std::unique_lock lock(batch_->mutex);
    const std::size_t count = batch_->results.requests.size();
    while (batch_->finished < count) {
      batch_->changed.wait_for(lock, kPollEvery);
      if (poll == nullptr) continue;
      const std::size_t finished = batch_->finished;
      lock.unlock();
      if (poll(user, finished, count) != 0) return stopped();
      lock.lock();
    }
    done_ = true;
    if (!batch_->failure.empty()) return failure("{}", batch_->failure);
    return {};
  }

  std::unique_ptr<octavo_results> take() {
    auto out = std::make_unique<octavo_results>(std::move(batch_->results));
    for (RequestResult& request : out->requests) {
      for (Output& output : request.outputs) {
        for (const engine::VersionSpan& span : output.last.versions) {
          output.versions.push_back({span.number, span.label.c_str(), span.start, span.end});
        }
      }
    }
    return out;
  }

 private:
  octavo_engine& engine_;
  std::shared_ptr<Batch> batch_;
  std::vector<engine::RequestId> ids_;
  bool done_ = false;
};

Result<std::unique_ptr<octavo_results>> generate(octavo_engine& engine, const octavo_request* requests,
                                                 std::size_t count, octavo_poll poll, void* user) {
  std::vector<engine::Request> read;
  read.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    auto request = read_request(engine, requests[i]);
    if (!request.ok()) return of_request(std::move(request).error(), i, count);
    read.push_back(std::move(*request));
  }
  if (count == 0) return std::make_unique<octavo_results>();
  Running running(engine, count);
  OCTAVO_TRY(running.submit(std::move(read)));
  OCTAVO_TRY(running.wait(poll, user));
  return running.take();
}

const char* finish_text(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kStop: return "stop";
    case engine::FinishReason::kLength: return "length";
    default: return "abort";
  }
}

}  // namespace

extern "C" {

octavo_code octavo_generate(octavo_engine* engine, const octavo_request* requests, size_t count, octavo_poll poll,
                            void* user, octavo_results** results) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(engine, "engine"));
    OCTAVO_TRY(needed(results, "results"));
    if (count > 0) OCTAVO_TRY(needed(requests, "requests"));
    OCTAVO_ASSIGN(auto made, generate(*engine, requests, count, poll, user));
    *results = made.release();
    return {};
  });
}

void octavo_results_free(octavo_results* results) { delete results; }

size_t octavo_results_count(const octavo_results* results) { return results == nullptr ? 0 : results->requests.size(); }

size_t octavo_results_outputs(const octavo_results* results, size_t request) {
  return request < octavo_results_count(results) ? results->requests[request].outputs.size() : 0;
}

octavo_code octavo_results_prompt(const octavo_results* results, size_t request, octavo_prompt_result* prompt) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(results, "results"));
    OCTAVO_TRY(needed(prompt, "prompt"));
    if (request >= results->requests.size()) return usage_error("there is no request {}", request);
    const RequestResult& r = results->requests[request];
    *prompt = {r.prompt.data(), r.prompt.size(), r.prompt_logprobs.view(), r.cached};
    return {};
  });
}

octavo_code octavo_results_output(const octavo_results* results, size_t request, size_t index, octavo_output* output) {
  return guarded([&]() -> Status {
    OCTAVO_TRY(needed(results, "results"));
    OCTAVO_TRY(needed(output, "output"));
    if (index >= octavo_results_outputs(results, request)) {
      return usage_error("there is no output {} of request {}", index, request);
    }
    const Output& o = results->requests[request].outputs[index];
    const engine::Event& end = o.last;
    const bool by_token = end.stop_token && !end.end_token;
    *output = {.text = o.text.c_str(),
               .text_size = o.text.size(),
               .tokens = o.tokens.data(),
               .token_count = o.tokens.size(),
               .logprobs = o.logprobs.view(),
               .cumulative_logprob = o.cumulative,
               .finish_reason = finish_text(end.reason),
               .has_stop_token = by_token ? 1 : 0,
               .stop_token = by_token ? *end.stop_token : 0,
               .stop_text = end.stop_text ? end.stop_text->c_str() : nullptr,
               .error = end.error.c_str(),
               .versions = o.versions.data(),
               .version_count = o.versions.size()};
    return {};
  });
}

}  // extern "C"
