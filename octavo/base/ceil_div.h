// Division of sizes that rounds up: how many blocks cover a dimension.
#pragma once

#include <cstdint>

namespace octavo {

// ceil(a / b) for b > 0; unlike (a + b - 1) / b it cannot overflow.
constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

}  // namespace octavo
