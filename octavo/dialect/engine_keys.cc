// Arguments of vLLM's and SGLang's engines that RL configurations and `vllm serve --config` carry. None of them says at
// which precision the weights are: they are listed to the user as having no meaning for it.
#include "octavo/dialect/languages.h"

namespace octavo::dialect {

const std::vector<std::string_view>& engine_keys() {
  static const std::vector<std::string_view> kKeys = {
      // the model and how it is read
      "served_model_name", "tokenizer", "tokenizer_mode", "trust_remote_code", "revision", "code_revision",
      "tokenizer_revision", "download_dir", "load_format", "dtype", "config_format", "hf_config_path", "hf_token",
      "hf_overrides", "model_loader_extra_config", "skip_tokenizer_init", "seed", "runner", "convert", "task",
      "model_impl", "generation_config", "override_generation_config", "enable_sleep_mode", "logits_processors",
      // memory, batches, scheduling
      "max_model_len", "gpu_memory_utilization", "swap_space", "cpu_offload_gb", "block_size", "enable_prefix_caching",
      "prefix_caching_hash_algo", "kv_cache_memory_bytes", "max_num_batched_tokens", "max_num_seqs",
      "max_num_partial_prefills", "enable_chunked_prefill", "scheduling_policy", "async_scheduling",
      "num_scheduler_steps", "num_gpu_blocks_override", "calculate_kv_scales", "max_logprobs", "logprobs_mode",
      "sleep_level",
      // parallelism
      "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "data_parallel_backend",
      "expert_parallel_size", "enable_expert_parallel", "distributed_executor_backend", "worker_cls",
      "worker_extension_cls", "disable_custom_all_reduce", "ray_workers_use_nsight", "enable_eplb",
      // execution
      "enforce_eager", "cuda_graph_sizes", "compilation_config", "attention_backend", "attention_config",
      "max_seq_len_to_capture", "speculative_config", "additional_config", "enable_lora", "max_loras", "max_lora_rank",
      "limit_mm_per_prompt", "mm_processor_kwargs", "disable_log_stats", "disable_log_requests", "moe_backend",
      // the server
      "host", "port", "api_key", "uvicorn_log_level", "allowed_origins", "chat_template", "response_role",
      "tool_call_parser", "enable_auto_tool_choice", "reasoning_parser", "root_path", "middleware",
      // SGLang
      "mem_fraction_static", "tp_size", "dp_size", "ep_size", "context_length", "disable_cuda_graph",
      "disable_radix_cache", "enable_memory_saver", "enable_weights_cpu_backup", "chunked_prefill_size",
      "max_running_requests", "log_level"};
  return kKeys;
}

}  // namespace octavo::dialect
