// The text of one continuation as its tokens come, and where it ends.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "octavo/engine/request.h"
#include "octavo/engine/stop_text.h"
#include "octavo/text/detokenizer.h"

namespace octavo::engine {

struct Ending {
  FinishReason reason = FinishReason::kLength;
  std::optional<std::int32_t> stop_token = std::nullopt;
  bool end_token = false;
  std::optional<std::string> stop_text = std::nullopt;
};

// One thread at a time.
class Output {
 public:
  // `tokenizer` null: no text. `end_tokens`: the model's, sorted. `limit`: tokens of the output.
  Output(const Request& request, const text::Tokenizer* tokenizer, std::span<const std::int32_t> end_tokens,
         std::uint64_t limit);

  // Takes a token; adds to `text` what can be shown. An ending where the output ends with it.
  std::optional<Ending> push(std::int32_t token, std::string& text);
  // The output ends before its time: what was held back.
  std::string finish();

  std::uint64_t count() const { return count_; }

 private:
  bool may_stop() const { return count_ > min_tokens_; }
  void show(std::string piece, std::string& text);
  void flush(std::string& text);

  std::vector<std::int32_t> ends_, stops_;  // end tokens that are not ignored; stop_token_ids; sorted
  std::uint64_t min_tokens_, limit_;
  bool include_stop_;
  std::optional<text::IncrementalDetokenizer> detokenizer_;
  StopText stop_text_;
  std::uint64_t count_ = 0;
};

}  // namespace octavo::engine
