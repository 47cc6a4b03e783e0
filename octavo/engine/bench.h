// How fast a model runs here, beside what the machine gives at most in the same minutes on the same threads: prefill,
// decode alone and in batches, memory read, multiply-adds. What `octavo bench` prints.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/backend/cpu/limits.h"
#include "octavo/engine/runner.h"

namespace octavo::engine {

struct Spread {
  double median = 0, min = 0, max = 0;
};
Spread spread_of(std::vector<double> values);  // the median of an even number: the mean of the two in the middle

// What a step moves and computes. Bytes: weights, scales and biases of the layers and the head, once each, and the keys
// and values that attention reads; of a prompt's chunks, too. FLOPs: two a multiply-add of the matrix products of
// layers and head; attention, norms and rope are not counted.
struct StepWork {
  double bytes = 0, flops = 0;
  StepWork& operator+=(const StepWork& other);
};
// A step of `count` tokens of each of `sequences` sequences that stand at `position`, with logits of `logit_rows` rows
// of all of them together. `weight_bytes`: Decoder::bytes_per_token(), of which `head_bytes` are the head's, read where
// there are logits.
struct StepShape {
  std::uint64_t sequences = 1, count = 1, position = 0, logit_rows = 1;
};
struct WeightBytes {
  std::uint64_t layers = 0, head = 0;
};
WeightBytes weight_bytes(const Runner& runner);
StepWork step_work(const model::DecoderConfig& config, const WeightBytes& weights, backend::KvDType kv,
                   const StepShape& step);

struct BenchOptions {
  std::uint64_t prompt = 512;                       // tokens of the prefill test; 0: none
  std::uint64_t generate = 128;                     // tokens of the decode test; 0: no decode tests
  std::vector<std::uint64_t> batches = {1, 8, 32};  // sequences that decode together, a test each
  int repetitions = 3;                              // at least 1
  std::uint64_t probe_bytes = 0;                    // that the measurement of memory reads; 0: cpu::dram_probe_bytes()
};
// Steps of the decode test of a batch: `generate` alone; fewer of a batch, as each brings more tokens.
std::uint64_t decode_steps(const BenchOptions& options, std::uint64_t batch);
// What the tests need of a Runner: context, sequences, cache_tokens, chunk.
void size_runner(const BenchOptions& options, RunnerOptions& runner);

// The limits, sampled before and after every repetition.
struct LimitSpreads {
  Spread dram_gb_per_s, fma_gflop_per_s;
  std::optional<Spread> bf16_gflop_per_s;  // where the machine has BF16 dot products
};

// What bounds a test of a roofline: its bytes at the DRAM rate or its FLOPs at the peak that its kernels use.
enum class Bound : std::uint8_t { kMemory, kCompute };

struct BenchTest {
  std::string name;  // "pp512", "tg128", "batch 8"
  bool prefill = false;
  std::uint64_t batch = 1;   // sequences
  std::uint64_t steps = 1;   // decode steps, or chunks of the prompt
  std::uint64_t tokens = 0;  // of a repetition, all sequences together
  StepWork work;             // of a repetition
  Spread seconds, tokens_per_s, gb_per_s, gflop_per_s;
  Bound bound = Bound::kMemory;
  Spread ratio;  // of the bound: each repetition to the limits measured before and after it
};

struct BenchRun {
  int threads = 1;
  std::string precision;             // Runner::describe()
  double load_seconds = 0;           // up to a model that can run
  double first_token_seconds = 0;    // up to the logits of a first token, the load included
  std::uint64_t resident_bytes = 0;  // of weights
  std::string peak;                  // of the kernels in use: "bf16" (BF16 dot products) or "fma" (FP32 multiply-adds)
  LimitSpreads limits;
  std::uint64_t cache_bytes = 0;  // of the largest cache; 0: unknown
  std::uint64_t dram_bytes = 0;   // that the probe of memory read
  std::vector<BenchTest> tests;

  const BenchTest* prefill() const;  // null where not measured
  const BenchTest* decode() const;   // of one sequence
};

// A model on so many threads.
using OpenRunner = std::function<Result<Runner>(int threads)>;
// Called before every repetition: "pp512 2/3". May be empty.
using BenchProgress = std::function<void(std::string_view)>;

// Opens the model and runs all tests. `isa` is the runner's; cache_bytes as in cpu::LimitOptions. The limits' memory
// comes on top of the model's, at most a quarter of what is free.
Result<BenchRun> run_bench(const OpenRunner& open, Isa isa, int threads, std::uint64_t cache_bytes,
                           const BenchOptions& options, const BenchProgress& progress);

}  // namespace octavo::engine
