// The C ABI from a C program (C99): opens a model, generates, sends new weights, encodes. Every check ends the program,
// in release builds, too. "example FOLDER HIDDEN": a model folder with a tokenizer, and the size of its norms.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "octavo/capi/octavo.h"

#define CHECK(condition)                                                                                   \
  do {                                                                                                     \
    if (!(condition)) {                                                                                    \
      fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition, octavo_last_error()); \
      exit(1);                                                                                             \
    }                                                                                                      \
  } while (0)

static int stop_at_once(void* user, uint64_t done, uint64_t total) {
  (void)done;
  (void)total;
  ++*(int*)user;
  return 1;
}

static void check_errors(const char* folder) {
  octavo_engine* engine = NULL;
  CHECK(octavo_engine_open("/no/such/folder", NULL, &engine) == OCTAVO_FAILURE);
  CHECK(strstr(octavo_last_error(), "/no/such/folder") != NULL);
  CHECK(engine == NULL);
  CHECK(octavo_engine_open(NULL, NULL, &engine) == OCTAVO_USAGE);
  CHECK(octavo_engine_open(folder, "{\"max_model_length\": 64}", &engine) == OCTAVO_USAGE);
  CHECK(strstr(octavo_last_error(), "did you mean max_model_len") != NULL);
  CHECK(octavo_engine_open(folder, "{\"quantization\": \"fp9\"}", &engine) == OCTAVO_USAGE);
  CHECK(octavo_engine_open(folder, "[1", &engine) == OCTAVO_USAGE);
  CHECK(octavo_engine_open(folder, "{\"kv_cache_dtype\": \"fp8_e4m4\"}", &engine) == OCTAVO_USAGE);
  CHECK(strstr(octavo_last_error(), "fp8_e4m3") != NULL);
  // Nothing of the command line's spelling is left.
  CHECK(octavo_engine_open(folder, "{\"ignore\": [\"a\"]}", &engine) == OCTAVO_USAGE);
  CHECK(strstr(octavo_last_error(), "--") == NULL);
}

// Text to tokens and back.
static void check_text(octavo_engine* engine) {
  static const char text[] = "the end";
  octavo_buffer tokens = {NULL, 0}, back = {NULL, 0};
  CHECK(octavo_tokenize(engine, text, strlen(text), 0, &tokens) == OCTAVO_OK);
  CHECK(tokens.size >= sizeof(int32_t) && tokens.size % sizeof(int32_t) == 0);
  CHECK(octavo_detokenize(engine, (const int32_t*)tokens.data, tokens.size / sizeof(int32_t), 1, &back) == OCTAVO_OK);
  CHECK(back.size == strlen(text) && strcmp((const char*)back.data, text) == 0);
  octavo_buffer_free(&back);
  octavo_buffer_free(&tokens);
  CHECK(tokens.data == NULL);

  CHECK(octavo_render_chat(engine, "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}", &back) == OCTAVO_OK);
  CHECK(strstr((const char*)back.data, "hi") != NULL);
  octavo_buffer_free(&back);
  CHECK(octavo_render_chat(engine, "{\"messages\": []}", &back) == OCTAVO_USAGE);
}

static double check_generation(octavo_engine* engine) {
  static const int32_t tokens[] = {5, 1, 77, 5, 100, 9, 31};
  octavo_request requests[2] = {{NULL, 0, NULL, 0, NULL}, {NULL, 0, NULL, 0, NULL}};
  octavo_results* results = NULL;
  octavo_prompt_result prompt;
  octavo_output output;
  double sum = 0;
  size_t i;
  requests[0].tokens = tokens;
  requests[0].token_count = sizeof tokens / sizeof tokens[0];
  requests[0].sampling =
      "{\"temperature\": 0, \"max_tokens\": 8, \"ignore_eos\": true, \"logprobs\": 2, \"prompt_logprobs\": 1}";
  requests[1].prompt = "the end";
  requests[1].prompt_size = 7;
  requests[1].sampling = "{\"n\": 3, \"seed\": 7, \"max_tokens\": 5, \"ignore_eos\": true}";
  CHECK(octavo_generate(engine, requests, 2, NULL, NULL, &results) == OCTAVO_OK);
  CHECK(octavo_results_count(results) == 2);
  CHECK(octavo_results_outputs(results, 0) == 1 && octavo_results_outputs(results, 1) == 3);
  CHECK(octavo_results_outputs(results, 2) == 0);

  CHECK(octavo_results_prompt(results, 0, &prompt) == OCTAVO_OK);
  CHECK(prompt.token_count == requests[0].token_count);
  CHECK(memcmp(prompt.tokens, tokens, sizeof tokens) == 0);
  CHECK(prompt.logprobs.count == prompt.token_count - 1);
  CHECK(prompt.logprobs.entries[prompt.logprobs.starts[0]].token == tokens[1]);

  CHECK(octavo_results_output(results, 0, 0, &output) == OCTAVO_OK);
  CHECK(output.token_count == 8 && strcmp(output.finish_reason, "length") == 0);
  CHECK(output.logprobs.count == output.token_count);
  for (i = 0; i < output.token_count; ++i) {
    const octavo_logprob* entry = output.logprobs.entries + output.logprobs.starts[i];
    CHECK(output.logprobs.starts[i + 1] - output.logprobs.starts[i] == 3);
    // Greedy: the token is the most likely one.
    CHECK(entry->token == output.tokens[i] && entry->rank == 1 && entry->logprob <= 0);
    CHECK(entry[1].token == entry->token && entry[1].logprob == entry->logprob && entry[2].rank == 2);
    sum += (double)entry->logprob;
  }
  CHECK(output.cumulative_logprob == sum);
  CHECK(output.version_count == 1 && output.versions[0].start == 0 && output.versions[0].end == 8);
  CHECK(octavo_results_output(results, 1, 2, &output) == OCTAVO_OK);
  CHECK(output.token_count == 5 && output.logprobs.entries == NULL);
  CHECK(octavo_results_output(results, 1, 3, &output) == OCTAVO_USAGE);
  octavo_results_free(results);

  // What is refused, and which of the two it is.
  results = NULL;
  requests[1].sampling = "{\"top_p\": 2}";
  CHECK(octavo_generate(engine, requests, 2, NULL, NULL, &results) == OCTAVO_USAGE);
  CHECK(strstr(octavo_last_error(), "request 1: top_p 2") != NULL);
  requests[1].sampling = "{\"temprature\": 1}";
  CHECK(octavo_generate(engine, requests, 2, NULL, NULL, &results) == OCTAVO_USAGE);
  CHECK(strstr(octavo_last_error(), "did you mean temperature") != NULL);
  CHECK(results == NULL);
  return sum;
}

static void check_stop(octavo_engine* engine) {
  static const int32_t tokens[] = {1, 2, 3};
  octavo_request request = {NULL, 0, NULL, 0, NULL};
  octavo_results* results = NULL;
  int calls = 0;
  request.tokens = tokens;
  request.token_count = 3;
  request.sampling = "{\"max_tokens\": null, \"ignore_eos\": true}";
  CHECK(octavo_generate(engine, &request, 1, stop_at_once, &calls, &results) == OCTAVO_STOPPED);
  CHECK(calls == 1 && results == NULL);
}

// A vector of the model, found by its name in the list of an update that sends too little.
static void check_update(octavo_engine* engine, uint64_t hidden) {
  const uint64_t shape[1] = {hidden};
  uint16_t* ones = (uint16_t*)malloc(hidden * sizeof *ones);
  octavo_update* update = NULL;
  octavo_update* second = NULL;
  octavo_buffer summary = {NULL, 0}, label = {NULL, 0};
  uint64_t number = 0, before = 0, i;
  CHECK(ones != NULL);
  for (i = 0; i < hidden; ++i) ones[i] = 0x4000;  // 2.0 in BF16
  CHECK(octavo_weight_version(engine, &before, NULL) == OCTAVO_OK);

  // Not all of it: refused, and the old version stays.
  CHECK(octavo_update_begin(engine, 0, &update) == OCTAVO_OK);
  CHECK(octavo_update_begin(engine, 0, &second) == OCTAVO_FAILURE);
  CHECK(octavo_update_tensor(update, "model.norm.weight", "BF16", shape, 1, ones, hidden * 2) == OCTAVO_OK);
  CHECK(octavo_update_commit(update, NULL, NULL, &summary) == OCTAVO_FAILURE);
  CHECK(strstr(octavo_last_error(), "model.embed_tokens.weight") != NULL);
  octavo_update_free(update);
  // A name that the model has not.
  CHECK(octavo_update_begin(engine, 0, &update) == OCTAVO_OK);
  CHECK(octavo_update_tensor(update, "model.norm.wieght", "BF16", shape, 1, ones, hidden * 2) != OCTAVO_OK);
  CHECK(octavo_update_tensor(update, "model.norm.weight", "BF16", shape, 1, ones, hidden * 2) != OCTAVO_OK);
  octavo_update_free(update);
  // Fewer bytes than the shape says.
  CHECK(octavo_update_begin(engine, 1, &update) == OCTAVO_OK);
  CHECK(octavo_update_tensor(update, "model.norm.weight", "BF16", shape, 1, ones, hidden) == OCTAVO_USAGE);
  octavo_update_free(update);
  CHECK(octavo_weight_version(engine, &number, &label) == OCTAVO_OK);
  CHECK(number == before && strcmp((const char*)label.data, "default") == 0);
  octavo_buffer_free(&label);

  CHECK(octavo_update_begin(engine, 1, &update) == OCTAVO_OK);
  CHECK(octavo_update_tensor(update, "model.norm.weight", "BF16", shape, 1, ones, hidden * 2) == OCTAVO_OK);
  CHECK(octavo_update_commit(update, "keep", "step 1", &summary) == OCTAVO_OK);
  octavo_update_free(update);
  CHECK(strstr((const char*)summary.data, "\"tensors\":1") != NULL);
  octavo_buffer_free(&summary);
  CHECK(octavo_weight_version(engine, &number, &label) == OCTAVO_OK);
  CHECK(number == before + 1 && strcmp((const char*)label.data, "step 1") == 0);
  octavo_buffer_free(&label);
  free(ones);
}

// One row of 448, 1, -2, 0: its scale is 1 and its codes are known.
static void check_encode(void) {
  static const float values[4] = {448.0f, 1.0f, -2.0f, 0.0f};
  static const unsigned char expected[4] = {0x7E, 0x38, 0xC0, 0x00};
  octavo_encoded* encoded = NULL;
  octavo_array codes, scales;
  CHECK(octavo_encode("dynamic", "{\"scale_dtype\": \"f32\"}", "F32", 1, 4, values, sizeof values, &encoded) ==
        OCTAVO_OK);
  CHECK(octavo_encoded_codes(encoded, &codes) == OCTAVO_OK);
  CHECK(octavo_encoded_scales(encoded, &scales) == OCTAVO_OK);
  CHECK(strcmp(codes.dtype, "F8_E4M3") == 0 && codes.rank == 2 && codes.shape[0] == 1 && codes.shape[1] == 4);
  CHECK(codes.bytes == 4 && memcmp(codes.data, expected, 4) == 0);
  CHECK(strcmp(scales.dtype, "F32") == 0 && scales.bytes == 4 && *(const float*)scales.data == 1.0f);
  octavo_encoded_free(encoded);
  CHECK(octavo_encode("dynamc", NULL, "F32", 1, 4, values, sizeof values, &encoded) == OCTAVO_USAGE);
  CHECK(octavo_encode("dynamic", NULL, "F32", 2, 4, values, sizeof values, &encoded) == OCTAVO_USAGE);
}

int main(int count, char** arguments) {
  octavo_engine* engine = NULL;
  octavo_buffer info = {NULL, 0};
  const char* hidden;
  double before, again, after;
  if (count != 3) {
    fprintf(stderr, "usage: example FOLDER HIDDEN\n");
    return 2;
  }
  hidden = arguments[2];
  CHECK(strlen(octavo_version()) >= 5);
  check_encode();
  check_errors(arguments[1]);
  CHECK(octavo_engine_open(arguments[1],
                           "{\"quantization\": \"fp8_channel\", \"max_model_len\": 256, \"max_num_seqs\": 8,"
                           " \"kv_memory\": 8388608, \"threads\": 2}",
                           &engine) == OCTAVO_OK);
  CHECK(octavo_engine_info(engine, &info) == OCTAVO_OK);
  CHECK(strstr((const char*)info.data, "F8_E4M3") != NULL);
  octavo_buffer_free(&info);
  check_text(engine);
  before = check_generation(engine);
  again = check_generation(engine);
  CHECK(before == again);
  check_stop(engine);
  check_update(engine, strtoull(hidden, NULL, 10));
  after = check_generation(engine);
  CHECK(isfinite(after) && after != before);
  octavo_engine_close(engine);
  octavo_engine_close(NULL);
  puts("ok");
  return 0;
}
