// Stop tokens first, then stop texts, then the length: as vLLM checks them.
#include "octavo/engine/output.h"

#include <algorithm>
#include <utility>

namespace octavo::engine {

Output::Output(const Request& request, const text::Tokenizer* tokenizer, std::span<const std::int32_t> end_tokens,
               std::uint64_t limit)
    : stops_(request.sampling.stop_token_ids),
      min_tokens_(request.sampling.min_tokens),
      limit_(limit),
      include_stop_(request.include_stop_in_output),
      stop_text_(request.stop, request.include_stop_in_output) {
  std::sort(stops_.begin(), stops_.end());
  if (!request.ignore_eos) ends_.assign(end_tokens.begin(), end_tokens.end());
  if (tokenizer == nullptr || !request.detokenize) return;
  detokenizer_.emplace(*tokenizer, request.skip_special_tokens);
  // What a token looks like depends on what stands before it (a leading space, a character begun): the prompt goes
  // through the detokenizer too, and only its text is dropped.
  for (const std::int32_t token : request.prompt) detokenizer_->push(token);
}

void Output::show(std::string piece, std::string& text) { text += may_stop() ? stop_text_.push(piece) : piece; }

// No more tokens: characters that were never completed, and what could have become a stop text.
void Output::flush(std::string& text) {
  if (!detokenizer_ || stop_text_.stopped()) return;
  show(detokenizer_->finish(), text);
  text += stop_text_.finish();
}

std::optional<Ending> Output::push(std::int32_t token, std::string& text) {
  ++count_;
  const bool end = std::binary_search(ends_.begin(), ends_.end(), token);
  if (may_stop() && (end || std::binary_search(stops_.begin(), stops_.end(), token))) {
    if (detokenizer_ && include_stop_) show(detokenizer_->push(token), text);
    flush(text);
    return Ending{.reason = FinishReason::kStop, .stop_token = token, .end_token = end};
  }
  if (detokenizer_) show(detokenizer_->push(token), text);
  if (!stop_text_.stopped() && count_ >= limit_) flush(text);
  if (stop_text_.stopped()) return Ending{.reason = FinishReason::kStop, .stop_text = stop_text_.matched()};
  if (count_ >= limit_) return Ending{.reason = FinishReason::kLength};
  return std::nullopt;
}

std::string Output::finish() {
  std::string text;
  flush(text);
  return text;
}

}  // namespace octavo::engine
