// One reader for all options of an engine.
#include "octavo/capi/engine_settings.h"

#include "octavo/base/cpu.h"
#include "octavo/capi/error.h"
#include "octavo/capi/quant_words.h"
#include "octavo/dialect/online_choice.h"

namespace octavo::capi {
namespace {

// An option that holds an object: the object, or its text.
std::string object_text(FieldReader& f, std::string_view name) {
  const Json* value = f.get(name);
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  if (value->is_object()) return value->empty() ? "" : json_text(*value);
  f.fail(name, "must be an object");
  return "";
}

struct Words {
  dialect::OnlineChoice online;
  std::string compute = "bf16", activations, kv_cache_dtype = "auto", lm_head = "auto", dtype = "auto",
              load_format = "auto", logprobs_mode = "raw_logprobs";
  std::uint64_t update_seconds = 300;
  bool free_update_memory = false;
};

void read_words(FieldReader& f, Words& w) {
  f.read("quantization", w.online.quantization);
  w.online.quantization_config = object_text(f, "quantization_config");
  w.online.hf_overrides = object_text(f, "hf_overrides");
  read_kept(f, w.online.keep);
  read_name(f, "edge", {"partial", "channel"}, w.online.edge);
  read_name(f, "compute", {"bf16", "f32"}, w.compute);
  read_name(f, "activations", {"fp8", "bf16"}, w.activations);
  read_name(f, "lm_head", {"auto", "fp8"}, w.lm_head);
  read_name(f, "kv_cache_dtype", {"auto", "bf16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "f32"}, w.kv_cache_dtype);
  read_name(f, "dtype", {"auto", "bfloat16"}, w.dtype);
  read_name(f, "load_format", {"auto", "safetensors"}, w.load_format);
  read_name(f, "logprobs_mode", {"raw_logprobs", "processed_logprobs"}, w.logprobs_mode);
  constexpr std::uint64_t kMostSeconds = 86'400;
  f.read("update_timeout", w.update_seconds);
  if (w.update_seconds == 0 || w.update_seconds > kMostSeconds) {
    f.fail("update_timeout", fmt::format("must be 1 to {} seconds", kMostSeconds));
  }
  f.read("free_update_memory", w.free_update_memory);
}

void read_engine(FieldReader& f, engine::EngineOptions& out) {
  f.read("max_model_len", out.max_model_len);
  f.read("max_num_seqs", out.max_num_seqs);
  f.read("max_num_batched_tokens", out.max_num_batched_tokens);
  f.read("kv_memory", out.kv_memory);
  f.read("gpu_memory_utilization", out.gpu_memory_utilization);
  f.read("enable_prefix_caching", out.enable_prefix_caching);
  f.read("max_logprobs", out.max_logprobs);
  f.read("seed", out.seed);
  f.read("weight_version", out.weight_version);
}

}  // namespace

Result<EngineSettings> read_engine_settings(const Json& options) {
  EngineSettings out;
  Words words;
  FieldReader f(options);
  read_words(f, words);
  read_engine(f, out.engine);
  f.read("chat_template", out.chat_template);
  int threads = 0;
  read_threads(f, threads);
  OCTAVO_TRY(f.finish());
  OCTAVO_TRY(engine::check_engine_options(out.engine));

  engine::RunnerOptions& runner = out.runner;
  OCTAVO_ASSIGN(const dialect::OnlineQuantization online, dialect::online_quantization(words.online));
  OCTAVO_ASSIGN(const Isa isa, select_isa());
  runner.load.quantize = online.spec;
  runner.load.isa = isa;
  runner.load.threads = threads;
  runner.compute = words.compute == "f32" ? backend::Compute::kF32 : backend::Compute::kBF16;
  if (!words.activations.empty()) {
    runner.activations = words.activations == "fp8" ? model::ActivationMode::kFp8 : model::ActivationMode::kBF16;
  }
  std::string kv = words.kv_cache_dtype == "auto" ? online.kv_cache_dtype : words.kv_cache_dtype;
  if (kv == "bfloat16") kv = "bf16";
  runner.kv_dtype = engine::find_kv_dtype(kv);
  runner.context = out.engine.max_model_len;
  if (words.lm_head == "fp8") runner.load.head = model::HeadMode::kFp8;

  out.updates.update.isa = isa;
  out.updates.update.threads = threads;
  out.updates.timeout = std::chrono::seconds(words.update_seconds);
  out.updates.keep_shadow = !words.free_update_memory;
  if (words.logprobs_mode == "processed_logprobs") out.logprobs_mode = engine::LogprobsMode::kProcessed;
  return out;
}

}  // namespace octavo::capi
