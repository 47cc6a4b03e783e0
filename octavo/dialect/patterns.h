// Names of modules as other tools match them, said in Octavo's patterns (base/name_matcher.h).
#pragma once

#include <string>
#include <string_view>

#include "octavo/base/status.h"

namespace octavo::dialect {

// An entry that stands anywhere in a name (AngelSlim's ignore_layers, NeMo-RL's keywords): "*entry*".
std::string substring_pattern(std::string_view entry);

// "re:P" of llm-compressor and vLLM: Python's re.match on the name of a *module*. Octavo tries a pattern on the
// module's name and then on its weight's, "MODULE.weight"; where P could match only the latter it is fenced in with a
// lookahead.
std::string module_regex(std::string_view entry);

// Whether a single pattern of Octavo's matches a name; an error when it is malformed or too costly.
Result<bool> pattern_matches(const std::string& pattern, std::string_view name);

}  // namespace octavo::dialect
