// Finding stop texts in text that comes in pieces.
#include "octavo/engine/stop_text.h"

#include <algorithm>
#include <utility>

namespace octavo::engine {
namespace {

// How many bytes at the end of `text` are the beginning of `stop`, but not all of it.
std::size_t overlap(std::string_view text, std::string_view stop) {
  for (std::size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.substr(text.size() - length) == stop.substr(0, length)) return length;
  }
  return 0;
}

}  // namespace

std::string StopText::push(std::string_view text) {
  if (stopped()) return {};
  held_ += text;
  std::size_t end = std::string::npos, keep = 0;
  for (std::size_t i = 0; i < stops_.size(); ++i) {
    if (const std::size_t at = held_.find(stops_[i]); at < end) {
      end = at;
      matched_ = i;
    }
    keep = std::max(keep, overlap(held_, stops_[i]));
  }
  if (stopped()) {
    held_.resize(include_ ? end + matched().size() : end);
    return std::exchange(held_, {});
  }
  // A UTF-8 stop text begins at a character, so what is shown ends at one.
  std::string shown = held_.substr(0, held_.size() - keep);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopText::finish() { return std::exchange(held_, {}); }

}  // namespace octavo::engine
