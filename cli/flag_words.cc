// Words of the engine to options, wherever they stand in the sentence.
#include "cli/flag_words.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace octavo::cli {
namespace {

constexpr std::array<std::string_view, 12> kNames = {"top_k",
                                                     "top_p",
                                                     "min_p",
                                                     "repetition_penalty",
                                                     "max_num_seqs",
                                                     "max_num_batched_tokens",
                                                     "max_model_len",
                                                     "max_logprobs",
                                                     "kv_memory",
                                                     "gpu_memory_utilization",
                                                     "frequency_penalty",
                                                     "presence_penalty"};
// Words of the language, too: options only where the sentence begins with them.
constexpr std::array<std::string_view, 3> kFirst = {"temperature", "stop", "n"};

bool part_of_word(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; }

template <typename Names>
bool has(const Names& names, std::string_view word) {
  return std::find(names.begin(), names.end(), word) != names.end();
}

}  // namespace

Error in_flags(Error error) {
  const std::string& text = error.message;
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size() && part_of_word(text[end])) ++end;
    std::string word = text.substr(at, std::max(end, at + 1) - at);
    if (has(kNames, word) || (at == 0 && has(kFirst, word))) {
      std::replace(word.begin(), word.end(), '_', '-');
      out += "--";
    }
    out += word;
    at = std::max(end, at + 1);
  }
  error.message = std::move(out);
  return error;
}

}  // namespace octavo::cli
