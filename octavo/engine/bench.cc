// Tests and limits in turn, so that drift of the machine shows in both.
#include "octavo/engine/bench.h"

#include <algorithm>
#include <chrono>

#include "octavo/backend/cpu/kernels.h"
#include "octavo/base/memory.h"
#include "octavo/engine/kv_blocks.h"

namespace octavo::engine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kFewestSteps = 8;    // of a batch's decode test
constexpr std::uint64_t kWarmUpTokens = 64;  // of a prompt before the first repetition
constexpr std::uint64_t kLimitShare = 4;     // the limits take at most a quarter of the memory that is free
constexpr std::uint64_t kLogitRows = 16;     // brought to the host at a time

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

double kv_bytes_per_token(const model::DecoderConfig& config, backend::KvDType kv) {
  backend::KvShape one{.layers = 1,
                       .kv_heads = config.kv_heads,
                       .head_dim = config.head_dim,
                       .blocks = 1,
                       .block_size = 1,
                       .dtype = kv,
                       .k_scales = {},
                       .v_scales = {}};
  return static_cast<double>(one.bytes());
}

struct LimitSample {
  double dram = 0, fma = 0, bf16 = 0;
};

class Bench {
 public:
  Bench(Runner& runner, cpu::Limits& limits, Isa isa, const BenchOptions& options, const BenchProgress& progress)
      : runner_(runner),
        limits_(limits),
        options_(options),
        progress_(progress),
        weights_(weight_bytes(runner)),
        bf16_(cpu::kernels(isa, runner.backend->compute() == backend::Compute::kBF16).inputs !=
              cpu::InputForm::kF32Pairs) {}

  Status run(BenchRun& out);

 private:
  Status prefill(std::uint64_t tokens, StepWork* work);
  Status decode(std::uint64_t batch, std::uint64_t steps, StepWork* work);
  // One step and the logits of its rows, as a sampler would have them.
  Status step(const StepShape& shape, StepWork* work);
  template <typename Once>
  Result<BenchTest> measure(BenchTest test, const Once& once);
  LimitSample sample_limits();
  double peak(const LimitSample& sample) const { return bf16_ ? sample.bf16 : sample.fma; }
  std::int32_t token(std::uint64_t sequence, std::uint64_t position) const {
    // Any ids that are not all the same: the embedding's rows lie far apart.
    return static_cast<std::int32_t>((position * 7919 + sequence * 104729 + 1) % runner_.config().vocab);
  }

  Runner& runner_;
  cpu::Limits& limits_;
  const BenchOptions& options_;
  const BenchProgress& progress_;
  const WeightBytes weights_;
  const bool bf16_;                                // the linear layers multiply BF16
  std::vector<std::vector<std::int32_t>> chains_;  // cache blocks of each sequence
  std::vector<float> logits_;
  std::vector<LimitSample> samples_;
};

LimitSample Bench::sample_limits() {
  LimitSample out{limits_.dram_read_gb_per_s(), limits_.fma_gflop_per_s(), limits_.bf16_gflop_per_s()};
  samples_.push_back(out);
  return out;
}

Status Bench::step(const StepShape& shape, StepWork* work) {
  model::BatchPlan plan;
  for (std::uint64_t s = 0; s < shape.sequences; ++s) {
    plan.sequences.push_back({plan.tokens.size(), shape.count, shape.position, chains_[s]});
    for (std::uint64_t i = 0; i < shape.count; ++i) plan.tokens.push_back(token(s, shape.position + i));
    if (shape.logit_rows > 0) plan.logit_rows.push_back(static_cast<std::int32_t>(plan.tokens.size() - 1));
  }
  OCTAVO_TRY(runner_.decoder->step(plan, *runner_.cache));
  const std::uint64_t vocab = runner_.config().vocab;
  for (std::uint64_t at = 0; at < shape.logit_rows; at += kLogitRows) {
    const std::uint64_t rows = std::min(kLogitRows, shape.logit_rows - at);
    logits_.resize(rows * vocab);
    OCTAVO_TRY(runner_.decoder->logits(at, rows, logits_));
  }
  if (work != nullptr) *work += step_work(runner_.config(), weights_, runner_.cache->shape().dtype, shape);
  return {};
}

Status Bench::prefill(std::uint64_t tokens, StepWork* work) {
  for (std::uint64_t at = 0; at < tokens;) {
    const std::uint64_t count = std::min(runner_.chunk, tokens - at);
    OCTAVO_TRY(step({.count = count, .position = at, .logit_rows = at + count == tokens ? 1u : 0u}, work));
    at += count;
  }
  return {};
}

Status Bench::decode(std::uint64_t batch, std::uint64_t steps, StepWork* work) {
  for (std::uint64_t i = 0; i < steps; ++i) {
    OCTAVO_TRY(step({.sequences = batch, .position = i, .logit_rows = batch}, work));
  }
  return {};
}

// once(work) runs the test; work may be null.
template <typename Once>
Result<BenchTest> Bench::measure(BenchTest test, const Once& once) {
  std::vector<double> seconds, ratios;
  LimitSample before = samples_.empty() ? sample_limits() : samples_.back();
  for (int repetition = 0; repetition < options_.repetitions; ++repetition) {
    if (progress_) progress_(fmt::format("{} {}/{}", test.name, repetition + 1, options_.repetitions));
    test.work = {};
    const auto start = Clock::now();
    OCTAVO_TRY(once(&test.work));
    seconds.push_back(seconds_since(start));
    const LimitSample after = sample_limits();
    const double dram = (before.dram + after.dram) / 2, compute = (peak(before) + peak(after)) / 2;
    const double memory_seconds = test.work.bytes / dram / 1e9, compute_seconds = test.work.flops / compute / 1e9;
    test.bound = memory_seconds > compute_seconds ? Bound::kMemory : Bound::kCompute;
    ratios.push_back(std::max(memory_seconds, compute_seconds) / seconds.back());
    before = after;
  }
  const auto rates = [&](double amount) {
    std::vector<double> out;
    for (const double s : seconds) out.push_back(amount / s);
    return spread_of(std::move(out));
  };
  test.seconds = spread_of(seconds);
  test.tokens_per_s = rates(static_cast<double>(test.tokens));
  test.gb_per_s = rates(test.work.bytes / 1e9);
  test.gflop_per_s = rates(test.work.flops / 1e9);
  test.ratio = spread_of(std::move(ratios));
  return test;
}

Status Bench::run(BenchRun& out) {
  // Every sequence has its own chain of blocks.
  const auto make_chains = [&](std::uint64_t sequences, std::uint64_t tokens) -> Status {
    KvBlocks pool(runner_.cache->shape().blocks);
    chains_.assign(sequences, {});
    for (auto& chain : chains_) {
      if (!pool.grow(chain, tokens)) return failure("the KV cache is too small for {} sequences", sequences);
    }
    return {};
  };

  out.peak = bf16_ ? "bf16" : "fma";
  if (options_.prompt > 0) {
    OCTAVO_TRY(make_chains(1, options_.prompt));
    OCTAVO_TRY(prefill(std::min(options_.prompt, kWarmUpTokens), nullptr));
    BenchTest test;
    test.name = fmt::format("pp{}", options_.prompt);
    test.prefill = true;
    test.tokens = options_.prompt;
    test.steps = (options_.prompt + runner_.chunk - 1) / runner_.chunk;
    OCTAVO_ASSIGN(test, measure(test, [&](StepWork* work) { return prefill(options_.prompt, work); }));
    out.tests.push_back(std::move(test));
  }
  if (options_.generate > 0) {
    for (const std::uint64_t batch : options_.batches) {
      const std::uint64_t steps = decode_steps(options_, batch);
      OCTAVO_TRY(make_chains(batch, steps));
      OCTAVO_TRY(decode(batch, 1, nullptr));
      BenchTest test;
      test.name = batch == 1 ? fmt::format("tg{}", options_.generate) : fmt::format("batch {}", batch);
      test.batch = batch;
      test.steps = steps;
      test.tokens = batch * steps;
      OCTAVO_ASSIGN(test, measure(test, [&](StepWork* work) { return decode(batch, steps, work); }));
      out.tests.push_back(std::move(test));
    }
  }
  const auto spread = [&](double LimitSample::*member) {
    std::vector<double> values;
    for (const LimitSample& sample : samples_) values.push_back(sample.*member);
    return spread_of(std::move(values));
  };
  if (samples_.empty()) sample_limits();
  out.limits.dram_gb_per_s = spread(&LimitSample::dram);
  out.limits.fma_gflop_per_s = spread(&LimitSample::fma);
  if (limits_.has_bf16()) out.limits.bf16_gflop_per_s = spread(&LimitSample::bf16);
  return {};
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {median, values.front(), values.back()};
}

StepWork& StepWork::operator+=(const StepWork& other) {
  bytes += other.bytes;
  flops += other.flops;
  return *this;
}

WeightBytes weight_bytes(const Runner& runner) {
  const model::ModelWeights& weights = runner.model->weights;
  WeightBytes out;
  out.head = (weights.head ? weights.head : weights.embedding)->resident_bytes();
  out.layers = runner.decoder->bytes_per_token() - out.head;
  return out;
}

StepWork step_work(const model::DecoderConfig& c, const WeightBytes& weights, backend::KvDType kv,
                   const StepShape& step) {
  const double layer_weights =
      static_cast<double>(c.hidden * (2 * c.q_size() + 2 * c.kv_size()) + 3 * c.hidden * c.intermediate);
  const double rows = static_cast<double>(step.sequences * step.count);
  const double logit_rows = static_cast<double>(step.logit_rows);
  StepWork out;
  out.flops = 2 * rows * static_cast<double>(c.layers) * layer_weights +
              2 * logit_rows * static_cast<double>(c.vocab * c.hidden);
  out.bytes = static_cast<double>(weights.layers + (step.logit_rows > 0 ? weights.head : 0));
  // A sequence's keys and values are read once a step, by all of its tokens together.
  double positions = 0;
  for (const std::uint64_t window : c.windows) {
    const std::uint64_t end = step.position + step.count;
    positions += static_cast<double>(window == 0 ? end : std::min(end, window + step.count - 1));
  }
  out.bytes += static_cast<double>(step.sequences) * positions * kv_bytes_per_token(c, kv);
  return out;
}

std::uint64_t decode_steps(const BenchOptions& options, std::uint64_t batch) {
  if (batch <= 1) return options.generate;
  return std::min(options.generate, std::max(options.generate / batch, kFewestSteps));
}

void size_runner(const BenchOptions& options, RunnerOptions& runner) {
  const auto whole = [](std::uint64_t tokens) { return kv_blocks_for(tokens) * kKvBlockTokens; };
  runner.chunk = std::clamp<std::uint64_t>(options.prompt, 1, runner.chunk);
  runner.context = std::max<std::uint64_t>(options.prompt, 1);
  runner.cache_tokens = whole(runner.context);
  runner.sequences = 1;
  if (options.generate == 0) return;
  for (const std::uint64_t batch : options.batches) {
    const std::uint64_t steps = decode_steps(options, batch);
    runner.context = std::max(runner.context, steps);
    runner.cache_tokens = std::max(runner.cache_tokens, batch * whole(steps));
    runner.sequences = std::max(runner.sequences, batch);
  }
}

const BenchTest* BenchRun::prefill() const {
  for (const BenchTest& test : tests) {
    if (test.prefill) return &test;
  }
  return nullptr;
}

const BenchTest* BenchRun::decode() const {
  for (const BenchTest& test : tests) {
    if (!test.prefill && test.batch == 1) return &test;
  }
  return nullptr;
}

Result<BenchRun> run_bench(const OpenRunner& open, Isa isa, int threads, std::uint64_t cache_bytes,
                           const BenchOptions& options, const BenchProgress& progress) {
  BenchRun out;
  if (progress) progress("load");
  const auto start = Clock::now();
  OCTAVO_ASSIGN(Runner runner, open(threads));
  out.load_seconds = seconds_since(start);
  {
    const std::int32_t block = 0;
    model::BatchPlan plan{.tokens = {1 % static_cast<std::int32_t>(runner.config().vocab)},
                          .sequences = {{0, 1, 0, std::span(&block, 1)}},
                          .logit_rows = {0},
                          .lengths = {}};
    std::vector<float> logits(runner.config().vocab);
    OCTAVO_TRY(runner.decoder->step(plan, *runner.cache));
    OCTAVO_TRY(runner.decoder->logits(0, 1, logits));
  }
  out.first_token_seconds = seconds_since(start);
  out.precision = runner.describe();
  out.resident_bytes = runner.model->report.resident_bytes();
  out.threads = threads;
  std::uint64_t most = available_memory() / kLimitShare;
  if (options.probe_bytes != 0) most = std::min(most, options.probe_bytes);
  OCTAVO_ASSIGN(cpu::Limits limits, cpu::Limits::create({isa, threads, cache_bytes, most}));
  out.cache_bytes = cache_bytes;
  out.dram_bytes = limits.dram_bytes();
  OCTAVO_TRY(Bench(runner, limits, isa, options, progress).run(out));
  return out;
}

}  // namespace octavo::engine
