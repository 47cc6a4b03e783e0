// Reading numbers as int() and float() do, and rounding as round() does.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "octavo/text/jinja/print.h"
#include "octavo/text/jinja/unicode.h"

namespace octavo::text::jinja {
namespace {

// Digits with single underscores between them, without the underscores; nothing when there are none or one is amiss.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() || !std::isalnum(static_cast<unsigned char>(text[i - 1])) ||
               !std::isalnum(static_cast<unsigned char>(text[i + 1]))) {
      return std::nullopt;
    }
  }
  if (out.empty()) return std::nullopt;
  return out;
}

std::string lower_ascii(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// The characters of a decimal float, before from_chars sees them: it takes "infinity", hex and more.
bool looks_like_float(std::string_view text) {
  std::size_t i = 0, digits = 0;
  const auto run = [&] {
    for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) ++digits;
  };
  run();
  if (i < text.size() && text[i] == '.') ++i, run();
  if (digits == 0) return false;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    digits = 0;
    run();
    if (digits == 0) return false;
  }
  return i == text.size();
}

// Digits of other scripts as ASCII's.
std::string with_ascii_digits(std::string_view text) {
  if (is_all_ascii(text)) return std::string(text);
  std::u32string all = to_code_points(text);
  for (char32_t& c : all) {
    if (is_decimal(c)) c = U'0' + static_cast<char32_t>(decimal_value(c));
  }
  return to_utf8(all);
}

}  // namespace

std::optional<Value> parse_integer(std::string_view given, int base) {
  const std::string ascii = with_ascii_digits(strip_space(given));
  std::string_view text = ascii;
  bool minus = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    minus = text[0] == '-';
    text.remove_prefix(1);
  }
  const auto prefixed = [&](char letter) {
    return text.size() > 1 && text[0] == '0' && std::tolower(static_cast<unsigned char>(text[1])) == letter;
  };
  const int named = prefixed('x') ? 16 : prefixed('o') ? 8 : prefixed('b') ? 2 : 0;
  if (named != 0 && (base == 0 || base == named)) {
    base = named;
    text.remove_prefix(2);
    if (text.starts_with('_')) text.remove_prefix(1);
  } else if (base == 0) {
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != text.npos) return std::nullopt;
    base = 10;
  }
  const auto digits = without_underscores(text);
  if (!digits || !std::isalnum(static_cast<unsigned char>(digits->front()))) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits->data(), digits->data() + digits->size(), value, base);
  if (end != digits->data() + digits->size()) return std::nullopt;
  const std::uint64_t most = std::uint64_t{1} << 63;
  if (error == std::errc::result_out_of_range || value > most || (value == most && !minus)) {
    raise("the integer {} does not fit in 64 bits", text.substr(0, 40));
  }
  return Value::integer(static_cast<std::int64_t>(minus ? 0 - value : value));
}

std::optional<double> parse_float(std::string_view given) {
  const std::string ascii = with_ascii_digits(strip_space(given));
  std::string_view text = ascii;
  double sign = 1;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    if (text[0] == '-') sign = -1;
    text.remove_prefix(1);
  }
  const std::string word = lower_ascii(text.substr(0, 10));
  if (word == "inf" || word == "infinity") return sign * HUGE_VAL;
  if (word == "nan") return std::nan("");
  const auto digits = without_underscores(text);
  if (!digits || !looks_like_float(*digits)) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(digits->data(), digits->data() + digits->size(), value);
  // from_chars leaves the value alone beyond the range; strtod gives Python's answer, infinity or (nearly) zero.
  if (error == std::errc::result_out_of_range) value = std::strtod(digits->c_str(), nullptr);
  return sign * value;
}

std::string fixed(double value, int digits) {
  // 309 digits before the point at most, a sign, the point.
  std::string out(static_cast<std::size_t>(std::max(digits, 0)) + 320, '\0');
  const auto end = std::to_chars(out.data(), out.data() + out.size(), value, std::chars_format::fixed, digits).ptr;
  out.resize(static_cast<std::size_t>(end - out.data()));
  return out;
}

double round_float(double value, std::int64_t digits) {
  // Beyond 323 digits nothing is left to round off (the least double is 4.9e-324); below -308 nothing remains.
  if (!std::isfinite(value) || digits > 323) return value;
  if (digits < -308) return std::copysign(0.0, value);
  if (digits >= 0) {
    const std::string text = fixed(value, static_cast<int>(digits));
    return std::strtod(text.c_str(), nullptr);
  }
  // Cut the whole number behind its digit and round half to even by what was cut off.
  std::string text = fixed(std::abs(value), 0);
  const double fraction = std::abs(value) - std::floor(std::abs(value));
  if (fraction != 0) text = fixed(std::floor(std::abs(value)), 0);
  const auto cut = static_cast<std::size_t>(-digits);
  text.insert(0, cut + 1, '0');
  const std::size_t keep = text.size() - cut;
  const bool above_half =
      text[keep] > '5' || (text[keep] == '5' && (fraction != 0 || text.find_first_not_of('0', keep + 1) != text.npos));
  const bool tie = text[keep] == '5' && !above_half;
  const bool up = above_half || (tie && (text[keep - 1] - '0') % 2 == 1);
  std::fill(text.begin() + static_cast<std::ptrdiff_t>(keep), text.end(), '0');
  for (std::size_t i = keep; up && i-- > 0;) {
    if (text[i] != '9') {
      ++text[i];
      break;
    }
    text[i] = '0';
  }
  return std::copysign(std::strtod(text.c_str(), nullptr), value);
}

}  // namespace octavo::text::jinja
