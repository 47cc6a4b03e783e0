// The version of this octavo, as `octavo --version` and the outputs state it.
#pragma once

#include <string_view>

namespace octavo {

std::string_view version();  // "0.1.0"

}  // namespace octavo
