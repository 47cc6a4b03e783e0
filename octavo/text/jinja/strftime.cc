// The conversions of C's strftime as glibc has them; English names.
#include "octavo/text/jinja/strftime.h"

#include <fmt/format.h>

#include <algorithm>

namespace octavo::text::jinja {
namespace {

constexpr const char* kDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
constexpr const char* kMonths[] = {"January", "February", "March",     "April",   "May",      "June",
                                   "July",    "August",   "September", "October", "November", "December"};

// A number in `width` places; '-' takes the padding away, '_' makes it spaces, '0' zeros.
std::string number(int value, int width, char padding, char flag) {
  if (flag == '-') return fmt::format("{}", value);
  if (flag == '_') padding = ' ';
  if (flag == '0') padding = '0';
  return padding == '0' ? fmt::format("{:0{}}", value, width) : fmt::format("{:{}}", value, width);
}

// ISO 8601: the year and the week (1..53) that a date belongs to.
struct IsoWeek {
  int year, week;
};
IsoWeek iso_week(const std::tm& t) {
  int year = t.tm_year + 1900;
  const int monday_based = (t.tm_wday + 6) % 7;
  int week = (t.tm_yday - monday_based + 10) / 7;
  const auto weeks_in = [](int y) {
    const auto first_weekday = [](int of) { return (of + of / 4 - of / 100 + of / 400) % 7; };  // of 31 December
    return first_weekday(y) == 4 || first_weekday(y - 1) == 3 ? 53 : 52;
  };
  if (week < 1) {
    --year;
    week = weeks_in(year);
  } else if (week > weeks_in(year)) {
    ++year;
    week = 1;
  }
  return {year, week};
}

std::string conversion(char type, char flag, const std::tm& t) {
  const int year = t.tm_year + 1900;
  const int hour12 = t.tm_hour % 12 == 0 ? 12 : t.tm_hour % 12;
  const std::string day = kDays[std::clamp(t.tm_wday, 0, 6)];
  const std::string month = kMonths[std::clamp(t.tm_mon, 0, 11)];
  const auto two = [&](int value) { return number(value, 2, '0', flag); };
  switch (type) {
    case 'a': return day.substr(0, 3);
    case 'A': return day;
    case 'b':
    case 'h': return month.substr(0, 3);
    case 'B': return month;
    case 'C': return two(year / 100);
    case 'd': return two(t.tm_mday);
    case 'e': return number(t.tm_mday, 2, ' ', flag);
    case 'f': return "000000";
    case 'g': return two(iso_week(t).year % 100);
    case 'G': return fmt::format("{}", iso_week(t).year);
    case 'H': return two(t.tm_hour);
    case 'I': return two(hour12);
    case 'j': return number(t.tm_yday + 1, 3, '0', flag);
    case 'k': return number(t.tm_hour, 2, ' ', flag);
    case 'l': return number(hour12, 2, ' ', flag);
    case 'm': return two(t.tm_mon + 1);
    case 'M': return two(t.tm_min);
    case 'n': return "\n";
    case 'p': return t.tm_hour < 12 ? "AM" : "PM";
    case 'P': return t.tm_hour < 12 ? "am" : "pm";
    case 'S': return two(t.tm_sec);
    case 't': return "\t";
    case 'u': return fmt::format("{}", t.tm_wday == 0 ? 7 : t.tm_wday);
    case 'U': return two((t.tm_yday + 7 - t.tm_wday) / 7);
    case 'V': return two(iso_week(t).week);
    case 'w': return fmt::format("{}", t.tm_wday);
    case 'W': return two((t.tm_yday + 7 - (t.tm_wday + 6) % 7) / 7);
    case 'y': return two(year % 100);
    case 'Y': return fmt::format("{}", year);
    case 'z':
    case 'Z': return "";  // a time without a zone
    case '%': return "%";
    case 'c': return format_time("%a %b %e %H:%M:%S %Y", t);
    case 'D':
    case 'x': return format_time("%m/%d/%y", t);
    case 'F': return format_time("%Y-%m-%d", t);
    case 'R': return format_time("%H:%M", t);
    case 'r': return format_time("%I:%M:%S %p", t);
    case 'T':
    case 'X': return format_time("%H:%M:%S", t);
    default: return std::string("%") + (flag != 0 ? std::string(1, flag) : "") + type;
  }
}

}  // namespace

std::string format_time(std::string_view format, const std::tm& time) {
  std::string out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i];
      continue;
    }
    char flag = 0;
    ++i;
    if ((format[i] == '-' || format[i] == '_' || format[i] == '0') && i + 1 < format.size()) flag = format[i++];
    out += conversion(format[i], flag, time);
  }
  return out;
}

}  // namespace octavo::text::jinja
