// Options of the commands that run a model, and the report of loading it.
#include "cli/model_options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/config_file.h"
#include "cli/model_source.h"
#include "cli/progress_bar.h"
#include "octavo/base/cpu.h"
#include "octavo/base/machine.h"
#include "octavo/base/placement.h"
#include "octavo/base/text.h"
#include "octavo/base/workers.h"
#include "octavo/dialect/online_choice.h"

namespace octavo::cli {
namespace {

constexpr std::uint64_t kMostContext = 1ull << 32;
constexpr std::size_t kLongestWarning = 2000;

// What a file of another language says, if one is given.
Result<std::optional<dialect::Meaning>> file_meaning(const ModelOptions& o) {
  if (o.from.empty() && !o.worker.empty()) return usage_error("--worker goes with --from");
  if (!o.from.empty()) {
    const char* second = !o.quantization.empty()          ? "--quantization"
                         : !o.quantization_config.empty() ? "--quantization-config"
                         : !o.hf_overrides.empty()        ? "--hf-overrides"
                                                          : nullptr;
    if (second != nullptr) {
      return usage_error("--from and {} exclude each other: {} says what is done", second, printable(o.from));
    }
    OCTAVO_ASSIGN(const dialect::Config config, dialect::load_config(o.from));
    if (!config.errors.empty()) return config.error();
    print_remarks("", config, o.common.quiet);
    OCTAVO_ASSIGN(dialect::Meaning meaning, choose_worker(config, o.worker));
    return std::optional(std::move(meaning));
  }
  return std::optional<dialect::Meaning>();
}

// "" or what is wrong, as CLI11 wants it.
std::string check_lm_head(const std::string& name) {
  const std::vector<std::string> names = {"auto", "fp8"};
  if (std::find(names.begin(), names.end(), name) != names.end()) return "";
  return fmt::format("{} is unknown; one of {}{}", printable(name), fmt::join(names, ", "),
                     did_you_mean(name, names, 1));
}

std::string load_text(const model::LoadReport& r) {
  std::vector<std::string> dtypes;
  for (const auto& [dtype, bytes] : r.resident) dtypes.push_back(fmt::format("{} {}", dtype, human_bytes(bytes)));
  const double rate = r.seconds > 0 ? static_cast<double>(r.source_bytes) / 1e9 / r.seconds : 0;
  return fmt::format("{} read in {:.2f} s, {:.2f} GB/s; {} of weights in memory ({})", human_bytes(r.source_bytes),
                     r.seconds, rate, human_bytes(r.resident_bytes()), fmt::join(dtypes, ", "));
}

}  // namespace

void add_model_options(CLI::App& command, ModelOptions& o) {
  command.add_option("MODEL", o.model, "model folder, BF16 or FP8 (safetensors), or a name: ORG/NAME[@REVISION]")
      ->required()
      ->option_text(" ");
  command.add_option("--compute", o.compute, "arithmetic: bf16 (default; FP32 sums) or f32")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->option_text("NAME")
      ->group("Precision");
  command
      .add_option("--activations", o.activations,
                  "inputs of FP8 linears: fp8 rounds them by the checkpoint's scheme (W8A8), bf16 does not (W8A16; "
                  "default on a machine without FP8 units)")
      ->check(CLI::IsMember({"fp8", "bf16"}))
      ->option_text("NAME")
      ->group("Precision");
  command
      .add_option("--kv-cache-dtype", o.kv_cache_dtype,
                  "auto (default: bf16, f32 with --compute f32), bf16, fp8 (= fp8_e4m3), fp8_e4m3, fp8_e5m2 or f32")
      ->check(CLI::IsMember({"auto", "bf16", "fp8", "fp8_e4m3", "fp8_e5m2", "f32"}))
      ->option_text("NAME")
      ->group("Precision");
  command
      .add_option("--lm-head", o.lm_head,
                  "the output head: auto (default: as it is stored) or fp8, made while loading: faster, less exact")
      ->check(CLI::Validator(check_lm_head, "{auto,fp8}"))
      ->option_text("NAME")
      ->group("Quantization");
  command
      .add_option("--quantization", o.quantization,
                  "quantize a BF16 model to FP8 while loading: fp8 (per tensor), fp8_channel or fp8_block")
      ->option_text("NAME")
      ->group("Quantization");
  command
      .add_option("--quantization-config", o.quantization_config,
                  "the same in vLLM's words: {\"linear\", \"moe\", \"ignore\"} or {\"targets\", \"ignore\"}")
      ->option_text("JSON")
      ->group("Quantization");
  command.add_option("--from", o.from, "what the YAML of ROLL, NeMo-RL or vLLM says of the engine's precision")
      ->option_text("FILE")
      ->group("Quantization");
  command.add_option("--worker", o.worker, "the worker of --from (default: the only one, or actor_infer)")
      ->option_text("NAME")
      ->group("Quantization");
  add_keep_options(command, o.keep, "Quantization");
  add_edge_option(command, o.edge, "fp8_block", "Quantization");
  command
      .add_option("--context,--max-model-len", o.context,
                  "longest sequence in tokens, prompt and output (default: what is needed, or the model's maximum up "
                  "to 8192)")
      ->check(CLI::Range(std::uint64_t{1}, kMostContext))
      ->option_text("N")
      ->group("Run");
  command
      .add_option(
          "--cpu-affinity", o.cpu_affinity,
          "CPUs to run on: off (default: where the system puts it), auto (one a core first, as many as threads) "
          "or a list such as 0-3,8")
      ->option_text("LIST")
      ->group("Run");
  command
      .add_option("--numa", o.numa,
                  "where memory lies: local (default: at the node that writes it first) or interleave")
      ->check(CLI::IsMember({"local", "interleave"}))
      ->option_text("NAME")
      ->group("Run");
}

Status place_process(const ModelOptions& o, int threads, const std::vector<int>& allowed) {
  if (o.numa == "interleave") OCTAVO_TRY(interleave_memory().context("--numa interleave"));
  if (o.cpu_affinity == "off") return {};
  std::vector<int> cpus = allowed;
  if (o.cpu_affinity == "auto") {
    if (cpus.empty()) return failure("--cpu-affinity auto: the system does not say which CPUs there are");
    if (threads > 0) cpus = one_per_core(cpus, threads);
  } else {
    auto list = parse_cpu_list(o.cpu_affinity);
    if (!list) {
      return usage_error("--cpu-affinity {}: must be off, auto or CPUs as in 0-3,8", printable(o.cpu_affinity));
    }
    cpus = std::move(*list);
  }
  return run_on_cpus(cpus).context(fmt::format("--cpu-affinity {}", o.cpu_affinity));
}

Result<engine::RunnerOptions> runner_options(const ModelOptions& o) {
  engine::RunnerOptions out;
  OCTAVO_TRY(place_process(o, o.common.threads, allowed_cpus()));
  dialect::OnlineChoice choice{.quantization = o.quantization,
                               .edge = o.edge,
                               .quantization_config = o.quantization_config,
                               .hf_overrides = o.hf_overrides,
                               .keep = o.keep,
                               .file = std::nullopt};
  OCTAVO_ASSIGN(choice.file, file_meaning(o));
  OCTAVO_ASSIGN(const dialect::OnlineQuantization online, dialect::online_quantization(choice));
  out.load.quantize = online.spec;
  OCTAVO_ASSIGN(out.load.isa, select_isa());
  out.load.threads = worker_count(o.common.threads);
  out.compute = o.compute == "f32" ? backend::Compute::kF32 : backend::Compute::kBF16;
  if (!o.activations.empty()) {
    out.activations = o.activations == "fp8" ? model::ActivationMode::kFp8 : model::ActivationMode::kBF16;
  }
  const bool file_says = o.kv_cache_dtype == "auto" && !online.kv_cache_dtype.empty();
  out.kv_dtype = engine::find_kv_dtype(file_says ? online.kv_cache_dtype : o.kv_cache_dtype);
  out.context = o.context;
  if (o.lm_head == "fp8") out.load.head = model::HeadMode::kFp8;
  return out;
}

Result<engine::RunnerFolder> read_model_folder(const ModelOptions& o, std::string_view command) {
  OCTAVO_ASSIGN(const std::filesystem::path folder, find_model(o.model, command, o.common.quiet));
  return engine::read_runner_folder(folder);
}

Result<engine::Runner> load_runner(const ModelOptions& o, std::string_view command, engine::RunnerFolder folder,
                                   engine::RunnerOptions options) {
  std::optional<engine::Runner> runner;
  {
    ProgressBar progress("load", folder.checkpoint.data_bytes(), o.common.quiet);
    options.load.progress = &progress;
    OCTAVO_ASSIGN(runner, engine::open_runner(std::move(folder), options));
  }
  const model::LoadReport& report = runner->model->report;
  for (const std::string& warning : report.warnings) {
    fmt::print(stderr, "octavo {}: warning: {}\n", command, printable(warning, kLongestWarning));
  }
  if (o.common.quiet) return std::move(*runner);
  // A server sizes its cache later and says so then.
  const std::string cache =
      command == "serve" ? "" : fmt::format(", KV cache {}", human_bytes(runner->cache->shape().bytes()));
  fmt::print(stderr, "octavo {}: {}{}\n", command, load_text(report), cache);
  for (const std::string& module : report.edge_channel) {
    fmt::print(stderr, "octavo {}: per channel: {} (does not fit whole blocks)\n", command, printable(module));
  }
  fmt::print(stderr, "octavo {}: {}\n", command, runner->describe());
  return std::move(*runner);
}

Json load_json(const engine::Runner& runner) {
  const model::LoadReport& r = runner.model->report;
  return {{"precision", runner.describe()},
          {"seconds", r.seconds},
          {"source_bytes", r.source_bytes},
          {"resident_bytes", r.resident_bytes()},
          {"resident", r.resident},
          {"kv_cache_bytes", runner.cache->shape().bytes()},
          {"context", runner.context},
          {"edge_channel", r.edge_channel},
          {"fp8_head_bytes", r.fp8_head ? r.fp8_head->bytes : 0},
          {"warnings", r.warnings}};
}

}  // namespace octavo::cli
