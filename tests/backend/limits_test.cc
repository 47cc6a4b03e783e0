// The loops behind the limits read all they claim to read and compute what they claim to compute. How fast is not
// tested.
#include "octavo/backend/cpu/limits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <vector>

#include "octavo/backend/cpu/limits_kernels.h"

namespace octavo::cpu {
namespace {

std::vector<Isa> machine_isas() {
  std::vector<Isa> out;
  for (const Isa isa : kIsas) {
    if (has_isa(isa)) out.push_back(isa);
  }
  return out;
}

struct alignas(64) Line {
  std::byte bytes[64];
};

TEST(LimitKernels, EveryByteIsRead) {
  constexpr std::size_t kBytes = 5 * kReadGranule;
  std::vector<Line> lines(kBytes / sizeof(Line));
  std::byte* data = lines.front().bytes;
  for (const Isa isa : machine_isas()) {
    const LimitKernels& kernels = limit_kernels(isa);
    EXPECT_EQ(kernels.read(data, kBytes), 0u) << isa_name(isa);
    for (std::size_t at = 0; at < kBytes; ++at) {
      data[at] = std::byte{0x5A};
      EXPECT_EQ(kernels.read(data, kBytes), std::uint64_t{0x5A} << 8 * (at % 8)) << isa_name(isa) << " byte " << at;
      data[at] = std::byte{0};
    }
    data[0] = std::byte{1};
    EXPECT_EQ(kernels.read(data, kReadGranule - 1), 0u) << "no whole granule";
    data[0] = std::byte{0};
  }
}

TEST(LimitKernels, EveryChainTakesEveryStep) {
  // Chain i of 12 begins at s * i and becomes a * s + s: after r rounds of s = 1/2 it is 1 - (1 - i / 2) / 2^r.
  for (const Isa isa : machine_isas()) {
    const LimitKernels& kernels = limit_kernels(isa);
    for (const std::uint64_t rounds : {0u, 1u, 2u, 7u}) {
      float sum = 0;
      for (int chain = 0; chain < 12; ++chain) {
        sum += 1 - (1 - 0.5f * static_cast<float>(chain)) * std::ldexp(1.0f, -static_cast<int>(rounds));
      }
      EXPECT_FLOAT_EQ(kernels.fma(rounds, 0.5f), sum) << isa_name(isa) << " " << rounds;
    }
    if (kernels.bf16 == nullptr) continue;
    if (isa == Isa::kAmx) {
      // Four tiles begin at zero; every round adds 16 products of 1 with itself to each element.
      EXPECT_EQ(kernels.bf16(0, 1.0f), 0.0f);
      EXPECT_EQ(kernels.bf16(5, 1.0f), 4 * 16 * 5);
      continue;
    }
    // FP32 1.0 is the pair of BF16 0 and 1, whose dot product with itself is 1: every round adds 1 to 12 chains.
    EXPECT_EQ(kernels.bf16(0, 1.0f), 66.0f);
    EXPECT_EQ(kernels.bf16(5, 1.0f), 66.0f + 12 * 5);
  }
}

TEST(LimitKernels, FlopsAreThoseOfTheVectors) {
  // 12 chains, two operations a multiply-add, a vector's lanes; a dot product of pairs is two multiply-adds.
  const double lanes[] = {4, 8, 16, 16, 16};
  for (const Isa isa : machine_isas()) {
    const LimitKernels& kernels = limit_kernels(isa);
    EXPECT_EQ(kernels.fma_flops, 12 * 2 * lanes[static_cast<int>(isa)]);
    EXPECT_EQ(kernels.bf16 != nullptr, isa == Isa::kAvx512Bf16 || isa == Isa::kAmx);
    if (isa == Isa::kAmx) {
      EXPECT_EQ(kernels.bf16_flops, 4 * 2 * 16 * 16 * 32) << "four products of tiles a round";
    }
    if (isa == Isa::kAvx512Bf16) {
      EXPECT_EQ(kernels.bf16_flops, 12 * 4 * 16);
    }
  }
}

TEST(Limits, MemoryIsMuchLargerThanTheCaches) {
  constexpr std::uint64_t kMiB = 1 << 20, kAll = ~std::uint64_t{0};
  EXPECT_EQ(dram_probe_bytes(0, kAll), 1024 * kMiB);
  EXPECT_EQ(dram_probe_bytes(32 * kMiB, kAll), 1024 * kMiB);
  EXPECT_EQ(dram_probe_bytes(480 * kMiB, kAll), 4 * 480 * kMiB);
  EXPECT_EQ(dram_probe_bytes(kAll, kAll), 8192 * kMiB);
  EXPECT_EQ(dram_probe_bytes(480 * kMiB, 200 * kMiB), 192 * kMiB) << "not more than there is";
  EXPECT_EQ(dram_probe_bytes(0, 1), 32 * kMiB) << "never nothing";
}

TEST(Limits, AreMeasured) {
  for (const int threads : {1, 2}) {
    Result<Limits> limits = Limits::create({detect_isa(), threads, 0, 64 << 20});
    ASSERT_TRUE(limits.ok()) << limits.error().message;
    EXPECT_EQ(limits->threads(), threads);
    EXPECT_EQ(limits->dram_bytes(), 64u << 20);
    EXPECT_EQ(limits->has_bf16(), has_isa(Isa::kAvx512Bf16));
    EXPECT_GT(limits->dram_read_gb_per_s(), 0);
    EXPECT_GT(limits->fma_gflop_per_s(), 0);
    EXPECT_EQ(limits->bf16_gflop_per_s() > 0, limits->has_bf16());
  }
}

}  // namespace
}  // namespace octavo::cpu
