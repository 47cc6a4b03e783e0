// Unicode normalization forms (UAX 15) in linear time.
#pragma once

#include <string>
#include <string_view>

namespace octavo::text {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// `text` must be valid UTF-8. The first character of the result comes from the first of the text.
std::string normalize_unicode(std::string_view text, NormalForm form);

// Rust's char::to_lowercase on each character: the unconditional full mapping, without context.
std::string lowercase(std::string_view text);

}  // namespace octavo::text
