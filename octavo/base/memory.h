// How much memory this process has and may have.
#pragma once

#include <cstdint>

namespace octavo {

// Bytes that can be allocated without swapping: the least of what the system reports as available and what the
// process's control group leaves. The largest number where neither can be read.
std::uint64_t available_memory();

std::uint64_t resident_memory();  // bytes of this process now (VmRSS); 0 where /proc is absent
std::uint64_t peak_memory();      // its largest so far (VmHWM); 0 where /proc is absent

}  // namespace octavo
