// Scratch memory: its size follows, its memory only grows.
#include "octavo/base/scratch.h"

#include <gtest/gtest.h>

#include <numeric>
#include <span>

namespace octavo {
namespace {

TEST(Scratch, HasTheSizeAskedForAndKeepsItsMemory) {
  Scratch<int> scratch;
  EXPECT_EQ(scratch.size(), 0u);
  EXPECT_EQ(scratch.begin(), scratch.end());
  scratch.resize(100);
  std::iota(scratch.begin(), scratch.end(), 0);
  const std::span<int> all = scratch;
  EXPECT_EQ(all.size(), 100u);
  EXPECT_EQ(all[99], 99);
  const int* memory = scratch.data();
  scratch.resize(10);
  EXPECT_EQ(std::span<const int>(scratch).size(), 10u);
  scratch.resize(100);
  EXPECT_EQ(scratch.data(), memory);
  EXPECT_EQ(scratch.data()[99], 99) << "growing within its memory wrote to it";
  scratch.resize(1000);
  EXPECT_EQ(scratch.size(), 1000u);
}

}  // namespace
}  // namespace octavo
