// Python's textwrap.wrap for one paragraph, as |wordwrap calls it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/text/jinja/budget.h"

namespace octavo::text::jinja {

struct WrapOptions {
  std::int64_t width = 79;
  bool break_long_words = true;
  bool break_on_hyphens = true;
};
std::vector<std::string> wrap_text(std::string_view text, const WrapOptions& options, Budget& budget);

}  // namespace octavo::text::jinja
