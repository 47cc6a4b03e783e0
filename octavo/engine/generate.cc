// Prefill once, then decode n continuations together.
#include "octavo/engine/generate.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "octavo/engine/kv_blocks.h"
#include "octavo/engine/stop_text.h"
#include "octavo/text/detokenizer.h"

namespace octavo::engine {
namespace {

using backend::SequenceRows;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kLogitRows = 16;  // brought to the host at a time

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// One continuation on its way.
struct Sequence {
  Sequence(const GenerateRequest& request, std::uint64_t stream)
      : tokens(request.prompt), sampler(request.sampling, stream), stop(request.stop) {}

  std::vector<std::int32_t> tokens;  // prompt and output
  std::vector<std::int32_t> blocks;  // of the cache; the first ones are shared
  Sampler sampler;
  StopText stop;
  std::optional<text::IncrementalDetokenizer> detokenizer;
  Completion out;
  bool done = false;
};

class Generation {
 public:
  Generation(Runner& runner, const GenerateRequest& request, const TextSink& sink)
      : runner_(runner), request_(request), sink_(sink), pool_(runner.cache->shape().blocks) {}

  Result<GenerateResult> run();

 private:
  Status check() const;
  void make_sequences();
  Status prefill();
  Status prefill_shared(std::uint64_t begin, std::uint64_t end);
  Status prefill_tails(std::uint64_t begin);
  Status decode_step();
  Status step();
  Status sample_rows(const std::vector<Sequence*>& rows);
  void accept(Sequence& sequence, Sample sample);
  void show(Sequence& sequence, std::string text);
  void finish(Sequence& sequence, FinishReason reason);
  bool cancelled() const { return request_.cancelled && request_.cancelled(); }
  std::vector<Sequence*> active();

  Runner& runner_;
  const GenerateRequest& request_;
  const TextSink& sink_;
  KvBlocks pool_;
  std::uint64_t limit_ = 0;  // tokens of a continuation
  std::vector<Sequence> sequences_;
  model::BatchPlan plan_;
  std::vector<float> logits_;  // [kLogitRows, vocab]
  GenerateResult result_;
};

Status Generation::check() const {
  const GenerateRequest& r = request_;
  OCTAVO_TRY(check_sampling(r.sampling));
  if (r.n == 0) return usage_error("n 0: must be 1 or more");
  if (r.prompt.empty()) return failure("the prompt is empty: a model needs at least one token to go on from");
  const std::uint64_t vocab = runner_.config().vocab;
  for (const std::int32_t token : r.prompt) {
    if (token < 0 || static_cast<std::uint64_t>(token) >= vocab) {
      return failure("token id {} of the prompt is outside the model's vocabulary of {}", token, vocab);
    }
  }
  if (r.prompt.size() >= runner_.context) {
    return failure("the prompt has {} tokens, which leaves no room in the context of {}", r.prompt.size(),
                   runner_.context);
  }
  if (r.n > runner_.step_tokens) {
    return failure("{} continuations at once are more than the {} this run was made for", r.n, runner_.step_tokens);
  }
  const bool empty_stop = std::any_of(r.stop.begin(), r.stop.end(), [](const auto& text) { return text.empty(); });
  if (empty_stop) return usage_error("stop: an empty text would end the output before it begins");
  if (!r.stop.empty() && !runner_.tokenizer) return failure("stop needs a tokenizer, and the model has none");
  const std::uint64_t needed = cache_tokens(r.prompt.size(), r.prompt.size() + limit_, r.n);
  const std::uint64_t has = pool_.free() * kKvBlockTokens;
  if (needed > has) {
    return failure("{} continuations of {} tokens need a cache of {} tokens, but it has {}", r.n, limit_, needed, has);
  }
  return {};
}

void Generation::make_sequences() {
  sequences_.reserve(request_.n);
  for (std::uint64_t i = 0; i < request_.n; ++i) sequences_.emplace_back(request_, i);
  if (!runner_.tokenizer) return;
  for (Sequence& s : sequences_) {
    s.detokenizer.emplace(*runner_.tokenizer, request_.skip_special);
    // What a token looks like depends on what stands before it (a leading space, a character begun): the prompt goes
    // through the detokenizer too, and only its text is dropped.
    for (const std::int32_t token : request_.prompt) s.detokenizer->push(token);
  }
}

std::vector<Sequence*> Generation::active() {
  std::vector<Sequence*> out;
  for (Sequence& s : sequences_) {
    if (!s.done) out.push_back(&s);
  }
  return out;
}

Status Generation::step() {
  const Status status = runner_.decoder->step(plan_, *runner_.cache);
  if (!status.ok()) runner_.cached.clear();  // who knows what was written
  return status;
}

// Rows [begin, end) of the prompt into the blocks of sequence 0; the logits of row end - 1 stay in the decoder.
Status Generation::prefill_shared(std::uint64_t begin, std::uint64_t end) {
  Sequence& first = sequences_.front();
  if (!pool_.grow(first.blocks, end)) return failure("the KV cache is too small for {} tokens", end);
  const std::vector<std::int32_t>& prompt = request_.prompt;
  while (begin < end && !cancelled()) {
    const std::uint64_t count = std::min(runner_.chunk, end - begin);
    plan_.tokens.assign(prompt.begin() + static_cast<std::ptrdiff_t>(begin),
                        prompt.begin() + static_cast<std::ptrdiff_t>(begin + count));
    plan_.sequences = {SequenceRows{0, count, begin, first.blocks}};
    plan_.lengths = {prompt.size()};
    plan_.logit_rows.clear();
    if (begin + count == end) plan_.logit_rows.push_back(static_cast<std::int32_t>(count - 1));
    runner_.cached.resize(begin);
    OCTAVO_TRY(step());
    runner_.cached.insert(runner_.cached.end(), plan_.tokens.begin(), plan_.tokens.end());
    begin += count;
  }
  return {};
}

// The prompt's last tokens, in a block that is not full: each continuation will go on in one of its own, so each
// computes them. The logits of the last row of sequence 0 stay in the decoder.
Status Generation::prefill_tails(std::uint64_t begin) {
  const std::vector<std::int32_t>& prompt = request_.prompt;
  const std::uint64_t tail = prompt.size() - begin;
  const std::uint64_t together = std::max<std::uint64_t>(1, runner_.step_tokens / tail);
  // The last group is that of sequence 0, so that its logits are the ones that stay.
  for (std::uint64_t end = sequences_.size(); end > 0 && !cancelled();) {
    const std::uint64_t from = end > together ? end - together : 0;
    plan_ = {};
    for (std::uint64_t i = from; i < end; ++i) {
      Sequence& s = sequences_[i];
      if (!pool_.grow(s.blocks, prompt.size())) return failure("the KV cache is too small for {} continuations", end);
      plan_.sequences.push_back({plan_.tokens.size(), tail, begin, s.blocks});
      plan_.lengths.push_back(prompt.size());
      plan_.tokens.insert(plan_.tokens.end(), prompt.end() - static_cast<std::ptrdiff_t>(tail), prompt.end());
    }
    if (from == 0) plan_.logit_rows.push_back(static_cast<std::int32_t>(tail - 1));
    OCTAVO_TRY(step());
    end = from;
  }
  return {};
}

Status Generation::prefill() {
  const std::vector<std::int32_t>& prompt = request_.prompt;
  const auto [cached_end, prompt_end] =
      std::mismatch(runner_.cached.begin(), runner_.cached.end(), prompt.begin(), prompt.end());
  // The last token is always computed: its logits are what is wanted.
  const auto known =
      std::min<std::uint64_t>(static_cast<std::uint64_t>(prompt_end - prompt.begin()), prompt.size() - 1);
  const std::uint64_t full = prompt.size() / kKvBlockTokens * kKvBlockTokens;
  const std::uint64_t shared = request_.n == 1 ? prompt.size() : full;
  const std::uint64_t begin = std::min(known, shared);
  result_.reused_tokens = begin;
  OCTAVO_TRY(prefill_shared(begin, shared));
  runner_.cached.resize(std::min<std::uint64_t>(runner_.cached.size(), shared));
  for (Sequence& s : sequences_) s.blocks = sequences_.front().blocks;
  if (shared < prompt.size()) OCTAVO_TRY(prefill_tails(shared));
  return {};
}

// Feeds every active continuation's last token.
Status Generation::decode_step() {
  plan_ = {};
  const std::vector<Sequence*> rows = active();
  for (Sequence* s : rows) {
    const std::uint64_t position = s->tokens.size() - 1;
    if (!pool_.grow(s->blocks, position + 1)) return failure("the KV cache is too small for {} tokens", position + 1);
    plan_.logit_rows.push_back(static_cast<std::int32_t>(plan_.tokens.size()));
    plan_.sequences.push_back({plan_.tokens.size(), 1, position, s->blocks});
    plan_.tokens.push_back(s->tokens.back());
  }
  OCTAVO_TRY(step());
  if (sequences_.size() == 1) runner_.cached.push_back(plan_.tokens.front());
  ++result_.decode_steps;
  result_.decoded_tokens += rows.size();
  return sample_rows(rows);
}

// Samples row i of the last step for rows[i]; a single row of logits (after a prefill) for all of them.
Status Generation::sample_rows(const std::vector<Sequence*>& rows) {
  const std::uint64_t vocab = runner_.config().vocab;
  const bool one_row = plan_.logit_rows.size() == 1;
  std::vector<Sample> samples;
  for (std::uint64_t i = 0; i < rows.size(); ++i) {
    if (i % kLogitRows == 0 && !(one_row && i > 0)) {
      const std::uint64_t count = one_row ? 1 : std::min<std::uint64_t>(kLogitRows, rows.size() - i);
      logits_.resize(count * vocab);
      OCTAVO_TRY(runner_.decoder->logits(i, count, logits_));
    }
    Sequence& s = *rows[i];
    const std::uint64_t row = one_row ? 0 : i % kLogitRows;
    const std::span<const float> logits = std::span<const float>(logits_).subspan(row * vocab, vocab);
    OCTAVO_ASSIGN(Sample sample, s.sampler.sample(logits, s.tokens, s.out.tokens.size(), request_.logprobs));
    samples.push_back(std::move(sample));
  }
  if (request_.logprobs >= 0) {
    // The backend's own number, which score() reports too: the same to the last bit.
    const std::uint64_t kept = plan_.logit_rows.size();
    std::vector<std::int32_t> targets(kept), ranks(kept);
    std::vector<float> logprobs(kept);
    for (std::uint64_t i = 0; i < rows.size(); i += kept) {
      for (std::uint64_t j = 0; j < kept; ++j) targets[j] = samples[i + j].chosen.token;
      OCTAVO_TRY(runner_.decoder->token_logprobs(targets, logprobs, ranks));
      for (std::uint64_t j = 0; j < kept; ++j) set_chosen_logprob(samples[i + j], logprobs[j], ranks[j]);
    }
  }
  for (std::uint64_t i = 0; i < rows.size(); ++i) accept(*rows[i], std::move(samples[i]));
  return {};
}

void Generation::show(Sequence& s, std::string text) {
  if (text.empty()) return;
  if (sink_) sink_(static_cast<std::uint64_t>(&s - sequences_.data()), text);
  s.out.text += text;
}

void Generation::accept(Sequence& s, Sample sample) {
  const std::int32_t token = sample.chosen.token;
  s.tokens.push_back(token);
  s.out.tokens.push_back(token);
  if (request_.logprobs >= 0) s.out.samples.push_back(std::move(sample));
  const std::vector<std::int32_t>& ends = runner_.end_tokens;
  if (!request_.ignore_eos && std::binary_search(ends.begin(), ends.end(), token)) {
    return finish(s, FinishReason::kStop);
  }
  if (s.detokenizer) show(s, s.stop.push(s.detokenizer->push(token)));
  if (s.stop.stopped()) {
    finish(s, FinishReason::kStop);
  } else if (s.out.tokens.size() == limit_) {
    finish(s, FinishReason::kLength);
  }
}

void Generation::finish(Sequence& s, FinishReason reason) {
  if (s.detokenizer && !s.stop.stopped()) {
    show(s, s.stop.push(s.detokenizer->finish()));
    show(s, s.stop.finish());
    if (s.stop.stopped()) reason = FinishReason::kStop;
  }
  s.out.finish = reason;
  s.done = true;
}

Result<GenerateResult> Generation::run() {
  const std::uint64_t room = runner_.context - std::min<std::uint64_t>(runner_.context, request_.prompt.size());
  limit_ = request_.max_tokens == 0 ? room : std::min(request_.max_tokens, room);
  OCTAVO_TRY(check());
  make_sequences();
  result_.prompt_tokens = request_.prompt.size();

  const auto start = Clock::now();
  OCTAVO_TRY(prefill());
  if (!cancelled()) OCTAVO_TRY(sample_rows(active()));
  result_.prefill_seconds = seconds_since(start);
  const auto decode_start = Clock::now();
  while (!active().empty() && !cancelled()) OCTAVO_TRY(decode_step());
  result_.decode_seconds = seconds_since(decode_start);

  for (Sequence& s : sequences_) {
    if (!s.done) finish(s, FinishReason::kAbort);
    result_.completions.push_back(std::move(s.out));
  }
  return std::move(result_);
}

double rate(std::uint64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }

}  // namespace

double GenerateResult::prefill_rate() const { return rate(prompt_tokens - reused_tokens, prefill_seconds); }
double GenerateResult::decode_rate() const { return rate(decoded_tokens, decode_seconds); }

std::uint64_t cache_tokens(std::uint64_t prompt, std::uint64_t length, std::uint64_t n) {
  const std::uint64_t shared = n == 1 ? 0 : prompt / kKvBlockTokens;
  return (shared + n * (kv_blocks_for(length) - shared)) * kKvBlockTokens;
}

Result<GenerateResult> generate(Runner& runner, const GenerateRequest& request, const TextSink& sink) {
  return Generation(runner, request, sink).run();
}

}  // namespace octavo::engine
