// What fuzz targets share: the input as text, and a property whose violation ends the run as a finding.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "octavo/base/text.h"

namespace octavo::fuzz {

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return size == 0 ? std::string_view() : std::string_view(reinterpret_cast<const char*>(data), size);
}

inline void require(bool holds, const char* property, std::string_view detail = "") {
  if (holds) return;
  std::fprintf(stderr, "property violated: %s\n%s\n", property, printable(detail, 10'000).c_str());
  std::abort();
}

// Every message is one line of valid UTF-8 of bearable length.
inline void require_readable(std::string_view message) {
  require(message.find('\n') == std::string_view::npos, "an error message is one line", message);
  require(is_valid_utf8(message), "an error message is UTF-8", message);
  require(message.size() < 4000, "an error message is short", message);
}

}  // namespace octavo::fuzz
