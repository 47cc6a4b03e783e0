// The operand of ldtilecfg: eight tiles of 16 rows of 64 bytes, which is all that the AMX kernels use.
#pragma once

#include <cstdint>

namespace octavo::cpu::amx {

struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

}  // namespace octavo::cpu::amx
