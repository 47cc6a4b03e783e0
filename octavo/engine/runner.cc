// From a folder to something that computes.
#include "octavo/engine/runner.h"

#include <algorithm>
#include <array>
#include <system_error>

#include "octavo/backend/cpu/cpu_backend.h"
#include "octavo/base/text.h"
#include "octavo/engine/kv_blocks.h"
#include "octavo/model/synthetic.h"

namespace octavo::engine {
namespace {

namespace fs = std::filesystem;

// A model without a tokenizer can still score ids. A folder without any
bool has_tokenizer(const fs::path& folder) {
  constexpr std::array kFiles = {"tokenizer.json", "vocab.json", "tokenizer.model"};
  return std::any_of(kFiles.begin(), kFiles.end(), [&](const char* name) {
    std::error_code ignored;
    return fs::exists(folder / name, ignored);
  });
}

std::vector<std::int32_t> find_end_tokens(const RunnerFolder& folder) {
  std::vector<std::int32_t> out =
      folder.defaults.eos_token_ids.empty() ? folder.config.eos_token_ids : folder.defaults.eos_token_ids;
  if (const auto eos = folder.tokenizer ? folder.tokenizer->eos_id() : std::nullopt) out.push_back(*eos);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace

Result<std::uint64_t> context_of(const model::DecoderConfig& config, std::uint64_t asked) {
  if (asked > config.max_positions) {
    return failure("a context of {} tokens is asked for, but the model has {} positions (max_position_embeddings)",
                   asked, config.max_positions);
  }
  return asked != 0 ? asked : std::min(config.max_positions, kDefaultContext);
}

Result<std::uint64_t> RunnerFolder::context(std::uint64_t asked) const { return context_of(config, asked); }

std::optional<backend::KvDType> find_kv_dtype(std::string_view name) {
  if (name == "bf16") return backend::KvDType::kBF16;
  if (name == "f32") return backend::KvDType::kF32;
  if (name == "fp8" || name == "fp8_e4m3") return backend::KvDType::kFp8E4M3;
  if (name == "fp8_e5m2") return backend::KvDType::kFp8E5M2;
  return std::nullopt;
}

Result<RunnerFolder> read_runner_folder(const fs::path& folder) {
  OCTAVO_ASSIGN(Checkpoint checkpoint, Checkpoint::open(folder));
  const std::string origin = checkpoint.config_path().string();
  if (!checkpoint.has_config()) return failure("{}: missing; it says what the model is", origin);
  OCTAVO_ASSIGN(model::DecoderConfig config, model::parse_decoder_config(checkpoint.config(), origin));
  OCTAVO_ASSIGN(model::GenerationDefaults defaults, model::read_generation_defaults(folder));
  RunnerFolder out{std::move(checkpoint), std::move(config), std::move(defaults), std::nullopt};
  if (has_tokenizer(folder)) {
    OCTAVO_ASSIGN(out.tokenizer, text::Tokenizer::load(folder));
  }
  return out;
}

namespace {

// All but what only a folder has. load_weights(backend, options) makes the weights.
template <typename Load>
Result<Runner> make_runner(const model::DecoderConfig& config, const RunnerOptions& options, const Load& load_weights) {
  Runner out;
  OCTAVO_ASSIGN(out.context, context_of(config, options.context));
  const std::uint64_t sequences = std::max<std::uint64_t>(options.sequences, 1);
  out.chunk = std::max<std::uint64_t>(options.chunk, 1);
  out.step_tokens = std::max({out.chunk, sequences, kKvBlockTokens});

  const bool f32 = options.compute == backend::Compute::kF32;
  backend::KvShape kv;
  kv.layers = config.layers;
  kv.kv_heads = config.kv_heads;
  kv.head_dim = config.head_dim;
  kv.block_size = kKvBlockTokens;
  kv.dtype = options.kv_dtype.value_or(f32 ? backend::KvDType::kF32 : backend::KvDType::kBF16);
  const std::uint64_t chain = kv_blocks_for(out.context);
  kv.blocks = options.cache_tokens == 0 ? sequences * chain : std::max(kv_blocks_for(options.cache_tokens), chain);

  out.backend =
      cpu::create_cpu_backend({.isa = options.load.isa, .threads = options.load.threads, .compute = options.compute});
  model::LoadOptions load = options.load;
  const bool fp8_units = out.backend->has_fp8_units();
  load.activations =
      options.activations.value_or(fp8_units ? model::ActivationMode::kFp8 : model::ActivationMode::kBF16);
  load.extra_bytes += kv.bytes() + model::workspace_bytes(config, out.step_tokens);
  OCTAVO_ASSIGN(model::LoadedModel loaded, load_weights(*out.backend, load));
  out.model = std::make_unique<model::LoadedModel>(std::move(loaded));
  model::LoadReport& report = out.model->report;
  out.asked_fp8 = options.activations == model::ActivationMode::kFp8;
  out.w8a16_by_default = (report.fp8_linears > 0 || report.fp8_head) && !options.activations && !fp8_units;
  if (config.rope.kind == model::RopeConfig::Kind::kDynamic) {
    report.warnings.push_back(
        "rope type dynamic: its frequencies follow the length of the whole text, as in transformers, so beyond the "
        "trained length a token's logits depend on how much comes after it");
  }
  OCTAVO_ASSIGN(model::Decoder decoder, model::Decoder::create(*out.model, *out.backend, out.step_tokens));
  out.decoder = std::make_unique<model::Decoder>(std::move(decoder));
  OCTAVO_ASSIGN(out.cache, out.decoder->create_kv_cache(kv.blocks, kv.dtype, kv.block_size));
  return out;
}

}  // namespace

Result<Runner> open_runner(RunnerFolder folder, const RunnerOptions& options) {
  const auto load = [&](backend::Backend& backend, const model::LoadOptions& load_options) {
    return model::load_model(folder.checkpoint, backend, load_options);
  };
  OCTAVO_ASSIGN(Runner out, make_runner(folder.config, options, load));
  out.end_tokens = find_end_tokens(folder);
  out.tokenizer = std::move(folder.tokenizer);
  out.defaults = std::move(folder.defaults);
  return out;
}

Result<Runner> open_synthetic_runner(const model::DecoderConfig& config, const RunnerOptions& options) {
  return make_runner(config, options, [&](backend::Backend& backend, const model::LoadOptions& load_options) {
    return model::make_synthetic_model(config, backend, load_options);
  });
}

std::string Runner::describe() const {
  const model::LoadReport& report = model->report;
  const bool f32 = backend->compute() == backend::Compute::kF32;
  std::string activations = f32 ? "F32" : "BF16";
  std::string head;
  if (report.fp8_head) {
    head = fmt::format("; lm_head {} (--lm-head fp8: faster, less exact)", report.fp8_head->weights);
    if (report.fp8_head->copy) {
      head += fmt::format(", a copy of {} beside the tied embedding", human_bytes(report.fp8_head->bytes));
    }
  }
  if (report.fp8_linears > 0 || report.fp8_head) {
    const bool only_head = report.fp8_linears == 0;
    const std::string& own = only_head ? report.fp8_head->activations : report.activations;
    const bool rounded = !own.empty();
    if (rounded) activations = own;
    if (report.fp8_head && !only_head && report.fp8_head->activations != own) {
      activations += fmt::format(", lm_head's {}", report.fp8_head->activations);
    }
    activations += fmt::format(" ({}{})",
                               rounded ? "W8A8"
                               : f32   ? "W8A32"
                                       : "W8A16",
                               w8a16_by_default        ? ": no FP8 units here; --activations fp8 runs W8A8"
                               : asked_fp8 && !rounded ? ": the checkpoint's scheme rounds no activations"
                                                       : "");
  }
  return fmt::format("{}{}; activations {}; compute {}; KV cache {}; {}", report.weights, head, activations,
                     backend::compute_name(backend->compute()), backend::kv_dtype_name(cache->shape().dtype),
                     backend->describe());
}

}  // namespace octavo::engine
