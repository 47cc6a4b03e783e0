// Parses a template into its tree; syntax errors carry the line that jinja2 reports.
#pragma once

#include <string_view>

#include "octavo/text/jinja/ast.h"

namespace octavo::text::jinja {

// `source` is valid UTF-8. Raises. Names are not resolved yet: see scope.h.
Program parse(std::string_view source);

}  // namespace octavo::text::jinja
