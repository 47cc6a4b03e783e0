// Reads /sys.
#include "octavo/base/machine.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace octavo {

std::uint64_t largest_cache_bytes() {
  std::uint64_t largest = 0;
  for (int index = 0;; ++index) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
    std::uint64_t value = 0;
    char unit = 0;
    if (!(file >> value)) return largest;
    file >> unit;
    largest = std::max(largest, unit == 'K' ? value << 10 : unit == 'M' ? value << 20 : value);
  }
}

}  // namespace octavo
