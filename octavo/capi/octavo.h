// Octavo for C, and for every language that calls C: models in FP8 that generate, new weights for them, and FP8 files.
// C99. Link with -loctavo. tests/capi/example.c is a program that uses all of it; docs/python.md has the options.
//
//   octavo_engine* engine = NULL;
//   if (octavo_engine_open("Qwen3-0.6B", "{\"quantization\": \"fp8_block\"}", &engine) != OCTAVO_OK)
//     fprintf(stderr, "%s\n", octavo_last_error());
//
// Errors. Every function that can fail returns an octavo_code, and leaves one sentence for octavo_last_error() of the
// calling thread. After a failure the out-parameters are as they were, but those that this header says otherwise of.
// No C++ exception leaves a function. NULL where an argument is needed is OCTAVO_USAGE.
//
// Memory. What a function gives out belongs to the caller, who frees it with the function named beside it; pointers in
// a struct that was filled live as long as the object they come from. What a function takes is read before it returns
// and never kept. All free functions take NULL.
//
// Threads. Objects may be used from any thread. An octavo_engine may be used from several at once, but for
// octavo_engine_close, which comes last; other objects, from one at a time.
//
// Text is UTF-8; sizes are bytes without the zero at the end; token ids are int32_t. JSON: objects with the options'
// names, NULL for none of them; an unknown name is OCTAVO_USAGE with the nearest one.
//
#ifndef OCTAVO_CAPI_OCTAVO_H_
#define OCTAVO_CAPI_OCTAVO_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define OCTAVO_API __attribute__((visibility("default")))
#else
#define OCTAVO_API
#endif

// ---- status

typedef enum octavo_code {
  OCTAVO_OK = 0,
  OCTAVO_FAILURE = 1,  // what was asked for was right, the work failed
  OCTAVO_USAGE = 2,    // what was asked for was wrong
  OCTAVO_STOPPED = 3   // an octavo_poll asked for the end
} octavo_code;

// The sentence of the last call of this thread that was not OCTAVO_OK; "" before any. Valid until the next one.
OCTAVO_API const char* octavo_last_error(void);
OCTAVO_API const char* octavo_version(void);  // "0.1.0"

// Bytes that the library made; data[size] is a zero that is not counted. Start with {NULL, 0}.
typedef struct octavo_buffer {
  void* data;
  size_t size;  // bytes
} octavo_buffer;
OCTAVO_API void octavo_buffer_free(octavo_buffer* buffer);  // leaves {NULL, 0}

// Called about ten times a second while something long runs, on the thread that called: `done` of `total` (requests,
// or bytes). Not 0 ends the work with OCTAVO_STOPPED. It must not call back into the same object.
typedef int (*octavo_poll)(void* user, uint64_t done, uint64_t total);

// ---- a model that runs

typedef struct octavo_engine octavo_engine;

// Loads a model folder. `options`: JSON with the names of `octavo serve --help`, "_" for "-":
//   quantization, quantization_config, hf_overrides (objects), ignore, keep_first, keep_last, edge, compute,
//   activations, lm_head, kv_cache_dtype, max_model_len, max_num_seqs, max_num_batched_tokens, kv_memory (bytes),
//   gpu_memory_utilization, enable_prefix_caching, max_logprobs, logprobs_mode ("raw_logprobs", "processed_logprobs"),
//   seed, weight_version, chat_template, update_timeout (seconds), free_update_memory, threads; dtype and load_format
//   as vLLM has them ("auto").
OCTAVO_API octavo_code octavo_engine_open(const char* model, const char* options, octavo_engine** engine);
// Requests that run end with finish_reason "abort". No other call for this engine may run or follow.
OCTAVO_API void octavo_engine_close(octavo_engine* engine);
// What it is, as JSON: model, precision, max_model_len, kv_cache_tokens, vocab_size, bos_token_id, eos_token_ids,
// has_tokenizer, chat_template ("" or why there is none), default_sampling_params, warnings.
OCTAVO_API octavo_code octavo_engine_info(const octavo_engine* engine, octavo_buffer* json);
// Counters, as JSON: steps, prompt_tokens, generation_tokens, running, waiting, cached_prompt_tokens.
OCTAVO_API octavo_code octavo_engine_metrics(const octavo_engine* engine, octavo_buffer* json);

// ---- text

OCTAVO_API octavo_code octavo_tokenize(const octavo_engine* engine, const char* text, size_t size,
                                       int add_special_tokens, octavo_buffer* tokens /* int32_t */);
OCTAVO_API octavo_code octavo_detokenize(const octavo_engine* engine, const int32_t* tokens, size_t count,
                                         int skip_special_tokens, octavo_buffer* text);
// `chat`: JSON {"messages": [{"role", "content"}, ...], "tools", "add_generation_prompt", "chat_template_kwargs"}.
// The template writes the special tokens, so tokenize what comes with add_special_tokens 0.
OCTAVO_API octavo_code octavo_render_chat(const octavo_engine* engine, const char* chat, octavo_buffer* text);

// ---- generation

typedef struct octavo_request {
  const char* prompt;  // text, or NULL: then tokens
  size_t prompt_size;
  const int32_t* tokens;
  size_t token_count;
  // JSON of vLLM's SamplingParams: n, temperature, top_p, top_k, min_p, seed, stop, stop_token_ids, max_tokens (16;
  // null: up to the context), min_tokens, logprobs, prompt_logprobs, ignore_eos, presence_penalty, frequency_penalty,
  // repetition_penalty, logit_bias, include_stop_str_in_output, skip_special_tokens, detokenize; priority, cache_salt.
  // What is not given has vLLM's default.
  const char* sampling;
} octavo_request;

typedef struct octavo_results octavo_results;

// Runs all of them together with whatever else the engine runs, and returns when they are finished. Tokens and logprobs
// of a request do not depend on what runs beside it.
OCTAVO_API octavo_code octavo_generate(octavo_engine* engine, const octavo_request* requests, size_t count,
                                       octavo_poll poll, void* user, octavo_results** results);
OCTAVO_API void octavo_results_free(octavo_results* results);

typedef struct octavo_logprob {
  int32_t token;
  int32_t rank;   // 1: the most likely
  float logprob;  // natural logarithm, as the engine computed it
} octavo_logprob;

// Logprobs of a run of tokens: token i has entries[starts[i]] for itself, and behind it, up to starts[i + 1], the most
// likely ones, best first (itself may be among them). Nothing was asked for: NULL and 0.
typedef struct octavo_logprobs {
  const octavo_logprob* entries;
  const size_t* starts;  // count + 1
  size_t count;          // tokens
} octavo_logprobs;

typedef struct octavo_prompt_result {
  const int32_t* tokens;
  size_t token_count;
  octavo_logprobs logprobs;  // of the last logprobs.count tokens: nothing stands before the first one
  uint64_t cached_tokens;    // found in the KV cache
} octavo_prompt_result;

// Output tokens [start, end) were sampled from weights of version `number`.
typedef struct octavo_version_span {
  uint64_t number;
  const char* label;
  uint64_t start, end;
} octavo_version_span;

typedef struct octavo_output {
  const char* text;  // ends with a zero; may hold others
  size_t text_size;
  const int32_t* tokens;
  size_t token_count;
  octavo_logprobs logprobs;   // one a token
  double cumulative_logprob;  // their sum; 0 without them
  const char* finish_reason;  // "stop", "length", "abort"
  int has_stop_token;         // a token of stop_token_ids ended it:
  int32_t stop_token;
  const char* stop_text;  // the text of `stop` that ended it; NULL
  const char* error;      // "abort": why; else ""
  const octavo_version_span* versions;
  size_t version_count;
} octavo_output;

OCTAVO_API size_t octavo_results_count(const octavo_results* results);                    // requests
OCTAVO_API size_t octavo_results_outputs(const octavo_results* results, size_t request);  // its n; 0: no such
OCTAVO_API octavo_code octavo_results_prompt(const octavo_results* results, size_t request,
                                             octavo_prompt_result* prompt);
OCTAVO_API octavo_code octavo_results_output(const octavo_results* results, size_t request, size_t index,
                                             octavo_output* output);

// ---- new weights, as one act (docs/rollout.md): until the commit nothing that serves is touched

typedef struct octavo_update octavo_update;

// One at a time. `partial` not 0: tensors that are not sent stay as they are.
OCTAVO_API octavo_code octavo_update_begin(octavo_engine* engine, int partial, octavo_update** update);
// A whole tensor under its checkpoint name, row-major and little-endian; encoded to FP8 where the model has it so.
// `dtype` is spelled as in safetensors: BF16, F16, F32, F8_E4M3... A failure ends the update.
OCTAVO_API octavo_code octavo_update_tensor(octavo_update* update, const char* name, const char* dtype,
                                            const uint64_t* shape, size_t rank, const void* data, size_t bytes);
// Every tensor of a safetensors file or a model folder.
OCTAVO_API octavo_code octavo_update_path(octavo_update* update, const char* path);
// Ends it. `policy`, of requests that run: abort, wait, keep (or recompute), in_place; NULL: abort. `label` names the
// version; NULL: its number. `summary`, may be NULL: JSON {"weight_version", "label", "tensors", "parameters", ...}.
// Tensors that are missing are listed in the error, and the old version stays.
OCTAVO_API octavo_code octavo_update_commit(octavo_update* update, const char* policy, const char* label,
                                            octavo_buffer* summary);
OCTAVO_API void octavo_update_free(octavo_update* update);  // aborts one that was not committed

OCTAVO_API octavo_code octavo_weight_version(const octavo_engine* engine, uint64_t* number,
                                             octavo_buffer* label /* may be NULL */);
// JSON {name: checksum of the values that the model computes with}: equal where two models' weights are.
OCTAVO_API octavo_code octavo_weight_checksums(octavo_engine* engine, octavo_buffer* json);
// The KV cache and what updates keep; requests wait until it is resumed. The weights stay.
OCTAVO_API octavo_code octavo_release_memory(octavo_engine* engine);
OCTAVO_API octavo_code octavo_resume_memory(octavo_engine* engine);
// Forgets the KV cache of earlier prompts.
OCTAVO_API octavo_code octavo_reset_prefix_cache(octavo_engine* engine);

// ---- FP8 without a model

typedef struct octavo_encoded octavo_encoded;

typedef struct octavo_array {
  const void* data;
  size_t bytes;
  const char* dtype;  // as in safetensors
  uint64_t shape[4];
  size_t rank;
} octavo_array;

// A weight of `rows` x `columns` BF16, F16 or F32 to the codes and scales that `octavo quantize` writes of it. `scheme`
// is one of its --scheme; `options`, JSON: format, loader, dtype, scale_dtype, block_size, pow2_scales, direct,
// nonfinite, threads.
OCTAVO_API octavo_code octavo_encode(const char* scheme, const char* options, const char* dtype, uint64_t rows,
                                     uint64_t columns, const void* data, size_t bytes, octavo_encoded** encoded);
OCTAVO_API octavo_code octavo_encoded_codes(const octavo_encoded* encoded, octavo_array* codes);
OCTAVO_API octavo_code octavo_encoded_scales(const octavo_encoded* encoded, octavo_array* scales);
OCTAVO_API void octavo_encoded_free(octavo_encoded* encoded);

// `octavo quantize MODEL -o OUTPUT`. `options`, JSON: its options with "_" for "-" (scheme, format, loader, ignore,
// only, keep_first, keep_last, lm_head, sqnr, restart, threads, ...). `summary`: what --json prints. Stopped, what is
// done is kept, and the same call goes on from there; `done` and `total` of the poll are bytes.
OCTAVO_API octavo_code octavo_quantize(const char* model, const char* output, const char* options, octavo_poll poll,
                                       void* user, octavo_buffer* summary);
// `octavo verify DIR`. `options`, JSON: against (the folder it was made from), loaders (vllm, sglang, transformers,
// tensorrt-llm), threads. `report`: what --json prints; {"ok": false, "violations": [...]} is no error. A stop takes
// effect when the report is made.
OCTAVO_API octavo_code octavo_verify(const char* folder, const char* options, octavo_poll poll, void* user,
                                     octavo_buffer* report);

#ifdef __cplusplus
}
#endif

#endif  // OCTAVO_CAPI_OCTAVO_H_
