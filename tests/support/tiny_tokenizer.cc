// Builds the tokenizer.json of a small model.
#include "tests/support/tiny_tokenizer.h"

namespace octavo::test {
namespace {

// The printable stand-in of a byte in byte-level vocabularies (GPT-2's bytes_to_unicode), as UTF-8.
std::string stand_in(unsigned byte) {
  const auto shown = [](unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  unsigned code = byte;
  if (!shown(byte)) {
    code = 256;
    for (unsigned b = 0; b < byte; ++b) code += shown(b) ? 0 : 1;
  }
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

Json special(std::int32_t id, const char* content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

constexpr const char* kChatTemplate =
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if shout is defined and shout %}!{% endif %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

}  // namespace

std::string tiny_tokenizer_json() {
  Json vocab = Json::object();
  std::int32_t id = 0;
  for (unsigned byte = 0; byte < 256; ++byte) vocab[stand_in(byte)] = id++;
  const std::string space = stand_in(' ');
  for (const std::string& token : {std::string("th"), std::string("the"), space + "t", space + "the"})
    vocab[token] = id++;
  const Json added =
      Json::array({special(TinyTokenizer::kBos, "<|bos|>"), special(TinyTokenizer::kEnd, "<|end|>"),
                   special(TinyTokenizer::kUser, "<|user|>"), special(TinyTokenizer::kAssistant, "<|assistant|>"),
                   special(TinyTokenizer::kSystem, "<|system|>")});
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  const Json bos = {{"SpecialToken", {{"id", "<|bos|>"}, {"type_id", 0}}}};
  const Json a = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}, b = {{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  const Json json = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added},
                     {"normalizer", nullptr},
                     {"pre_tokenizer", byte_level},
                     {"post_processor",
                      {{"type", "TemplateProcessing"},
                       {"single", {bos, a}},
                       {"pair", {bos, a, b}},
                       {"special_tokens",
                        {{"<|bos|>", {{"id", "<|bos|>"}, {"ids", {TinyTokenizer::kBos}}, {"tokens", {"<|bos|>"}}}}}}}},
                     {"decoder", byte_level},
                     {"model",
                      {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", false},
                       {"vocab", vocab},
                       {"merges", {"t h", "th e", space + " t", space + " the"}}}}};
  return json.dump();
}

void add_tiny_tokenizer(CheckpointBuilder& model) {
  model.add_file("tokenizer.json", tiny_tokenizer_json());
  model.add_file("tokenizer_config.json", Json({{"bos_token", "<|bos|>"},
                                                {"eos_token", "<|end|>"},
                                                {"tokenizer_class", "PreTrainedTokenizerFast"},
                                                {"chat_template", kChatTemplate}})
                                              .dump());
  model.config()["eos_token_id"] = TinyTokenizer::kEnd;
}

}  // namespace octavo::test
