// Resolves the names of a parsed template to frames and slots, as jinja2's compiler does (its idtracking), so that
// the odd cases agree: a loop's body starts anew at each turn, a macro sees what surrounds it when it is called.
#pragma once

#include "octavo/text/jinja/ast.h"

namespace octavo::text::jinja {

// Fills in scopes, hops and slots; looks filters and tests up (an unknown one outside of an `if` raises).
void resolve(Program& program);

}  // namespace octavo::text::jinja
