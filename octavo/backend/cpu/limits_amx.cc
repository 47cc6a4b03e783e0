// Limits of AMX with BF16: products of tiles, on four independent sums.
#if defined(__x86_64__)

#include "octavo/backend/cpu/limits_avx512.h"
#include "octavo/backend/cpu/tile_config.h"

namespace octavo::cpu::amx {
namespace {

constexpr std::size_t kSums = 4, kRows = 16, kColumns = 16, kElements = 32;  // of a tile; of K in a product

float run_tiles(std::uint64_t rounds, float seed) {
  alignas(64) float tile[kRows * kColumns];
  for (float& value : tile) value = seed;  // as pairs of BF16: the number and a zero
  const TileConfig config;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, tile, 64);
  _tile_loadd(5, tile, 64);
  _tile_loadd(6, tile, 64);
  _tile_loadd(7, tile, 64);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, tile, 64);
  float out = tile[0];
  _tile_stored(1, tile, 64);
  out += tile[0];
  _tile_stored(2, tile, 64);
  out += tile[0];
  _tile_stored(3, tile, 64);
  out += tile[0];
  _tile_release();
  return out;
}

}  // namespace

LimitKernels limit_kernels() {
  return {read_streams<Words>, run_chains<V>, chain_flops<V>(), run_tiles, 2.0 * kSums * kRows * kColumns * kElements};
}

}  // namespace octavo::cpu::amx

#endif
