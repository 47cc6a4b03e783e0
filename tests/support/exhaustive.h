// All 2^32 FP32 bit patterns on every core: the tests named DISABLED_All..., run on demand by
//   test_fp8     --gtest_also_run_disabled_tests --gtest_filter='*DISABLED_All*'
//   test_backend --gtest_also_run_disabled_tests --gtest_filter='*DISABLED_All*'
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "octavo/base/workers.h"

namespace octavo::test {

// Calls check(values) -> Status for consecutive runs of FP32 values that together are every bit pattern, from several
// threads, and fails the test with the first error.
template <typename Check>
void for_all_floats(Check check) {
  constexpr std::size_t kRun = std::size_t{1} << 16;
  const int threads = worker_count(0);
  std::vector<std::vector<float>> runs(static_cast<std::size_t>(threads), std::vector<float>(kRun));
  const Status status = for_each_index(threads, kRun, [&](std::size_t high, int worker) -> Status {
    std::vector<float>& run = runs[static_cast<std::size_t>(worker)];
    for (std::size_t low = 0; low < kRun; ++low) {
      run[low] = std::bit_cast<float>(static_cast<std::uint32_t>(high << 16 | low));
    }
    return check(std::span<const float>(run));
  });
  EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
}

}  // namespace octavo::test
