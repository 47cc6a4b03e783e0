// Packing sequences into steps, and collecting what each token cost.
#include "octavo/engine/score.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "octavo/engine/kv_blocks.h"

namespace octavo::engine {
namespace {

using backend::SequenceRows;
using Tokens = std::vector<std::int32_t>;

constexpr std::uint64_t kTopRows = 16;  // rows of logits brought to the host at a time

// A sequence whose keys and values are partly in the cache.
struct Active {
  std::size_t index = 0;
  std::uint64_t fed = 0;
  std::vector<std::int32_t> blocks;
};

// What a row of the step belongs to: the token after it.
struct Row {
  std::size_t index;
  std::size_t target;
};

class Scoring {
 public:
  Scoring(Runner& runner, std::span<const Tokens> sequences, int top, const ScoreSink& done)
      : runner_(runner), sequences_(sequences), top_(top), done_(done), pool_(runner.cache->shape().blocks) {}

  Status run();

 private:
  Status check() const;
  // The last token is not fed: nothing comes after it.
  std::uint64_t feed(std::size_t index) const { return sequences_[index].empty() ? 0 : sequences_[index].size() - 1; }
  void pack();
  Status read_scores();
  Status read_top();
  Status report();

  Runner& runner_;
  std::span<const Tokens> sequences_;
  const int top_;
  const ScoreSink& done_;
  KvBlocks pool_;
  std::deque<Active> active_;  // in order; all but the last of a step are done after it
  std::size_t next_ = 0;       // sequence to begin
  std::size_t reported_ = 0;
  model::BatchPlan plan_;
  std::vector<Row> rows_;
  std::vector<Scores> scores_;
  std::vector<float> logits_;
};

Status Scoring::check() const {
  const std::uint64_t vocab = runner_.config().vocab;
  const std::uint64_t context = std::min(runner_.context, pool_.free() * kKvBlockTokens);
  for (std::size_t i = 0; i < sequences_.size(); ++i) {
    const Tokens& tokens = sequences_[i];
    if (tokens.size() > context) {
      return failure("sequence {}: {} tokens are more than the context of {}", i, tokens.size(), context);
    }
    for (const std::int32_t token : tokens) {
      if (token < 0 || static_cast<std::uint64_t>(token) >= vocab) {
        return failure("sequence {}: token id {} is outside the model's vocabulary of {}", i, token, vocab);
      }
    }
  }
  return {};
}

// Fills the next step: sequences in order, each whole where it fits, cut where the step ends.
void Scoring::pack() {
  plan_ = {};
  rows_.clear();
  std::uint64_t room = runner_.chunk;
  const auto add = [&](Active& a) {
    const Tokens& tokens = sequences_[a.index];
    const std::uint64_t count = std::min(room, feed(a.index) - a.fed);
    plan_.sequences.push_back({plan_.tokens.size(), count, a.fed, a.blocks});
    plan_.lengths.push_back(tokens.size());
    for (std::uint64_t i = 0; i < count; ++i) {
      plan_.logit_rows.push_back(static_cast<std::int32_t>(plan_.tokens.size()));
      plan_.tokens.push_back(tokens[a.fed + i]);
      rows_.push_back({a.index, a.fed + i + 1});
    }
    a.fed += count;
    room -= count;
  };
  for (Active& a : active_) add(a);  // at most one: the one that the last step cut
  for (; room > 0 && next_ < sequences_.size(); ++next_) {
    Scores& scores = scores_[next_];
    scores.logprobs.resize(sequences_[next_].size());
    scores.ranks.resize(sequences_[next_].size());
    if (top_ > 0) scores.top.resize(sequences_[next_].size());
    if (feed(next_) == 0) continue;
    Active a{next_, 0, {}};
    // All its blocks at once, so that two sequences can never wait for each other's.
    if (!pool_.grow(a.blocks, feed(next_))) break;
    active_.push_back(std::move(a));
    add(active_.back());
  }
}

Status Scoring::read_scores() {
  const std::size_t count = rows_.size();
  std::vector<std::int32_t> targets(count), ranks(count);
  std::vector<float> logprobs(count);
  for (std::size_t i = 0; i < count; ++i) targets[i] = sequences_[rows_[i].index][rows_[i].target];
  OCTAVO_TRY(runner_.decoder->token_logprobs(targets, logprobs, ranks));
  for (std::size_t i = 0; i < count; ++i) {
    const auto [index, target] = rows_[i];
    if (!std::isfinite(logprobs[i])) {
      return failure("sequence {}: the model's logits for token {} are not finite numbers", index, target);
    }
    scores_[index].logprobs[target] = logprobs[i];
    scores_[index].ranks[target] = ranks[i];
  }
  return {};
}

Status Scoring::read_top() {
  const std::uint64_t vocab = runner_.config().vocab;
  logits_.resize(kTopRows * vocab);
  for (std::size_t begin = 0; begin < rows_.size(); begin += kTopRows) {
    const std::size_t count = std::min<std::size_t>(kTopRows, rows_.size() - begin);
    const std::span<float> logits = std::span<float>(logits_).first(count * vocab);
    OCTAVO_TRY(runner_.decoder->logits(begin, count, logits));
    for (std::size_t i = 0; i < count; ++i) {
      const auto [index, target] = rows_[begin + i];
      Scores& scores = scores_[index];
      const std::span<const float> row = logits.subspan(i * vocab, vocab);
      Sample sample;
      sample.chosen.token = sequences_[index][target];
      sample.top = most_likely(row, static_cast<std::size_t>(top_), log_sum_exp(row));
      set_chosen_logprob(sample, scores.logprobs[target], scores.ranks[target]);
      scores.top[target] = std::move(sample.top);
    }
  }
  return {};
}

// Everything before the first sequence that is not finished.
Status Scoring::report() {
  while (!active_.empty() && active_.front().fed == feed(active_.front().index)) {
    pool_.give_back(active_.front().blocks);
    active_.pop_front();
  }
  const std::size_t end = active_.empty() ? next_ : active_.front().index;
  for (; reported_ < end; ++reported_) {
    OCTAVO_TRY(done_(reported_, std::move(scores_[reported_])));
  }
  return {};
}

Status Scoring::run() {
  OCTAVO_TRY(check());
  runner_.cached.clear();  // its blocks are used here
  scores_.resize(sequences_.size());
  while (reported_ < sequences_.size()) {
    pack();
    if (!rows_.empty()) {
      OCTAVO_TRY(runner_.decoder->step(plan_, *runner_.cache));
      OCTAVO_TRY(read_scores());
      if (top_ > 0) OCTAVO_TRY(read_top());
    }
    OCTAVO_TRY(report());
  }
  return {};
}

}  // namespace

Status score(Runner& runner, std::span<const Tokens> sequences, int top, const ScoreSink& done) {
  return Scoring(runner, sequences, top, done).run();
}

}  // namespace octavo::engine
