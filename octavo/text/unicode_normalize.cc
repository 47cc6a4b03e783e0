// utf8proc's tables and composition. Its own reordering of combining marks is quadratic on long runs of them, so
// marks are sorted here.
#include "octavo/text/unicode_normalize.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

int combining_class(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Characters with a decomposition that Unicode 12.1 or later added. The tokenizers library's tables are Unicode 12.0
// and leave them alone.
bool is_newer(char32_t c) {
  static constexpr std::pair<char32_t, char32_t> kRanges[] = {
      {0x32FF, 0x32FF},   {0xA7F1, 0xA7F4},   {0xAB69, 0xAB69},   {0x105C9, 0x105C9}, {0x105E4, 0x105E4},
      {0x10781, 0x107BA}, {0x11383, 0x11391}, {0x113C5, 0x113C8}, {0x11938, 0x11938}, {0x16121, 0x16128},
      {0x16D68, 0x16D6A}, {0x1CCD6, 0x1CCF9}, {0x1E030, 0x1E06D}, {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [c](const auto& range) { return c >= range.first && c <= range.second; });
}

// Below this no character decomposes, composes with what follows, or is a mark.
bool is_inert(std::string_view text, NormalForm form) {
  // U+0300 is the first combining mark; NFC leaves U+0000 .. U+02FF alone. The other forms leave ASCII alone.
  const unsigned limit = form == NormalForm::kNfc ? 0xCC : 0x80;  // 0xCC is the lead byte of U+0300
  return std::all_of(text.begin(), text.end(), [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < limit;
  });
}

}  // namespace

std::string normalize_unicode(std::string_view text, NormalForm form) {
  if (is_inert(text, form)) return std::string(text);
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const auto decompose =
      static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compatible ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> out;
  out.reserve(text.size() + 1);
  constexpr std::size_t kLongest = 32;  // U+FDFA becomes 18 code points, the most of all
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = first_code_point(text.substr(at));
    at += std::max<std::size_t>(c.length, 1);
    std::array<utf8proc_int32_t, kLongest> parts{};
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.value), parts.data(),
                                               static_cast<utf8proc_ssize_t>(parts.size()), decompose, &boundary);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size()) || is_newer(c.value)) {
      out.push_back(static_cast<utf8proc_int32_t>(c.value));
    } else {
      out.insert(out.end(), parts.begin(), parts.begin() + count);
    }
  }
  for (std::size_t at = 0; at < out.size();) {  // canonical ordering: a run of marks is sorted by class, stably
    if (combining_class(out[at]) == 0) {
      ++at;
      continue;
    }
    std::size_t end = at + 1;
    while (end < out.size() && combining_class(out[end]) != 0) ++end;
    std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(at), out.begin() + static_cast<std::ptrdiff_t>(end),
                     [](auto a, auto b) { return combining_class(a) < combining_class(b); });
    at = end;
  }
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) {
    const auto compose = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    const auto length = utf8proc_normalize_utf32(out.data(), static_cast<utf8proc_ssize_t>(out.size()), compose);
    out.resize(static_cast<std::size_t>(std::max<utf8proc_ssize_t>(length, 0)));
  }
  std::string result;
  result.reserve(text.size());
  for (const utf8proc_int32_t c : out) append_utf8(result, static_cast<char32_t>(c));
  return result;
}

std::string lowercase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = first_code_point(text.substr(at));
    at += std::max<std::size_t>(c.length, 1);
    if (c.value == 0x130) {  // the only character whose lower case is two (SpecialCasing.txt, no condition)
      out += "i\xCC\x87";
    } else {
      append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.value))));
    }
  }
  return out;
}

}  // namespace octavo::text
