// What the machine is, as far as /proc and /sys say.
#pragma once

#include <cstdint>

namespace octavo {

// Of the largest cache of the first processor; 0 where the system does not say.
std::uint64_t largest_cache_bytes();

}  // namespace octavo
