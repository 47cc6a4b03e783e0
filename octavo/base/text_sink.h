// Where a long text goes as it is made, so that nobody holds it whole.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "octavo/base/status.h"

namespace octavo {

// Takes the next part of a text. An error ends its making.
using TextSink = std::function<Status(std::string_view)>;

// Gathers small parts, so that the sink (which must outlive this) is called for every 64 KiB or so, and by finish().
class BufferedText {
 public:
  explicit BufferedText(const TextSink& sink) : sink_(sink) {}
  // To append to; call more() now and then.
  std::string& text() { return text_; }
  Status more() { return text_.size() < kEnough ? Status() : finish(); }
  Status finish() {
    Status status = text_.empty() ? Status() : sink_(text_);
    text_.clear();
    return status;
  }

 private:
  static constexpr std::size_t kEnough = 64 << 10;
  const TextSink& sink_;
  std::string text_;
};

// The whole text that `write` gives its sink. For short ones.
template <typename Write>
Result<std::string> collect_text(Write&& write) {
  std::string text;
  OCTAVO_TRY(std::forward<Write>(write)([&text](std::string_view part) -> Status {
    text += part;
    return {};
  }));
  return text;
}

}  // namespace octavo
