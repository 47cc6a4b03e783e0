// One step: the scheduler's plan becomes a batch, its logits become tokens and events.
#include <algorithm>
#include <cmath>

#include "octavo/engine/engine_state.h"

namespace octavo::engine {
namespace {

constexpr std::size_t kLogitRows = 16;  // brought to the host at a time

double seconds(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

}  // namespace

Status Engine::State::step() {
  const StepPlan& plan = scheduler.plan();
  live.preemptions += plan.preempted.size();
  if (plan.slices.empty()) return {};
  for (Sequence* sequence : plan.admitted) {
    RequestState& request = static_cast<Continuation*>(sequence)->request;
    if (!request.begun) live.queue_time.observe(seconds(Clock::now() - request.arrived));
    request.begun = true;
  }
  ++live.steps;
  live.step_tokens += plan.tokens;
  build(plan);
  Status status = runner.decoder->step(batch, *runner.cache);
  if (status.ok()) status = read_rows();
  if (!status.ok()) fail_step(plan, status.error());
  return status;
}

void Engine::State::build(const StepPlan& plan) {
  batch.tokens.clear();
  batch.sequences.clear();
  batch.logit_rows.clear();
  batch.lengths.clear();
  rows.clear();
  for (const Slice& slice : plan.slices) {
    const std::uint64_t first_row = batch.tokens.size();
    add_rows(slice);
    add_logit_rows(slice, first_row);
  }
}

void Engine::State::add_rows(const Slice& slice) {
  const Sequence& s = *slice.sequence;
  const auto put = [&](std::uint64_t begin, std::uint64_t end) {
    batch.sequences.push_back({batch.tokens.size(), end - begin, begin, s.chain.blocks});
    batch.tokens.insert(batch.tokens.end(), s.tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                        s.tokens.begin() + static_cast<std::ptrdiff_t>(end));
  };
  const std::uint64_t end = slice.begin + slice.count;
  if (!dynamic_rope) return put(slice.begin, end);
  // Frequencies follow the length that a call sees: the whole prompt's for its tokens, its own for each output token,
  // as when it was computed first.
  const std::uint64_t prompt = static_cast<const Continuation&>(s).request.request.prompt.size();
  if (slice.begin < prompt) {
    put(slice.begin, std::min(prompt, end));
    batch.lengths.push_back(prompt);
  }
  for (std::uint64_t i = std::max(prompt, slice.begin); i < end; ++i) {
    put(i, i + 1);
    batch.lengths.push_back(i + 1);
  }
}

void Engine::State::add_logit_rows(const Slice& slice, std::uint64_t first_row) {
  auto& c = static_cast<Continuation&>(*slice.sequence);
  const auto want = [&](std::uint64_t target) {
    batch.logit_rows.push_back(static_cast<std::int32_t>(first_row + target - 1 - slice.begin));
    rows.push_back({&c, target});
  };
  const std::uint64_t end = slice.begin + slice.count;
  RequestState& p = c.request;
  if (c.index == 0 && p.scores_prompt()) {
    const std::uint64_t last = std::min<std::uint64_t>(end + 1, p.request.prompt.size());
    for (std::uint64_t target = std::max(p.next_scored, slice.begin + 1); target < last; ++target) want(target);
  }
  if (end == c.tokens.size()) want(end);
}

Status Engine::State::read_rows() {
  for (std::size_t begin = 0; begin < rows.size(); begin += kLogitRows) {
    OCTAVO_TRY(read_tile(begin, std::min(kLogitRows, rows.size() - begin)));
  }
  return {};
}

// Of one row, in any thread; at most one row of a step draws from a continuation's sampler.
void Engine::State::sample_row(const LogitRow& row, std::span<const float> row_logits, int worker, Drawn& out) {
  Continuation& c = *row.continuation;
  const RequestState& p = c.request;
  if (c.state == SequenceState::kFinished) return;
  if (row.target < c.tokens.size()) {  // of the prompt
    const auto top = static_cast<std::size_t>(p.request.prompt_logprobs->top);
    out.sample.chosen.token = c.tokens[row.target];
    if (top > 0) out.sample.top = most_likely(row_logits, top, log_sum_exp(row_logits));
    return;
  }
  if (p.limit == 0) return;
  int top = p.request.logprobs.value_or(-1);
  if (top == 0 && p.logprobs_mode == LogprobsMode::kRaw) top = -1;  // the backend tells the token's own
  Result<Sample> sample = c.sampler.sample(row_logits, c.tokens, c.output.count(), top, p.logprobs_mode,
                                           &scratch[static_cast<std::size_t>(worker)]);
  if (sample.ok()) {
    out.sample = std::move(*sample);
  } else {
    out.error = sample.error().message;
  }
}

Status Engine::State::read_tile(std::size_t begin, std::size_t count) {
  logits.resize(kLogitRows * vocab);
  const std::span<float> tile = std::span<float>(logits).first(count * vocab);
  OCTAVO_TRY(runner.decoder->logits(begin, count, tile));
  std::vector<Drawn> drawn(count);
  pool.run(count, [&](std::size_t i, int worker) {
    sample_row(rows[begin + i], tile.subspan(i * vocab, vocab), worker, drawn[i]);
  });

  const auto of_prompt = [](const LogitRow& row) { return row.target < row.continuation->tokens.size(); };
  const auto wants_raw = [&](const LogitRow& row) {
    const RequestState& p = row.continuation->request;
    return of_prompt(row) || (p.request.logprobs && p.logprobs_mode == LogprobsMode::kRaw);
  };
  const std::span<const LogitRow> own = std::span<const LogitRow>(rows).subspan(begin, count);
  if (std::any_of(own.begin(), own.end(), wants_raw)) {
    // The backend's own numbers, which score() reports too: the same to the last bit.
    if (!device_logits) {
      OCTAVO_ASSIGN(device_logits, runner.backend->create_buffer(kLogitRows * vocab));
    }
    const backend::Matrix matrix = device_logits->matrix(count, vocab);
    runner.backend->upload(tile, matrix);
    std::vector<std::int32_t> targets(count), ranks(count);
    std::vector<float> logprobs(count);
    for (std::size_t i = 0; i < count; ++i) targets[i] = drawn[i].sample.chosen.token;
    runner.backend->token_logprobs(matrix, targets, logprobs, ranks);
    for (std::size_t i = 0; i < count; ++i) {
      if (!wants_raw(own[i])) continue;
      set_chosen_logprob(drawn[i].sample, logprobs[i], ranks[i]);
      if (of_prompt(own[i]) && !std::isfinite(logprobs[i])) {
        drawn[i].error =
            fmt::format("the model's logits for token {} of the prompt are not finite numbers", own[i].target);
      }
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    const LogitRow& row = own[i];
    if (row.continuation->state == SequenceState::kFinished) continue;  // its request has ended in this step
    if (!drawn[i].error.empty()) {
      end_request(row.continuation->request, drawn[i].error, /*failed=*/true);
    } else if (of_prompt(row)) {
      accept_prompt(row, std::move(drawn[i].sample));
    } else {
      accept(row, std::move(drawn[i].sample));
    }
  }
  return {};
}

void Engine::State::accept_prompt(const LogitRow& row, Sample sample) {
  RequestState& p = row.continuation->request;
  p.prompt_logprobs->entries.push_back(std::move(sample));
  p.next_scored = row.target + 1;
  // Computed once: should the sequence be preempted, it may find these rows in the cache.
  row.continuation->first_row = p.scores_prompt() ? row.target : ~std::uint64_t{0};
}

void Engine::State::note_version(Continuation& c) const {
  const std::uint64_t at = c.output.count() - 1;
  if (c.versions.empty() || c.versions.back().number != version.number || c.versions.back().label != version.label) {
    c.versions.push_back({version.number, version.label, at, at});
  }
  c.versions.back().end = at + 1;
}

void Engine::State::accept(const LogitRow& row, Sample sample) {
  Continuation& c = *row.continuation;
  RequestState& p = c.request;
  const Clock::time_point now = Clock::now();
  Event event;
  std::optional<Ending> ending;
  if (c.output.count() == 0) live.prompt_tokens += c.index == 0 ? p.request.prompt.size() : 0;
  if (p.limit == 0) {
    ending = Ending{.reason = FinishReason::kLength};
  } else {
    (c.output.count() == 0 ? live.time_to_first_token : live.inter_token_latency).observe(seconds(now - c.last_token));
    c.last_token = now;
    ++live.generation_tokens;
    const std::int32_t token = sample.chosen.token;
    c.tokens.push_back(token);
    event.tokens = {token};
    ending = c.output.push(token, event.text);
    note_version(c);
    if (p.request.logprobs) event.logprobs.push_back(std::move(sample));
  }
  if (ending) {
    event.finished = true;
    event.reason = ending->reason;
    event.stop_token = ending->stop_token;
    event.end_token = ending->end_token;
    event.stop_text = std::move(ending->stop_text);
  }
  emit(c, std::move(event));
}

// Who knows what was written: nothing of it is used again.
void Engine::State::fail_step(const StepPlan& plan, const Error& error) {
  std::vector<RequestState*> requests_of_step;
  for (const Slice& slice : plan.slices) {
    if (slice.sequence->state == SequenceState::kFinished) continue;
    requests_of_step.push_back(&static_cast<Continuation*>(slice.sequence)->request);
  }
  for (RequestState* request : requests_of_step) end_request(*request, error.message, /*failed=*/true);
  live.preemptions += scheduler.running();
  scheduler.retract_all();
  blocks.reset();
}

}  // namespace octavo::engine
