// datetime.strftime of a time without a zone, in the C locale whatever the process has set.
#pragma once

#include <ctime>
#include <string>
#include <string_view>

namespace octavo::text::jinja {

std::string format_time(std::string_view format, const std::tm& time);

}  // namespace octavo::text::jinja
