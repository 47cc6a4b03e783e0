// The loops of limits_kernels.h for any vector. For files named for an instruction set alone: what is defined here is
// compiled in each of them.
//
// V has: F, a vector of kLanes floats; load(const float*), store(float*, F); F step(F sum, F a), which needs `sum` to
// be there and computes kFlops floating-point operations.
#pragma once

#include <cstring>

#include "octavo/backend/cpu/limits_kernels.h"

namespace octavo::cpu {
namespace {

// The streams are far apart, so that each has its prefetcher and its row of DRAM.
template <typename Words>
std::uint64_t read_streams(const std::byte* data, std::size_t bytes) {
  const std::size_t part = bytes / kReadGranule * kReadStretch;
  Words seen[kReadStreams] = {};
  for (std::size_t at = 0; at < part; at += kReadStretch) {
#pragma GCC unroll 8
    for (std::size_t stream = 0; stream < kReadStreams; ++stream) {
#pragma GCC unroll 16
      for (std::size_t byte = 0; byte < kReadStretch; byte += sizeof(Words)) {
        Words words;
        std::memcpy(&words, data + stream * part + at + byte, sizeof words);
        seen[stream] |= words;
      }
    }
  }
  for (std::size_t stream = 1; stream < kReadStreams; ++stream) seen[0] |= seen[stream];
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < sizeof(Words) / sizeof all; ++i) all |= static_cast<std::uint64_t>(seen[0][i]);
  return all;
}

// Chains of dependent steps: with a latency of 4 to 6 cycles and two steps begun a cycle, 12 keep the units busy, and
// they fit 16 registers. Every chain begins at its own value, or the compiler would compute one.
inline constexpr std::size_t kChains = 12;

template <typename V>
float run_chains(std::uint64_t rounds, float seed) {
  float start[kChains + 1][V::kLanes];
  for (std::size_t i = 0; i <= kChains; ++i) {
    for (float& value : start[i]) value = i < kChains ? seed * static_cast<float>(i) : seed;
  }
  typename V::F sums[kChains];
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kChains; ++i) sums[i] = V::load(start[i]);
  const typename V::F a = V::load(start[kChains]);
  for (std::uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 16
    for (std::size_t i = 0; i < kChains; ++i) sums[i] = V::step(sums[i], a);
  }
  float out = 0;
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kChains; ++i) {
    V::store(start[i], sums[i]);
    out += start[i][0];
  }
  return out;
}

template <typename V>
constexpr double chain_flops() {
  return static_cast<double>(kChains) * V::kFlops;
}

}  // namespace
}  // namespace octavo::cpu
