// ROLL's device_mapping: which GPUs a worker has, written as a Python expression.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"

namespace octavo::dialect {

// The forms that people write: list(range(0,8)), list(range(8)), list(range(0,16,2)), range(...), [0, 1, 2], (0, 1),
// list([...]), and sums of them with +. Anything else is an error that says so; nothing is evaluated.
Result<std::vector<std::int64_t>> parse_device_mapping(std::string_view expression);

// "0-3, 8": for messages. `devices` in ascending order.
std::string device_ranges(const std::vector<std::int64_t>& devices);

}  // namespace octavo::dialect
