// ROLL's YAML (alibaba/ROLL, docs "FP8 Quantization Configuration Guide"): the engine that generates, actor_infer, and
// the engines that judge, each with its strategy_args. The rest of the file trains and has no meaning here.
#include <algorithm>
#include <set>

#include "octavo/dialect/device_mapping.h"
#include "octavo/dialect/languages.h"
#include "octavo/dialect/online_scheme.h"

namespace octavo::dialect {
namespace {

constexpr std::int64_t kLargestBlock = 1 << 16;
constexpr std::int64_t kMostGpus = 65536;

// Of roll/configs/*.py, as far as a worker is concerned with other things than its engine.
const std::vector<std::string_view> kWorkerKeys = {"name",
                                                   "worker_cls",
                                                   "pg_variant",
                                                   "training_args",
                                                   "data_args",
                                                   "generating_args",
                                                   "world_size",
                                                   "num_gpus_per_worker",
                                                   "model_update_frequency",
                                                   "infer_batch_size",
                                                   "backend_timeout",
                                                   "system_envs",
                                                   "topr_positive_weight",
                                                   "topr_negative_weight",
                                                   "max_concurrency",
                                                   "use_dynamic_batching_in_train",
                                                   "max_tokens_per_microbatch_in_train",
                                                   "sequence_length_round_in_train",
                                                   "use_dynamic_batching_in_infer",
                                                   "max_tokens_per_microbatch_in_infer",
                                                   "sequence_length_round_in_infer",
                                                   "offload_nccl",
                                                   "use_sequence_packing",
                                                   "sequence_packing_args",
                                                   "logits_in_fp32",
                                                   "router_replay",
                                                   "apply_loss_scale",
                                                   "mtp_training_mode",
                                                   "opd_kl_coef",
                                                   "tag_included",
                                                   "code_url",
                                                   "use_local",
                                                   "judge_prompt",
                                                   "judge_model_name",
                                                   "judge_api_url",
                                                   "judge_api_key",
                                                   "format_pattern",
                                                   "reward_type",
                                                   "response_length_penalty_coef",
                                                   "query_filter_config",
                                                   "response_filter_config",
                                                   "reward_manager_config"};

const std::vector<std::string_view> kTopKeys = {"hydra",
                                                "defaults",
                                                "exp_name",
                                                "seed",
                                                "rpc_timeout",
                                                "output_dir",
                                                "base_dir",
                                                "logging_dir",
                                                "rollout_dump_dir",
                                                "track_with",
                                                "tracker_kwargs",
                                                "max_steps",
                                                "save_steps",
                                                "max_ckpt_to_keep",
                                                "logging_steps",
                                                "eval_steps",
                                                "rollout_batch_size",
                                                "max_running_requests",
                                                "val_batch_size",
                                                "local_rank",
                                                "resume_from_checkpoint",
                                                "checkpoint_config",
                                                "prompt_length",
                                                "response_length",
                                                "sequence_length",
                                                "val_prompt_length",
                                                "val_sequence_length",
                                                "profiler_timeline",
                                                "profiler_memory",
                                                "report_length_and_rewards",
                                                "is_offload_states",
                                                "is_offload_optimizer_states_in_train_step",
                                                "length_profiler_dir",
                                                "profiler_output_dir",
                                                "otlp_output_dir",
                                                "system_envs",
                                                "model_update_buffer_size_mb",
                                                "num_nodes",
                                                "num_gpus_per_node",
                                                "model_download_type",
                                                "rollout_mock",
                                                "transfer_backend",
                                                "generate_opt_level",
                                                "is_num_return_sequences_expand",
                                                "is_use_additional_prompts",
                                                "max_additional_running_prompts",
                                                "user_defined_rollout_loop_cls",
                                                "router_args",
                                                "actor_train",
                                                "critic",
                                                "reference",
                                                "async_generation_ratio",
                                                "ppo_epochs",
                                                "max_grad_norm",
                                                "lambd",
                                                "gamma",
                                                "pg_clip",
                                                "use_pg_clip_range",
                                                "pg_clip_low",
                                                "pg_clip_high",
                                                "value_clip",
                                                "kl_penalty",
                                                "target_kl",
                                                "init_kl_coef",
                                                "kl_horizon",
                                                "use_reward_scaling",
                                                "add_len_reward",
                                                "reward_clip",
                                                "use_reward_norm",
                                                "whiten_rewards",
                                                "whiten_advantages",
                                                "advantage_clip",
                                                "adv_estimator",
                                                "norm_mean_type",
                                                "norm_std_type",
                                                "reward_norm",
                                                "reward_shift",
                                                "reward_scale",
                                                "add_token_level_kl",
                                                "critic_warmup",
                                                "use_kl_loss",
                                                "kl_loss_coef",
                                                "entropy_loss_coef",
                                                "loss_agg_mode",
                                                "dual_clip_loss",
                                                "enable_reference",
                                                "enable_old_logprobs_recompute",
                                                "force_disable_old_logprobs_recompute",
                                                "train_infer_correction",
                                                "pure_opd_pipeline_type",
                                                "teacher",
                                                "student_train",
                                                "student_infer",
                                                "is_pure_opd",
                                                "use_opd",
                                                "global_template",
                                                "tag_to_template",
                                                "dataset_filter",
                                                "num_return_sequences_in_group",
                                                "save_logging_board_dir",
                                                "validation",
                                                "difficulty_loss_weight",
                                                "length_loss_weight",
                                                "postive_loss_coef",
                                                "use_topr_neg_loss_coef",
                                                "use_policy_loss_type",
                                                "use_topr_loss",
                                                "rl_loss_coef",
                                                "importance_sampling",
                                                "val_greedy",
                                                "val_n_sample",
                                                "max_len_mask",
                                                "mask_type",
                                                "difficulty_mask",
                                                "balance_length",
                                                "minibatch_data_iter_num",
                                                "difficulty_low_threshold",
                                                "difficulty_high_threshold",
                                                "error_max_len_clip",
                                                "error_max_len_threshold"};

// hf_overrides.quantization_config: four keys, of which ROLL checks some by bare asserts and vLLM the others.
void read_block_form(Reader& reader, const Section& strategy, const Section& q,
                     const std::optional<std::string>& quantization, Meaning& meaning) {
  if (!q.exists()) return;
  if (!quantization) {
    reader.warn(q.path() + " without quantization: fp8 beside hf_overrides; it is taken for meant");
  } else if (*quantization != "fp8") {
    strategy.error("quantization",
                   fmt::format("{}: with hf_overrides.quantization_config it must be fp8", shown(*quantization)));
  }
  const auto must_be = [&](std::string_view key, std::string_view value, std::string_view why) {
    q.require(key, fmt::format("{}: {} goes with quantization_config", key, value));
    if (const auto found = q.text(key); found && *found != value) {
      q.error(key, fmt::format("{}: {}; it must be {}", shown(*found), why, value));
    }
  };
  must_be("quant_method", "fp8", "another method");
  must_be("activation_scheme", "dynamic", "weights that change every step have no fixed activation scale");
  must_be("fmt", "e4m3", "rollout weights are E4M3");
  const bool blocks = q.has("weight_block_size");
  const auto size = q.integers("weight_block_size", 1, kLargestBlock);
  if (size && size->size() != 2) q.error("weight_block_size", "must be two numbers, such as [128, 128]");
  meaning.spec = online_scheme(blocks ? q : strategy, blocks ? "weight_block_size" : "quantization",
                               blocks ? "fp8_block" : "fp8", meaning);
  if (meaning.spec && size && size->size() == 2) {
    meaning.spec->scheme.block_n = static_cast<std::uint64_t>(size->front());
    meaning.spec->scheme.block_k = static_cast<std::uint64_t>(size->back());
    meaning.said["block-size"] = q.where("weight_block_size");
  }
  for (const char* key : {"ignored_layers", "modules_to_not_convert"}) {
    const auto names = q.texts(key);
    if (!names) continue;
    for (const Text& name : *names) {
      if (name.text.find_first_of("*?[") != std::string::npos || name.text.starts_with("re:")) {
        q.error_at(name, key, fmt::format("{}: vLLM takes exact names here", shown(name.text)));
      } else if (meaning.spec) {
        auto& ignore = meaning.spec->ignore;
        if (std::find(ignore.begin(), ignore.end(), name.text) == ignore.end()) ignore.push_back(name.text);
      }
    }
    if (!names->empty()) meaning.said["ignore"] = q.where(key);
  }
}

class Roll {
 public:
  Roll(Reader& reader, Config& config) : reader_(reader), config_(config), root_(reader.root()) {}

  void run() {
    if (root_.has("actor_infer")) read_worker(root_.section("actor_infer"), "pretrain", /*judge=*/false);
    for (const char* key : {"llm_judge", "reward", "reward_model"}) {
      if (root_.has(key)) read_worker(root_.section(key), "reward_pretrain", /*judge=*/true);
    }
    const Section rewards = root_.section("rewards");
    for (const std::string& name : rewards.keys()) {
      if (rewards.has(name)) {
        read_worker(rewards.section(name), "reward_pretrain", /*judge=*/true);
      } else {
        rewards.meaningless({name});
      }
    }
    root_.meaningless({"pretrain", "reward_pretrain"});
    root_.meaningless(kTopKeys);
    root_.tolerate_unknown();
    if (meanings_.empty() && !reader_.failed()) {
      root_.error("actor_infer", "no worker has an engine (strategy_args.strategy_name: vllm or sglang)");
    }
    if (!reader_.failed()) config_.meanings = std::move(meanings_);
  }

 private:
  void read_worker(const Section& worker, std::string_view default_model, bool judge) {
    if (!worker.exists()) return;
    worker.meaningless(kWorkerKeys);
    worker.tolerate_unknown();
    const auto type = worker.one_of("judge_model_type", {"inference", "api"});
    Meaning meaning;
    meaning.worker = worker.path();
    meaning.online = true;
    const Section model = worker.section("model_args");
    const bool own_model = model.has("model_name_or_path");
    model.tolerate_unknown();

    const Section strategy = worker.section("strategy_args");
    const std::string name = strategy.text("strategy_name").value_or("");
    const bool engine = (name == "vllm" || name == "sglang") && type != "api";
    strategy.tolerate_unknown();
    std::int64_t gpus_an_engine = 1;
    if (engine) {
      meaning.model = (own_model ? model.text("model_name_or_path") : root_.text(default_model)).value_or("");
      gpus_an_engine = read_strategy(strategy.section("strategy_config"), judge, meaning);
    } else {
      static const std::vector<std::string> kStrategies = {
          "vllm",           "sglang",      "hf_infer",    "deepspeed_infer", "megatron_infer", "deepspeed_train",
          "megatron_train", "fsdp2_train", "fsdp2_infer", "mock_infer"};
      if (strategy.has("strategy_name")) strategy.one_of("strategy_name", kStrategies);
      strategy.meaningless({"strategy_config"});
      for (const char* key : {"strategy_name"}) strategy.decides_nothing(key);
      model.meaningless({"model_name_or_path"});
    }
    read_devices(worker, judge && (engine || type == "inference"), engine ? gpus_an_engine : 1);
    if (!engine) return worker.decides_nothing("judge_model_type");
    if (meaning.spec && meaning.spec->scheme.granularity == quant::Granularity::kTensor &&
        sounds_like_experts(meaning.model)) {
      reader_.warn(worker.path() +
                   ": a mixture of experts, going by its name, needs the block form: "
                   "hf_overrides.quantization_config with weight_block_size: [128, 128]");
    }
    meanings_.push_back(std::move(meaning));
  }

  // strategy_config of an engine. How many GPUs one engine has.
  std::int64_t read_strategy(const Section& s, bool judge, Meaning& meaning) {
    const auto tensor = s.integer("tensor_parallel_size", 1, kMostGpus).value_or(1);
    const auto pipeline = s.integer("pipeline_parallel_size", 1, kMostGpus).value_or(1);
    for (const char* key : {"tensor_parallel_size", "pipeline_parallel_size"}) s.decides_nothing(key);
    const auto load_format = s.text("load_format");
    s.decides_nothing("load_format");
    if (judge && load_format == "dummy") {
      s.error("load_format", "dummy: nobody sends a judge its weights; it must be auto");
    }
    if (const auto dtype = s.one_of("kv_cache_dtype", {"auto", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"})) {
      meaning.kv_cache_dtype = *dtype == "bfloat16" ? "bf16" : *dtype == "auto" ? "" : *dtype;
      if (*dtype == "auto") s.decides_nothing("kv_cache_dtype");
    }
    const auto quantization = s.text("quantization");
    const Section overrides = s.section("hf_overrides");
    overrides.tolerate_unknown();
    if (overrides.has("quantization_config")) {
      read_block_form(reader_, s, overrides.section("quantization_config"), quantization, meaning);
    } else if (quantization) {
      meaning.spec = online_scheme(s, "quantization", *quantization, meaning);
    }
    s.meaningless(engine_keys());
    s.tolerate_unknown();
    return tensor * pipeline;
  }

  // A worker's GPUs: sound, and a judge's not those of actor_infer, whose weights it would share memory with.
  void read_devices(const Section& worker, bool own_gpus, std::int64_t gpus_an_engine) {
    if (!worker.has("device_mapping")) return;
    std::vector<std::int64_t> devices;
    if (worker.is_list("device_mapping")) {
      devices = worker.integers("device_mapping", 0, kMostGpus).value_or(std::vector<std::int64_t>{});
    } else if (const auto expression = worker.text("device_mapping")) {
      auto parsed = parse_device_mapping(*expression);
      if (!parsed.ok()) {
        return worker.error("device_mapping", fmt::format("{}: {}", shown(*expression), parsed.error().message));
      }
      devices = std::move(parsed).value();
    }
    worker.decides_nothing("device_mapping");
    const std::set<std::int64_t> set(devices.begin(), devices.end());
    if (set.size() != devices.size()) return worker.error("device_mapping", "names a GPU twice");
    if (gpus_an_engine > 1 && static_cast<std::int64_t>(devices.size()) % gpus_an_engine != 0) {
      return worker.error("device_mapping", fmt::format("{} GPUs are not whole engines of {} (tensor_parallel_size x "
                                                        "pipeline_parallel_size)",
                                                        devices.size(), gpus_an_engine));
    }
    if (worker.path() == "actor_infer") {
      actor_devices_ = set;
      return;
    }
    std::vector<std::int64_t> shared;
    std::set_intersection(set.begin(), set.end(), actor_devices_.begin(), actor_devices_.end(),
                          std::back_inserter(shared));
    if (own_gpus && !shared.empty()) {
      worker.error("device_mapping",
                   fmt::format("shares GPU {} with actor_infer ({}); a judge needs GPUs of its own",
                               device_ranges(shared), root_.section("actor_infer").where("device_mapping")));
    }
  }

  Reader& reader_;
  Config& config_;
  Section root_;
  std::set<std::int64_t> actor_devices_;
  std::vector<Meaning> meanings_;
};

}  // namespace

void read_roll(Reader& reader, Config& config) { Roll(reader, config).run(); }

Config read_hf_overrides(std::string_view json, std::string_view name, std::string_view origin) {
  Config config;
  config.language = Language::kRoll;
  config.origin = std::string(origin);
  const auto root = parse_yaml(json, origin);
  if (!root.ok()) {
    config.errors.push_back(root.error().message);
    return config;
  }
  if (!name.empty() && name != "fp8") {
    config.errors.push_back(fmt::format("--quantization {}: with {} it must be fp8", shown(name), origin));
    return config;
  }
  Reader reader(*root, {config.origin}, /*interpolates=*/false);
  Meaning meaning;
  meaning.online = true;
  const Section section = reader.root();
  section.require("quantization_config", "what else it could override is not offered");
  read_block_form(reader, section, section.section("quantization_config"), "fp8", meaning);
  if (!reader.failed()) config.meanings.push_back(std::move(meaning));
  reader.finish(config);
  return config;
}

}  // namespace octavo::dialect
