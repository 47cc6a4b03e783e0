// A text on its way to tokens: one string, and the spans it is cut into.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::text {

struct Span {
  std::size_t begin = 0, end = 0;  // bytes of Pieces::text
  std::int32_t token = -1;         // an added token that was found in the text; -1: to be encoded
  // Whether the span's first character comes from the first character of the input (Metaspace asks).
  bool at_start = false;
};

struct Pieces {
  std::string text;
  std::vector<Span> spans;  // in order, none empty but for added tokens
  std::string_view of(const Span& span) const {
    return std::string_view(text).substr(span.begin, span.end - span.begin);
  }
};

}  // namespace octavo::text
