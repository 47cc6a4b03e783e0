// octavo bench: tokens a second of a model on this machine, beside the machine's limits.
#include "octavo/engine/bench.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cstdio>

#include "cli/command.h"
#include "cli/model_options.h"
#include "octavo/base/machine.h"
#include "octavo/base/memory.h"
#include "octavo/base/placement.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/model/synthetic.h"

namespace octavo::cli {
namespace {

constexpr std::uint64_t kMostTokens = 1ull << 20;
constexpr std::uint64_t kMostBatch = 4096;
constexpr int kMostThreads = 1024;
constexpr int kMostRepetitions = 1000;

struct BenchCommand {
  ModelOptions model;
  std::string synthetic;
  std::vector<int> threads;
  engine::BenchOptions bench;
};

Json spread_json(const engine::Spread& s) { return {{"median", s.median}, {"min", s.min}, {"max", s.max}}; }

// Which limit a test's ratio is of: "dram", or the peak that the kernels use.
std::string limit_name(const engine::BenchRun& run, const engine::BenchTest& test) {
  return test.bound == engine::Bound::kMemory ? "dram" : run.peak;
}

Json test_json(const engine::BenchRun& run, const engine::BenchTest& t) {
  return {{"name", t.name},
          {"batch", t.batch},
          {"tokens", t.tokens},
          {"tokens_per_s", t.tokens_per_s.median},
          {"gb_per_s", t.gb_per_s.median},
          {"gflop_per_s", t.gflop_per_s.median},
          {"limit", limit_name(run, t)},
          {"ratio", t.ratio.median},
          {"bytes", t.work.bytes},
          {"flops", t.work.flops},
          {"spread",
           {{"seconds", spread_json(t.seconds)},
            {"tokens_per_s", spread_json(t.tokens_per_s)},
            {"gb_per_s", spread_json(t.gb_per_s)},
            {"gflop_per_s", spread_json(t.gflop_per_s)},
            {"ratio", spread_json(t.ratio)}}}};
}

Json limits_json(const engine::BenchRun& run) {
  const engine::LimitSpreads& l = run.limits;
  Json spread = {{"dram_gb_per_s", spread_json(l.dram_gb_per_s)}, {"fma_gflop_per_s", spread_json(l.fma_gflop_per_s)}};
  Json out = {{"dram_gb_per_s", l.dram_gb_per_s.median},
              {"bf16_gflop_per_s", Json()},
              {"fma_gflop_per_s", l.fma_gflop_per_s.median},
              {"peak", run.peak},
              {"dram_bytes", run.dram_bytes},
              {"cache_bytes", run.cache_bytes}};
  if (l.bf16_gflop_per_s) {
    out["bf16_gflop_per_s"] = l.bf16_gflop_per_s->median;
    spread["bf16_gflop_per_s"] = spread_json(*l.bf16_gflop_per_s);
  }
  out["spread"] = std::move(spread);
  return out;
}

Json run_json(const engine::BenchRun& run) {
  Json tests = Json::array();
  for (const engine::BenchTest& test : run.tests) tests.push_back(test_json(run, test));
  Json out = {{"threads", run.threads},
              {"precision", run.precision},
              {"load_seconds", run.load_seconds},
              {"first_token_seconds", run.first_token_seconds},
              {"resident_bytes", run.resident_bytes},
              {"limits", limits_json(run)},
              {"tests", std::move(tests)}};
  if (const engine::BenchTest* test = run.decode()) out["decode"] = test_json(run, *test);
  if (const engine::BenchTest* test = run.prefill()) out["prefill"] = test_json(run, *test);
  return out;
}

// {"model", "decode", "prefill", "limits", ... of the most threads, "runs": all of them}.
Json result_json(const BenchCommand& o, Isa isa, const std::vector<engine::BenchRun>& runs) {
  const engine::BenchRun* most = &runs.front();
  for (const engine::BenchRun& run : runs) {
    if (run.threads > most->threads) most = &run;
  }
  Json all = Json::array();
  for (const engine::BenchRun& run : runs) all.push_back(run_json(run));
  const bool synthetic = !o.synthetic.empty();
  Json out = {{"model", synthetic ? o.synthetic : o.model.model},
              {"synthetic", synthetic},
              {"isa", isa_name(isa)},
              {"repetitions", o.bench.repetitions}};
  out.update(run_json(*most));
  out["runs"] = std::move(all);
  out["peak_memory_bytes"] = peak_memory();
  return out;
}

std::string range_text(const engine::Spread& s, int digits) {
  return fmt::format("{:.{}f} ({:.{}f}-{:.{}f})", s.median, digits, s.min, digits, s.max, digits);
}

std::string run_text(const engine::BenchRun& run, bool synthetic) {
  const engine::LimitSpreads& l = run.limits;
  const auto peak_name = [](const std::string& name) { return name == "bf16" ? "the BF16 peak" : "the FMA peak"; };
  std::string out = fmt::format("{}\n{} {:.2f} s, to the first token {:.2f} s; {} of weights in memory\n",
                                run.precision, synthetic ? "made in" : "loaded in", run.load_seconds,
                                run.first_token_seconds, human_bytes(run.resident_bytes));
  out += fmt::format("{:<10} {:>26} {:>22} {:>26}  {}\n",
                     fmt::format("{} thread{}", run.threads, run.threads == 1 ? "" : "s"), "tokens/s", "GB/s",
                     "GFLOP/s", "of the limit");
  for (const engine::BenchTest& t : run.tests) {
    const bool memory = t.bound == engine::Bound::kMemory;
    out += fmt::format("{:<10} {:>26} {:>22} {:>26}  {:.0f}% ({:.0f}-{:.0f}) of {}\n", t.name,
                       range_text(t.tokens_per_s, 1), range_text(t.gb_per_s, 1), range_text(t.gflop_per_s, 0),
                       100 * t.ratio.median, 100 * t.ratio.min, 100 * t.ratio.max,
                       memory ? "the DRAM rate" : peak_name(run.peak));
  }
  out += fmt::format("limits, measured in turn with the tests: DRAM read {} GB/s, FP32 FMA {} GFLOP/s",
                     range_text(l.dram_gb_per_s, 1), range_text(l.fma_gflop_per_s, 0));
  if (l.bf16_gflop_per_s) out += fmt::format(", BF16 dot products {} GFLOP/s", range_text(*l.bf16_gflop_per_s, 0));
  out += "\n";
  if (run.dram_bytes < 2 * run.cache_bytes) {
    out += fmt::format("beware: the memory read ({}) is not much larger than the largest cache ({}): DRAM is slower\n",
                       human_bytes(run.dram_bytes), human_bytes(run.cache_bytes));
  }
  return out;
}

// One line on a terminal, redrawn; nothing elsewhere.
class StatusLine {
 public:
  explicit StatusLine(bool quiet) : on_(!quiet && isatty(STDERR_FILENO) != 0) {}
  ~StatusLine() { clear(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;
  void show(std::string_view text) {
    if (!on_) return;
    fmt::print(stderr, "\r\x1b[Koctavo bench: {}", text);
    std::fflush(stderr);
  }
  void clear() {
    if (on_) std::fputs("\r\x1b[K", stderr);
  }

 private:
  const bool on_;
};

Status check(const BenchCommand& o) {
  if (o.model.model.empty() == o.synthetic.empty()) {
    return usage_error("{}", o.synthetic.empty() ? "say which model: a folder, a name, or --synthetic SHAPE"
                                                 : "MODEL and --synthetic exclude each other");
  }
  if (o.bench.prompt == 0 && o.bench.generate == 0) return usage_error("--pp 0 and --tg 0 leave nothing to measure");
  return {};
}

Outcome run(BenchCommand o) {
  OCTAVO_TRY(check(o));
  if (o.model.quantization == "none") o.model.quantization.clear();
  const std::vector<int> allowed = allowed_cpus();
  OCTAVO_ASSIGN(engine::RunnerOptions options, runner_options(o.model));
  if (o.threads.empty()) o.threads = {worker_count(0)};
  engine::size_runner(o.bench, options);
  std::optional<model::DecoderConfig> shape;
  if (!o.synthetic.empty()) {
    OCTAVO_ASSIGN(shape, model::synthetic_config(o.synthetic));
  }
  const auto open = [&](int threads) -> Result<engine::Runner> {
    engine::RunnerOptions own = options;
    OCTAVO_TRY(place_process(o.model, threads, allowed));
    own.load.threads = threads;
    if (shape) return engine::open_synthetic_runner(*shape, own);
    OCTAVO_ASSIGN(engine::RunnerFolder folder, read_model_folder(o.model, "bench"));
    return engine::open_runner(std::move(folder), own);
  };

  std::vector<engine::BenchRun> runs;
  {
    StatusLine line(o.model.common.quiet);
    for (const int threads : o.threads) {
      const auto progress = [&](std::string_view what) {
        line.show(fmt::format("{} thread{}: {}", threads, threads == 1 ? "" : "s", what));
      };
      OCTAVO_ASSIGN(engine::BenchRun done, engine::run_bench(open, options.load.isa, threads,
                                                             read_machine().largest_cache(), o.bench, progress));
      runs.push_back(std::move(done));
    }
  }
  std::string human;
  for (const engine::BenchRun& one : runs) {
    human += fmt::format("{}{}: {}", human.empty() ? "" : "\n", o.synthetic.empty() ? o.model.model : o.synthetic,
                         run_text(one, shape.has_value()));
  }
  CommonOptions common = o.model.common;
  common.quiet = false;  // the figures are what was asked for
  OCTAVO_TRY(print_result(common, human, result_json(o, options.load.isa, runs)));
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto options = std::make_shared<BenchCommand>();
  BenchCommand& o = *options;
  CLI::App* command = add_command(app, "bench", "Measure prefill and decode beside the limits of this machine",
                                  "octavo bench --synthetic llama3.2-1b --quantization fp8_block --threads 1,2");
  add_model_options(*command, o.model);
  command->get_option("MODEL")->required(false);
  command->remove_option(command->get_option("--context"));  // the tests say how long
  command
      ->add_option("--synthetic", o.synthetic,
                   fmt::format("random weights in the shape of a published model instead of MODEL: {}",
                               fmt::join(model::synthetic_names(), ", ")))
      ->option_text("SHAPE");
  command->add_option("--pp", o.bench.prompt, "prompt tokens of the prefill test (default 512; 0: none)")
      ->check(CLI::Range(std::uint64_t{0}, kMostTokens))
      ->option_text("N")
      ->group("Tests");
  command->add_option("--tg", o.bench.generate, "tokens of the decode test (default 128; 0: no decode tests)")
      ->check(CLI::Range(std::uint64_t{0}, kMostTokens))
      ->option_text("N")
      ->group("Tests");
  command->add_option("--batch", o.bench.batches, "sequences that decode together, a test each (default 1,8,32)")
      ->delimiter(',')
      ->check(CLI::Range(std::uint64_t{1}, kMostBatch))
      ->option_text("N,...")
      ->group("Tests");
  command->add_option("--repetitions", o.bench.repetitions, "of each test; their median, least and most (default 3)")
      ->check(CLI::Range(1, kMostRepetitions))
      ->option_text("N")
      ->group("Tests");
  command
      ->add_option(
          "--probe-memory", o.bench.probe_bytes,
          "memory that the DRAM measurement reads, such as 512MiB (default: four times the largest cache, 1 to "
          "8 GiB)")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->option_text("SIZE")
      ->group("Tests");
  add_common_options(*command, o.model.common);
  // Here it is a list: the whole measurement runs once for each number.
  command->remove_option(command->get_option("--threads"));
  command->add_option("--threads", o.threads, "threads; several numbers: a run each (default: one a hardware thread)")
      ->delimiter(',')
      ->check(CLI::Range(1, kMostThreads))
      ->option_text("N,...")
      ->group("Run");
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
