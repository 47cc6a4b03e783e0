// Unicode 14 by utf8proc, plus the properties and full mappings it does not have.
#include "octavo/text/jinja/unicode.h"

#include <string.h>  // memmem
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "octavo/text/jinja/special_casing.h"
#include "octavo/text/utf8.h"

namespace octavo::text::jinja {
namespace {

struct Interval {
  char32_t first, last;
};

template <std::size_t N>
bool within(const Interval (&intervals)[N], char32_t c) {
  const auto at = std::partition_point(std::begin(intervals), std::end(intervals),
                                       [&](const Interval& interval) { return interval.last < c; });
  return at != std::end(intervals) && c >= at->first;
}

// Numeric_Type=Digit outside the category Nd.
constexpr Interval kDigits[] = {{0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
                                {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
                                {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
                                {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
                                {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A}};

// Numeric_Type=Numeric outside the categories N*: numerals written as ideographs.
constexpr Interval kNumerals[] = {
    {0x3405, 0x3405},   {0x3483, 0x3483},   {0x382A, 0x382A},   {0x3B4D, 0x3B4D},   {0x4E00, 0x4E00},
    {0x4E03, 0x4E03},   {0x4E07, 0x4E07},   {0x4E09, 0x4E09},   {0x4E5D, 0x4E5D},   {0x4E8C, 0x4E8C},
    {0x4E94, 0x4E94},   {0x4E96, 0x4E96},   {0x4EBF, 0x4EC0},   {0x4EDF, 0x4EDF},   {0x4EE8, 0x4EE8},
    {0x4F0D, 0x4F0D},   {0x4F70, 0x4F70},   {0x5104, 0x5104},   {0x5146, 0x5146},   {0x5169, 0x5169},
    {0x516B, 0x516B},   {0x516D, 0x516D},   {0x5341, 0x5341},   {0x5343, 0x5345},   {0x534C, 0x534C},
    {0x53C1, 0x53C4},   {0x56DB, 0x56DB},   {0x58F1, 0x58F1},   {0x58F9, 0x58F9},   {0x5E7A, 0x5E7A},
    {0x5EFE, 0x5EFF},   {0x5F0C, 0x5F0E},   {0x5F10, 0x5F10},   {0x62FE, 0x62FE},   {0x634C, 0x634C},
    {0x67D2, 0x67D2},   {0x6F06, 0x6F06},   {0x7396, 0x7396},   {0x767E, 0x767E},   {0x8086, 0x8086},
    {0x842C, 0x842C},   {0x8CAE, 0x8CAE},   {0x8CB3, 0x8CB3},   {0x8D30, 0x8D30},   {0x9621, 0x9621},
    {0x9646, 0x9646},   {0x964C, 0x964C},   {0x9678, 0x9678},   {0x96F6, 0x96F6},   {0xF96B, 0xF96B},
    {0xF973, 0xF973},   {0xF978, 0xF978},   {0xF9B2, 0xF9B2},   {0xF9D1, 0xF9D1},   {0xF9D3, 0xF9D3},
    {0xF9FD, 0xF9FD},   {0x20001, 0x20001}, {0x20064, 0x20064}, {0x200E2, 0x200E2}, {0x20121, 0x20121},
    {0x2092A, 0x2092A}, {0x20983, 0x20983}, {0x2098C, 0x2098C}, {0x2099C, 0x2099C}, {0x20AEA, 0x20AEA},
    {0x20AFD, 0x20AFD}, {0x20B19, 0x20B19}, {0x22390, 0x22390}, {0x22998, 0x22998}, {0x23B1B, 0x23B1B},
    {0x2626D, 0x2626D}, {0x2F890, 0x2F890}};

// Other_Uppercase and Other_Lowercase (PropList.txt).
constexpr Interval kOtherUpper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}};
constexpr Interval kOtherLower[] = {
    {0xAA, 0xAA},     {0xBA, 0xBA},     {0x2B0, 0x2B8},     {0x2C0, 0x2C1},     {0x2E0, 0x2E4},     {0x345, 0x345},
    {0x37A, 0x37A},   {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78},   {0x1D9B, 0x1DBF},   {0x2071, 0x2071},   {0x207F, 0x207F},
    {0x2090, 0x209C}, {0x2170, 0x217F}, {0x24D0, 0x24E9},   {0x2C7C, 0x2C7D},   {0xA69C, 0xA69D},   {0xA770, 0xA770},
    {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F}, {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA}};

// Word_Break MidLetter, MidNumLet and Single_Quote: case-ignorable without being marks or modifiers.
constexpr Interval kMidLetters[] = {{0x27, 0x27},     {0x2E, 0x2E},     {0x3A, 0x3A},     {0xB7, 0xB7},
                                    {0x387, 0x387},   {0x55F, 0x55F},   {0x5F4, 0x5F4},   {0x2018, 0x2019},
                                    {0x2024, 0x2024}, {0x2027, 0x2027}, {0xFE13, 0xFE13}, {0xFE52, 0xFE52},
                                    {0xFE55, 0xFE55}, {0xFF07, 0xFF07}, {0xFF0E, 0xFF0E}, {0xFF1A, 0xFF1A}};

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool is_case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: return within(kMidLetters, c);
  }
}

const SpecialCase* special_case(char32_t c) {
  const auto at = std::partition_point(std::begin(kSpecialCases), std::end(kSpecialCases),
                                       [&](const SpecialCase& special) { return special.from < c; });
  return at != std::end(kSpecialCases) && at->from == c ? at : nullptr;
}

void append_all(std::string& out, const char32_t* text) {
  for (; *text != 0; ++text) append_utf8(out, *text);
}

void append_upper(std::string& out, char32_t c) {
  if (const SpecialCase* special = special_case(c)) return append_all(out, special->upper);
  append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

void append_title(std::string& out, char32_t c) {
  if (const SpecialCase* special = special_case(c)) return append_all(out, special->title);
  append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
}

// The lower case of text[i]: a capital sigma at the end of a word has a form of its own (Unicode 3.13, Final_Sigma).
void append_lower(std::string& out, const std::u32string& text, std::size_t i) {
  constexpr char32_t kCapitalSigma = 0x3A3, kFinalSigma = 0x3C2, kSigma = 0x3C3, kCapitalDottedI = 0x130;
  const char32_t c = text[i];
  if (c == kCapitalDottedI) return append_all(out, U"i\u0307");
  if (c != kCapitalSigma) {
    return append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
  std::size_t before = i;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  std::size_t after = i + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  const bool final = before > 0 && is_cased(text[before - 1]) && !(after < text.size() && is_cased(text[after]));
  append_utf8(out, final ? kFinalSigma : kSigma);
}

char ascii_upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

bool is_all_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::size_t count_chars(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // not a continuation byte
  }));
}

std::size_t byte_of_char(std::string_view text, std::size_t index) {
  std::size_t at = 0;
  for (; index > 0 && at < text.size(); --index) at += utf8_length_of(text[at]);
  return std::min(at, text.size());
}

std::u32string to_code_points(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    out.push_back(c.value);
    text.remove_prefix(std::max<std::size_t>(c.length, 1));
  }
  return out;
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

bool is_space(char32_t c) { return is_whitespace(c) || (c >= 0x1C && c <= 0x1F); }

bool is_alphabetic(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const auto k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) { return c < 0x80 ? c >= '0' && c <= '9' : category(c) == UTF8PROC_CATEGORY_ND; }
int decimal_value(char32_t c) {
  // Digits of a script stand in runs of ten, from zero (Unicode 4.6).
  char32_t first = c;
  while (first > 0 && is_decimal(first - 1)) --first;
  return static_cast<int>((c - first) % 10);
}
bool is_digit(char32_t c) { return is_decimal(c) || within(kDigits, c); }
bool is_numeric_char(char32_t c) { return is_numeric(c) || within(kNumerals, c); }
bool is_lower(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LL || within(kOtherLower, c); }
bool is_upper(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LU || within(kOtherUpper, c); }
bool is_title(char32_t c) { return category(c) == UTF8PROC_CATEGORY_LT; }
bool is_cased(char32_t c) { return is_lower(c) || is_upper(c) || is_title(c); }

bool is_printable(char32_t c) {
  if (c == ' ') return true;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

bool is_identifier_start(char32_t c) {
  return c == '_' || is_alphabetic(c) || (c >= 0x80 && category(c) == UTF8PROC_CATEGORY_NL);
}

bool is_identifier_part(char32_t c) {
  if (c < 0x80) return is_identifier_start(c) || is_decimal(c);
  const auto k = category(c);
  return is_identifier_start(c) || k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC ||
         k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_PC || c == 0xB7;
}

std::string upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (is_all_ascii(text)) {
    for (const char c : text) out.push_back(ascii_upper(c));
    return out;
  }
  for (const char32_t c : to_code_points(text)) append_upper(out, c);
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (is_all_ascii(text)) {
    for (const char c : text) out.push_back(ascii_lower(c));
    return out;
  }
  const std::u32string all = to_code_points(text);
  for (std::size_t i = 0; i < all.size(); ++i) append_lower(out, all, i);
  return out;
}

std::string title(std::string_view text) {
  std::string out;
  const std::u32string all = to_code_points(text);
  bool in_word = false;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (in_word) {
      append_lower(out, all, i);
    } else {
      append_title(out, all[i]);
    }
    in_word = is_cased(all[i]);
  }
  return out;
}

std::string capitalize(std::string_view text) {
  std::string out;
  const std::u32string all = to_code_points(text);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i == 0) {
      append_title(out, all[i]);
    } else {
      append_lower(out, all, i);
    }
  }
  return out;
}

std::string swap_case(std::string_view text) {
  std::string out;
  const std::u32string all = to_code_points(text);
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (is_upper(all[i])) {
      append_lower(out, all, i);
    } else if (is_lower(all[i])) {
      append_upper(out, all[i]);
    } else {
      append_utf8(out, all[i]);
    }
  }
  return out;
}

std::string fold_case(std::string_view text) {
  utf8proc_uint8_t* folded = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &folded, UTF8PROC_CASEFOLD);
  if (length < 0) return std::string(text);  // invalid UTF-8 only
  std::string out(reinterpret_cast<const char*>(folded), static_cast<std::size_t>(length));
  std::free(folded);  // utf8proc allocates with malloc
  return out;
}

std::string_view strip_space(std::string_view text, int sides) {
  while ((sides & 1) != 0 && !text.empty()) {
    const CodePoint c = first_code_point(text);
    if (!is_space(c.value)) break;
    text.remove_prefix(std::max<std::size_t>(c.length, 1));
  }
  while ((sides & 2) != 0 && !text.empty()) {
    std::size_t at = text.size() - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    if (!is_space(first_code_point(text.substr(at)).value)) break;
    text.remove_suffix(text.size() - at);
  }
  return text;
}

std::size_t find_text(std::string_view text, std::string_view wanted, std::size_t from) {
  if (from > text.size()) return text.npos;
  if (wanted.empty()) return from;
  const void* at = ::memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  return at == nullptr ? text.npos : static_cast<std::size_t>(static_cast<const char*>(at) - text.data());
}

}  // namespace octavo::text::jinja
