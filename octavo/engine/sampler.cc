// Sampling, exactly: FP64 sums in order of the ids, so that the same logits give the same token.
#include "octavo/engine/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "octavo/engine/exp.h"
#include "octavo/engine/random.h"

namespace octavo::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kLargest = std::numeric_limits<float>::max();

// logit += value, and stays a finite number if it was one.
void add(float& logit, double value) {
  if (!std::isinf(logit))
    logit = static_cast<float>(std::clamp(static_cast<double>(logit) + value, -kLargest, kLargest));
}

// The most likely first; ties by smaller id.
struct MoreLikely {
  std::span<const float> logits;
  bool operator()(std::int32_t a, std::int32_t b) const {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  }
};

// The largest score (-infinity where there are none), and whether any is NaN. In lanes, which a compiler can hold in
// vector registers; neither answer depends on the order.
struct Scan {
  float largest = -kInfinity;
  bool nan = false;
};
Scan scan(std::span<const float> scores) {
  constexpr std::size_t kLanes = 32;
  std::array<float, kLanes> largest;
  largest.fill(-kInfinity);
  std::array<std::uint32_t, kLanes> nan = {};
  std::size_t i = 0;
  for (; i + kLanes <= scores.size(); i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float score = scores[i + lane];
      largest[lane] = score > largest[lane] ? score : largest[lane];
      nan[lane] |= static_cast<std::uint32_t>(score != score);
    }
  }
  Scan out;
  for (; i < scores.size(); ++i) {
    out.largest = std::max(out.largest, scores[i]);
    out.nan |= std::isnan(scores[i]);
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    out.largest = std::max(out.largest, largest[lane]);
    out.nan |= nan[lane] != 0;
  }
  return out;
}

// The smallest id of that score, which is there.
std::int32_t first_of(std::span<const float> scores, float score) {
  return static_cast<std::int32_t>(std::find(scores.begin(), scores.end(), score) - scores.begin());
}

// Leaves in `ids` the top-k of them and what ties with the k-th; their order stays.
void keep_top_k(std::span<const float> logits, std::size_t k, std::vector<std::int32_t>& ids) {
  if (ids.size() <= k) return;
  std::vector<float> values(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) values[i] = logits[static_cast<std::size_t>(ids[i])];
  const auto kth = values.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(values.begin(), kth, values.end(), std::greater<>());
  const float least = *kth;
  std::erase_if(ids, [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)] < least; });
}

// Leaves in `ids` the smallest set, most likely first, whose weights' sum reaches `wanted`; in order of the ids.
template <typename Weight>
void keep_top_p(std::span<const float> logits, double wanted, const Weight& weight, std::vector<std::int32_t>& ids) {
  // Sorted no further than needed: top-p usually leaves some dozen of a hundred thousand.
  constexpr std::size_t kFirst = 256, kGrowth = 4;
  double mass = 0;
  std::size_t kept = 0, sorted = 0;
  for (std::size_t size = kFirst; kept < ids.size() && mass < wanted; size *= kGrowth) {
    const std::size_t end = std::min(ids.size(), sorted + size);
    const auto from = ids.begin() + static_cast<std::ptrdiff_t>(sorted);
    const auto to = ids.begin() + static_cast<std::ptrdiff_t>(end);
    std::nth_element(from, to - 1, ids.end(), MoreLikely{logits});
    std::sort(from, to, MoreLikely{logits});
    sorted = end;
    while (kept < sorted && mass < wanted) mass += weight(ids[kept++]);
  }
  ids.resize(std::max<std::size_t>(kept, 1));
  std::sort(ids.begin(), ids.end());
}

// The sum of e^((score - largest) / temperature), in order.
double sum_of_weights(std::span<const float> scores, double largest, double temperature) {
  std::array<double, 1024> part;
  double sum = 0;
  while (!scores.empty()) {
    const std::size_t count = std::min(scores.size(), part.size());
    for (std::size_t i = 0; i < count; ++i) part[i] = (static_cast<double>(scores[i]) - largest) / temperature;
    exp_nonpositive({part.data(), count});
    for (std::size_t i = 0; i < count; ++i) sum += part[i];
    scores = scores.subspan(count);
  }
  return sum;
}

}  // namespace

Status check_sampling(const SamplingParams& p) {
  // Negated, so that NaN is refused too.
  if (!(p.temperature >= 0 && std::isfinite(p.temperature))) {
    return usage_error("temperature {}: must be 0 or more", p.temperature);
  }
  if (p.top_k < -1) return usage_error("top_k {}: must be 1 or more, or 0 for all", p.top_k);
  if (!(p.top_p > 0 && p.top_p <= 1)) return usage_error("top_p {}: must be above 0 and at most 1", p.top_p);
  if (!(p.min_p >= 0 && p.min_p <= 1)) return usage_error("min_p {}: must be from 0 to 1", p.min_p);
  if (!(p.repetition_penalty > 0 && std::isfinite(p.repetition_penalty))) {
    return usage_error("repetition_penalty {}: must be above 0", p.repetition_penalty);
  }
  for (const auto& [name, value] :
       {std::pair{"frequency", p.frequency_penalty}, std::pair{"presence", p.presence_penalty}}) {
    if (!(value >= -2 && value <= 2)) return usage_error("{}_penalty {}: must be from -2 to 2", name, value);
  }
  for (const auto& [id, bias] : p.logit_bias) {
    if (!(bias >= -100 && bias <= 100))
      return usage_error("logit_bias {} of token {}: must be from -100 to 100", bias, id);
  }
  return {};
}

bool reports_raw(const SamplingParams& p, LogprobsMode mode) {
  if (mode == LogprobsMode::kRaw) return true;
  const bool penalized = p.repetition_penalty != 1 || p.frequency_penalty != 0 || p.presence_penalty != 0;
  if (penalized || !p.logit_bias.empty() || p.min_tokens != 0) return false;
  if (p.temperature < kGreedyTemperature) return true;
  const bool cut = p.top_k > 0 || p.top_p < 1 || p.min_p > 0;
  return p.temperature == 1 && (mode == LogprobsMode::kTempered || !cut);
}

void set_chosen_logprob(Sample& sample, float logprob, std::int32_t rank) {
  sample.chosen.logprob = logprob;
  sample.chosen.rank = rank;
  for (TokenLogprob& entry : sample.top) {
    if (entry.token == sample.chosen.token) entry = sample.chosen;
  }
}

double log_sum_exp(std::span<const float> logits) {
  float largest = -std::numeric_limits<float>::infinity();
  bool nan = logits.empty();
  for (const float logit : logits) {
    nan |= std::isnan(logit);
    largest = std::max(largest, logit);
  }
  if (nan || std::isinf(largest)) return std::numeric_limits<double>::quiet_NaN();
  return static_cast<double>(largest) + std::log(sum_of_weights(logits, largest, 1));
}

std::int32_t rank_of(std::span<const float> logits, std::int32_t token) {
  const float own = logits[static_cast<std::size_t>(token)];
  return 1 + static_cast<std::int32_t>(
                 std::count_if(logits.begin(), logits.end(), [own](float logit) { return logit > own; }));
}

std::vector<TokenLogprob> most_likely(std::span<const float> logits, std::size_t count, double normalizer) {
  count = std::min(count, logits.size());
  if (count == 0) return {};
  // The best so far as a heap whose front is the worst of them: one comparison for most tokens.
  const MoreLikely better{logits};
  std::vector<std::int32_t> best;
  best.reserve(count);
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(logits.size()); ++id) {
    if (best.size() == count) {
      if (!better(id, best.front())) continue;
      std::pop_heap(best.begin(), best.end(), better);
      best.pop_back();
    }
    best.push_back(id);
    std::push_heap(best.begin(), best.end(), better);
  }
  std::sort_heap(best.begin(), best.end(), better);
  std::vector<TokenLogprob> out;
  out.reserve(count);
  for (const std::int32_t id : best) {
    const float logit = logits[static_cast<std::size_t>(id)];
    const bool ties = !out.empty() && logits[static_cast<std::size_t>(out.back().token)] == logit;
    const std::int32_t rank = ties ? out.back().rank : static_cast<std::int32_t>(out.size() + 1);
    out.push_back({id, static_cast<float>(static_cast<double>(logit) - normalizer), rank});
  }
  return out;
}

Sampler::Sampler(SamplingParams params, std::uint64_t stream, std::span<const std::int32_t> end_tokens)
    : params_(std::move(params)), stream_(stream), ending_(params_.stop_token_ids) {
  ending_.insert(ending_.end(), end_tokens.begin(), end_tokens.end());
}

// What comes before the temperature. The logits themselves where nothing does.
std::span<const float> Sampler::adjusted(std::span<const float> logits, std::span<const std::int32_t> history,
                                         std::uint64_t index) {
  const SamplingParams& p = params_;
  const bool mask = index < p.min_tokens && !ending_.empty();
  const bool penalty = p.repetition_penalty != 1 || p.frequency_penalty != 0 || p.presence_penalty != 0;
  if (!mask && !penalty && p.logit_bias.empty()) return logits;
  work_->adjusted.assign(logits.begin(), logits.end());
  if (mask) {
    for (const std::int32_t id : ending_) {
      if (id >= 0 && static_cast<std::size_t>(id) < work_->adjusted.size())
        work_->adjusted[static_cast<std::size_t>(id)] = -kInfinity;
    }
  }
  for (const auto& [id, bias] : p.logit_bias) {
    if (id >= 0 && static_cast<std::size_t>(id) < work_->adjusted.size())
      add(work_->adjusted[static_cast<std::size_t>(id)], bias);
  }
  if (penalty) penalize(history, index);
  return work_->adjusted;
}

void Sampler::penalize(std::span<const std::int32_t> history, std::uint64_t index) {
  const auto each_seen = [&](std::span<const std::int32_t> tokens, const auto& body) {
    work_->seen.assign(tokens.begin(), tokens.end());
    std::sort(work_->seen.begin(), work_->seen.end());
    for (std::size_t i = 0, end = 0; i < work_->seen.size(); i = end) {
      while (end < work_->seen.size() && work_->seen[end] == work_->seen[i]) ++end;
      float& logit = work_->adjusted[static_cast<std::size_t>(work_->seen[i])];
      if (!std::isinf(logit)) body(logit, static_cast<double>(end - i));
    }
  };
  if (params_.repetition_penalty != 1) {
    each_seen(history, [&](float& logit, double) {
      // Away from "likely" whatever the sign; an absurd penalty does not make an infinity.
      const double value = logit;
      const double less = value > 0 ? value / params_.repetition_penalty : value * params_.repetition_penalty;
      logit = static_cast<float>(std::clamp(less, -kLargest, kLargest));
    });
  }
  if (params_.frequency_penalty != 0 || params_.presence_penalty != 0) {
    const std::size_t output = std::min<std::size_t>(history.size(), index);
    each_seen(history.last(output), [&](float& logit, double count) {
      add(logit, -(params_.frequency_penalty * count + params_.presence_penalty));
    });
  }
}

std::int32_t Sampler::draw(std::span<const float> logits, float largest_score, std::uint64_t index) {
  const double largest = largest_score;
  // The probability relative to the most likely token's: 1 for that one.
  const auto relative = [&](std::int32_t id) {
    return (static_cast<double>(logits[static_cast<std::size_t>(id)]) - largest) / params_.temperature;
  };
  double total = 0;
  const auto weigh_kept = [&] {
    std::vector<double>& weights = work_->probabilities;
    weights.resize(work_->kept.size());
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = relative(work_->kept[i]);
    exp_nonpositive(weights);
    total = 0;
    for (const double weight : weights) total += weight;
  };
  // weight >= min_p, without an exp for each.
  const double least = params_.min_p > 0 ? largest + params_.temperature * std::log(params_.min_p)
                                         : -std::numeric_limits<double>::infinity();
  // Without a branch for each: in most requests all are kept.
  work_->kept.resize(logits.size());
  std::size_t kept = 0;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    const double logit = logits[id];
    work_->kept[kept] = static_cast<std::int32_t>(id);
    kept += static_cast<std::size_t>(logit >= least) & static_cast<std::size_t>(logit != -kInfinity);
  }
  work_->kept.resize(kept);
  if (params_.top_k > 0) keep_top_k(logits, static_cast<std::size_t>(params_.top_k), work_->kept);
  weigh_kept();
  if (params_.top_p < 1) {
    const auto weight = [&](std::int32_t id) { return exp_nonpositive(relative(id)); };
    keep_top_p(logits, params_.top_p * total, weight, work_->kept);
    weigh_kept();
  }
  work_->largest = largest;
  work_->total = total;
  const double at = uniform(params_.seed.value_or(0), stream_, index) * total;
  double sum = 0;
  std::int32_t last = work_->kept.front();
  for (std::size_t i = 0; i < work_->kept.size(); ++i) {
    if (work_->probabilities[i] == 0) continue;
    last = work_->kept[i];
    sum += work_->probabilities[i];
    if (at < sum) break;
  }
  return last;  // the last possible one where rounding left `at` beyond the sum
}

// Of all tokens that are not masked. `largest`: of the scores.
void Sampler::report_tempered(std::span<const float> scores, float largest, std::size_t top, Sample& sample) {
  const double temperature = params_.temperature < kGreedyTemperature ? 1 : params_.temperature;
  const auto relative = [&](float score) {
    return (static_cast<double>(score) - static_cast<double>(largest)) / temperature;
  };
  const double normalizer = std::log(sum_of_weights(scores, largest, temperature));
  const auto logprob = [&](std::int32_t id) {
    return static_cast<float>(relative(scores[static_cast<std::size_t>(id)]) - normalizer);
  };
  sample.chosen.logprob = logprob(sample.chosen.token);
  sample.chosen.rank = rank_of(scores, sample.chosen.token);
  sample.top = most_likely(scores, top, 0);
  for (TokenLogprob& entry : sample.top) entry.logprob = logprob(entry.token);
  std::erase_if(sample.top, [](const TokenLogprob& entry) { return std::isinf(entry.logprob); });
}

// Of the tokens that draw() left.
void Sampler::report_processed(std::span<const float> scores, std::size_t top, Sample& sample) {
  const double normalizer = std::log(work_->total);
  const auto score = [&](std::int32_t id) { return scores[static_cast<std::size_t>(id)]; };
  const auto report = [&](std::int32_t id) {
    const auto larger =
        std::count_if(work_->kept.begin(), work_->kept.end(), [&](std::int32_t k) { return score(k) > score(id); });
    const double relative = (static_cast<double>(score(id)) - work_->largest) / params_.temperature;
    return TokenLogprob{id, static_cast<float>(relative - normalizer), static_cast<std::int32_t>(larger + 1)};
  };
  sample.chosen = report(sample.chosen.token);
  const std::size_t count = std::min(top, work_->kept.size());
  const auto end = work_->kept.begin() + static_cast<std::ptrdiff_t>(count);
  std::partial_sort(work_->kept.begin(), end, work_->kept.end(), MoreLikely{scores});
  for (auto id = work_->kept.begin(); id != end; ++id) sample.top.push_back(report(*id));
}

Result<Sample> Sampler::sample(std::span<const float> logits, std::span<const std::int32_t> history,
                               std::uint64_t index, int top, LogprobsMode mode, SamplerScratch* scratch) {
  work_ = scratch != nullptr ? scratch : &own_;
  const auto [largest, nan] = scan(logits);
  if (nan || std::isinf(largest)) {
    return failure("the model's logits for token {} of the output are not finite numbers", index + 1);
  }
  const std::span<const float> scores = adjusted(logits, history, index);
  const float best = scores.data() == logits.data() ? largest : scan(scores).largest;
  if (std::isinf(best)) {
    return failure("no token is left for place {} of the output: min_tokens rules out all that the model can say",
                   index + 1);
  }
  Sample sample;
  const bool greedy = params_.temperature < kGreedyTemperature;
  sample.chosen.token = greedy ? first_of(scores, best) : draw(scores, best, index);
  if (top >= 0 && (mode == LogprobsMode::kTempered || (mode == LogprobsMode::kProcessed && greedy))) {
    report_tempered(scores, best, static_cast<std::size_t>(top), sample);
  } else if (top >= 0 && mode == LogprobsMode::kProcessed) {
    report_processed(scores, static_cast<std::size_t>(top), sample);
  } else if (top >= 0) {
    const double normalizer = log_sum_exp(logits);
    const double logit = logits[static_cast<std::size_t>(sample.chosen.token)];
    sample.chosen.logprob = static_cast<float>(logit - normalizer);
    sample.chosen.rank = rank_of(logits, sample.chosen.token);
    sample.top = most_likely(logits, static_cast<std::size_t>(top), normalizer);
  }
  return sample;
}

}  // namespace octavo::engine
