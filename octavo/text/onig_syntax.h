// tokenizer.json's regular expressions are Oniguruma's (Ruby syntax, UTF-8); PCRE2 runs them here. This is the
// translation of what the two read differently:
//   \s \w \d \b and their negations    Unicode White_Space; Alphabetic, M, Nd, Pc; Nd; edges of \w
//   \h \v \uHHHH                       a hexadecimal digit; U+000B; a code point
//   \p{Han}, \p{Letter}, \p{Alpha}     the script, not its extensions; long names of categories; POSIX names
//   \p{L} \p{Nd} and the like         also what Unicode 15 and 16 added, whatever PCRE2's own version
//   [a[bc]], [a&&b]                    unions and intersections of classes
//   {,n}, a{n,m}+, a{n}?               0 .. n; greedy repetition of the interval; optional interval
//   (?m:...), a(?i)b|c                 dot matches newlines; an option holds to the end of its group
#pragma once

#include <string>
#include <string_view>

#include "octavo/base/status.h"

namespace octavo::text {

// `pattern` must be valid UTF-8. Compile the result with UTF, UCP and MULTILINE; what PCRE2 refuses is refused there.
Result<std::string> translate_oniguruma(std::string_view pattern);

}  // namespace octavo::text
