// The table of splits. Patterns are those of the models' own tokenizer.json.
#include "octavo/checkpoint/gguf/pre_tokenizer.h"

#include <array>

namespace octavo {
namespace {

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr auto kPreTokenizers = std::to_array<PreTokenizer>({
    {.name = "default", .pattern = ""},
    {.name = "gpt-2", .pattern = ""},
    {.name = "smollm", .pattern = "", .split_digits = true},
    {.name = "llama-bpe", .pattern = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama3", .pattern = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .pattern = kLlama3, .ignore_merges = true, .add_bos = true},
    {.name = "qwen2", .pattern = kQwen2, .nfc = true},
    {.name = "deepseek-r1-qwen", .pattern = kQwen2, .nfc = true},
});

}  // namespace

const PreTokenizer* find_pre_tokenizer(std::string_view name) {
  for (const PreTokenizer& pre : kPreTokenizers) {
    if (pre.name == name) return &pre;
  }
  return nullptr;
}

std::string pre_tokenizer_names() {
  std::string names;
  for (const PreTokenizer& pre : kPreTokenizers) {
    if (!names.empty()) names += ", ";
    names += pre.name;
  }
  return names;
}

Json pre_tokenizer_json(const PreTokenizer& pre) {
  const Json bytes = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", pre.pattern.empty()}};
  Json steps = Json::array();
  if (pre.split_digits) steps.push_back({{"type", "Digits"}, {"individual_digits", true}});
  if (!pre.pattern.empty()) {
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pre.pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  if (steps.empty()) return bytes;
  steps.push_back(bytes);
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

}  // namespace octavo
