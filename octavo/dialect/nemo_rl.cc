// NeMo-RL's YAML (docs/fp8.md, nemo_rl/models/generation/vllm): policy.generation.vllm_cfg decides the precision of the
// engine that generates; loss_fn has the correction that FP8 needs. The rest trains.
#include <algorithm>

#include "octavo/dialect/languages.h"
#include "octavo/dialect/online_scheme.h"
#include "octavo/dialect/patterns.h"

namespace octavo::dialect {
namespace {

constexpr std::int64_t kMostLayers = 1'000'000;

const std::vector<std::string_view> kTopKeys = {"grpo",
                                                "reward_penalties",
                                                "checkpointing",
                                                "data",
                                                "env",
                                                "logger",
                                                "cluster",
                                                "data_plane",
                                                "sft",
                                                "dpo",
                                                "rm",
                                                "ppo",
                                                "distillation",
                                                "on_policy_distillation",
                                                "teacher",
                                                "teachers",
                                                "value",
                                                "value_loss_fn",
                                                "async_rl",
                                                "eval",
                                                "tokenizer",
                                                "generation"};

const std::vector<std::string_view> kPolicyKeys = {"tokenizer",
                                                   "hf_config_overrides",
                                                   "train_global_batch_size",
                                                   "train_micro_batch_size",
                                                   "generation_batch_size",
                                                   "logprob_batch_size",
                                                   "max_total_sequence_length",
                                                   "precision",
                                                   "logprob_chunk_size",
                                                   "offload_optimizer_for_logprob",
                                                   "dtensor_cfg",
                                                   "megatron_cfg",
                                                   "automodel_kwargs",
                                                   "draft",
                                                   "dynamic_batching",
                                                   "sequence_packing",
                                                   "make_sequence_length_divisible_by",
                                                   "max_grad_norm",
                                                   "optimizer",
                                                   "scheduler",
                                                   "quant_cfg",
                                                   "router_replay",
                                                   "refit_buffer_size_gb",
                                                   "activation_checkpointing_enabled",
                                                   "fsdp_offload_enabled",
                                                   "peft"};

const std::vector<std::string_view> kVllmKeys = {"async_engine",
                                                 "logprobs_mode",
                                                 "tensor_parallel_size",
                                                 "pipeline_parallel_size",
                                                 "expert_parallel_size",
                                                 "gpu_memory_utilization",
                                                 "max_model_len",
                                                 "skip_tokenizer_init",
                                                 "video",
                                                 "load_format",
                                                 "cap_max_tokens_to_context",
                                                 "enforce_eager",
                                                 "enable_return_routed_experts",
                                                 "use_tqdm",
                                                 "expose_http_server",
                                                 "http_refit_api_key_env_var",
                                                 "reset_encoder_cache_after_weight_update",
                                                 "http_refit_server_port",
                                                 "zmq_refit_server_port",
                                                 "http_server_serving_chat_kwargs",
                                                 "tool_parser_plugin",
                                                 "env_vars",
                                                 "reasoning_parser_plugin",
                                                 "enable_vllm_metrics_logger",
                                                 "vllm_metrics_logger_interval",
                                                 "use_deep_gemm"};

class NemoRl {
 public:
  NemoRl(Reader& reader, Config& config) : reader_(reader), config_(config), root_(reader.root()) {}

  void run() {
    root_.require("policy", "it says which model generates, and how");
    const Section policy = root_.section("policy");
    const Section generation = policy.section("generation");
    const Section vllm = generation.section("vllm_cfg");
    const std::string backend = generation.text("backend").value_or("vllm");
    meaning_.worker = "policy.generation";
    meaning_.online = true;
    meaning_.model = policy.text("model_name").value_or("");
    const bool inherits = root_.has("defaults");  // the engine may be the parent file's
    if (policy.exists() && !vllm.exists() && backend == "vllm" && !inherits) {
      generation.exists()
          ? generation.error("vllm_cfg", "is missing: it says at which precision the engine runs")
          : policy.error("generation", "is missing: its vllm_cfg says at which precision the engine runs");
    }
    if (backend != "vllm") {
      generation.one_of("backend", {"vllm", "sglang", "megatron", "hf", "dynamo", "trtllm"});
      generation.decides_nothing("vllm_cfg");
      reader_.warn(fmt::format("policy.generation.backend is {}: vllm_cfg is not used", shown(backend)));
    } else {
      read_vllm(policy, vllm);
    }
    read_loss();
    generation.meaningless({"vllm_kwargs", "sglang_cfg", "trtllm_cfg", "mcore_generation_config", "refit_cfg"});
    generation.tolerate_unknown();
    policy.meaningless(kPolicyKeys);
    policy.tolerate_unknown();
    if (const auto parent = root_.texts("defaults", /*single=*/true); parent && !parent->empty()) {
      reader_.warn(fmt::format("defaults: {} is not read; keys that only it sets are not seen here",
                               shown(parent->front().text)));
    }
    root_.decides_nothing("defaults");
    root_.meaningless(kTopKeys);
    root_.tolerate_unknown();
    if (!reader_.failed()) config_.meanings.push_back(std::move(meaning_));
  }

 private:
  void read_vllm(const Section& policy, const Section& s) {
    static const std::vector<std::string> kPrecisions = {"fp8",  "bfloat16", "bf16", "float16",
                                                         "fp16", "float32",  "fp32", "auto"};
    const bool own = s.has("precision");
    const auto precision = own ? s.one_of("precision", kPrecisions) : policy.one_of("precision", kPrecisions);
    fp8_ = precision == "fp8";
    const bool mx = s.boolean("is_mx").value_or(false);
    const auto first = s.integer("num_first_layers_in_bf16", 0, kMostLayers);
    const auto last = s.integer("num_last_layers_in_bf16", 0, kMostLayers);
    const auto weights = power_of_two(s, "pow2_weight_scaling_factors", "use_weight_pow2_scale");
    const auto inputs = power_of_two(s, "pow2_activation_scaling_factors", "use_activation_pow2_scale");
    const auto keywords = s.texts("quantization_ignored_layer_kws");
    read_kv_cache(s);
    s.meaningless(kVllmKeys);
    s.meaningless(engine_keys());
    if (mx && !fp8_) s.error("is_mx", "goes with precision: fp8");
    if (!fp8_) {
      for (const char* key : {"is_mx", "num_first_layers_in_bf16", "num_last_layers_in_bf16",
                              "pow2_weight_scaling_factors", "use_weight_pow2_scale", "pow2_activation_scaling_factors",
                              "use_activation_pow2_scale", "quantization_ignored_layer_kws"}) {
        s.decides_nothing(key);
      }
      return;
    }
    meaning_.spec = online_scheme(own ? s : policy, "precision", mx ? "mxfp8" : "fp8_block", meaning_);
    if (!meaning_.spec) return;
    meaning_.spec->keep_first = static_cast<std::uint64_t>(first.value_or(0));
    meaning_.spec->keep_last = static_cast<std::uint64_t>(last.value_or(0));
    if (first) meaning_.said["keep-first"] = s.where("num_first_layers_in_bf16");
    if (last) meaning_.said["keep-last"] = s.where("num_last_layers_in_bf16");
    set_power_of_two(s, mx, weights, inputs);
    if (keywords && !keywords->empty()) {
      for (const Text& keyword : *keywords) meaning_.spec->ignore.push_back(substring_pattern(keyword.text));
      meaning_.said["ignore"] = s.where("quantization_ignored_layer_kws");
    }
  }

  struct Flag {
    std::string key;  // as the file spells it
    bool value = false;
  };
  // Today's name and the one of the older README, which today's code ignores without a word.
  std::optional<Flag> power_of_two(const Section& s, const char* key, const char* old) {
    const auto now = s.boolean(key);
    const auto before = s.boolean(old);
    if (before) {
      reader_.warn(fmt::format("{}.{} is read as {}; NeMo-RL of today ignores the old name", s.path(), old, key));
    }
    if (now && before && *now != *before) s.error(old, fmt::format("contradicts {}; keep the latter", key));
    if (now) return Flag{key, *now};
    if (before) return Flag{old, *before};
    return std::nullopt;
  }

  // Octavo has one switch for both.
  void set_power_of_two(const Section& s, bool mx, const std::optional<Flag>& weights,
                        const std::optional<Flag>& inputs) {
    for (const auto* flag : {&weights, &inputs}) {
      if (mx && *flag && !(*flag)->value) s.error((*flag)->key, "MXFP8 scales are powers of two; leave it out");
    }
    if (mx) return;
    const bool weight = weights && weights->value, input = inputs && inputs->value;
    if (weight != input) {
      const Flag& on = weight ? *weights : *inputs;
      s.error(on.key, fmt::format("powers of two for {} alone are not done here: both, or neither",
                                  weight ? "weights" : "activations"));
      return;
    }
    meaning_.spec->pow2_scales = weight;
    if (weights) meaning_.said["pow2-scales"] = s.where(weights->key);
  }

  void read_kv_cache(const Section& s) {
    const auto dtype = s.one_of("kv_cache_dtype", {"auto", "fp8", "fp8_e4m3"});
    if (!dtype) return;
    if (*dtype == "auto") return s.decides_nothing("kv_cache_dtype");
    if (!fp8_) s.error("kv_cache_dtype", fmt::format("{} goes with precision: fp8", *dtype));
    meaning_.kv_cache_dtype = *dtype;
    reader_.note("NeMo-RL calibrates the scales of an FP8 KV cache at every step; here nothing is calibrated");
  }

  void read_loss() {
    const Section loss = root_.section("loss_fn");
    loss.tolerate_unknown();
    const auto correction = loss.boolean("use_importance_sampling_correction");
    loss.decides_nothing("use_importance_sampling_correction");
    if (!fp8_ || correction.value_or(false)) return;
    reader_.warn(
        fmt::format("loss_fn.use_importance_sampling_correction is {} and the engine generates in FP8: its "
                    "samples are not the trainer's policy; set it to true (NeMo-RL refuses to start without)",
                    correction ? "false" : "not set"));
  }

  Reader& reader_;
  Config& config_;
  Section root_;
  Meaning meaning_;
  bool fp8_ = false;
};

}  // namespace

void read_nemo_rl(Reader& reader, Config& config) { NemoRl(reader, config).run(); }

}  // namespace octavo::dialect
