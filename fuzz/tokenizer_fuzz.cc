// tokenizer.json and SentencePiece models: a file, then 0xFF 0xFF, then a text to encode with it.
#include "octavo/text/detokenizer.h"
#include "octavo/text/tokenizer.h"
#include "property.h"

using namespace octavo;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = fuzz::as_text(data, size);
  const std::size_t mark = input.rfind("\xFF\xFF");
  const std::string_view file = input.substr(0, mark);
  const std::string_view text = mark == input.npos ? "Hello <s> world 12\n\xC3\xA9 " : input.substr(mark + 2);

  const auto tokenizer = text::Tokenizer::parse(file, "fuzz");
  if (!tokenizer.ok()) {
    fuzz::require_readable(tokenizer.error().message);
    return 0;
  }
  for (const bool special : {false, true}) {
    const auto ids = tokenizer->encode(text, {.add_special = special});
    if (!ids.ok()) {
      fuzz::require_readable(ids.error().message);
      continue;
    }
    for (const std::int32_t id : *ids)
      fuzz::require(tokenizer->token_text(id).has_value(), "every id has a token", text);
    const auto back = tokenizer->decode(*ids, special);
    fuzz::require(back.ok() && is_valid_utf8(*back), "what was encoded decodes to UTF-8", text);
    text::IncrementalDetokenizer detokenizer(*tokenizer, special);
    std::string streamed;
    for (const std::int32_t id : *ids) {
      const std::string part = detokenizer.push(id);
      fuzz::require(is_valid_utf8(part), "streamed parts are whole characters", part);
      streamed += part;
    }
    streamed += detokenizer.finish();
    // Runs of byte tokens that are not UTF-8 are judged as a whole by decode().
    fuzz::require(streamed == *back || back->find("\xEF\xBF\xBD") != back->npos, "streaming is decoding", streamed);
  }
  return 0;
}
