// Advice is given where it is true, and nowhere else.
#include "octavo/engine/doctor.h"

#include <fmt/ranges.h>
#include <gtest/gtest.h>

namespace octavo::engine {
namespace {

Diagnosis healthy() {
  Diagnosis d;
  d.machine.threads = d.machine.cores = 4;
  d.machine.sockets = d.machine.numa_nodes = 1;
  d.machine.huge_pages = "madvise";
  d.machine.governor = "performance";
  d.cpus = {0, 1, 2, 3};
  d.found = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};
  d.chosen = d.best = Isa::kAvx512Bf16;
  d.threads = 4;
  d.limits = {{1, 40, 200, 400}, {4, 120, 800, 1600}};
  return d;
}

std::string advice_text(const Diagnosis& d) { return fmt::format("{}", fmt::join(advice(d), "\n")); }

TEST(Doctor, NothingToSay) {
  EXPECT_EQ(advice_text(healthy()), "");
  EXPECT_EQ(advice_text(Diagnosis()), "") << "all unknown";
}

TEST(Doctor, EachWhereItIsTrue) {
  const struct {
    const char* says;
    void (*make)(Diagnosis&);
  } kCases[] = {
      {"OCTAVO_ISA forces avx2: without it Octavo would use avx512_bf16", [](Diagnosis& d) { d.chosen = Isa::kAvx2; }},
      {"The container may use 1.5 CPUs, but 4 threads would run, and be stopped in turn: use --threads 1",
       [](Diagnosis& d) { d.machine.group_cpus = 1.5; }},
      {"The container may use 0.5 CPUs, but 4 threads would run, and be stopped in turn: use --threads 1",
       [](Diagnosis& d) { d.machine.group_cpus = 0.5; }},
      {"This process may use 2 of the machine's 4 CPUs (0,2)",
       [](Diagnosis& d) {
         d.cpus = {0, 2};
       }},
      {"`--threads 2 --cpu-affinity auto` puts one on each core", [](Diagnosis& d) { d.machine.cores = 2; }},
      {"Memory has 2 NUMA nodes", [](Diagnosis& d) { d.machine.numa_nodes = 2; }},
      {"The clock's governor is powersave", [](Diagnosis& d) { d.machine.governor = "powersave"; }},
      {"Transparent huge pages are off", [](Diagnosis& d) { d.machine.huge_pages = "never"; }},
      {"One thread reads memory at 40 GB/s, 4 at 44", [](Diagnosis& d) { d.limits[1].dram_gb_per_s = 44; }},
      {"4 threads compute 1.5 times what one does", [](Diagnosis& d) { d.limits[1].fma_gflop_per_s = 300; }},
  };
  for (const auto& c : kCases) {
    Diagnosis d = healthy();
    c.make(d);
    EXPECT_EQ(advice(d).size(), 1u) << advice_text(d);
    EXPECT_NE(advice_text(d).find(c.says), std::string::npos) << advice_text(d) << "\nwanted: " << c.says;
  }
  Diagnosis d = healthy();
  d.machine.group_cpus = 4;
  EXPECT_EQ(advice_text(d), "") << "a limit that does not bind";
}

TEST(Doctor, WhyAnInstructionSet) {
  Diagnosis d = healthy();
  EXPECT_EQ(isa_reason(d), "the fastest that this processor has");
  d.chosen = d.best = Isa::kAvx512;
  EXPECT_NE(isa_reason(d).find("half the rate"), std::string::npos);
  d.found = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512};
  EXPECT_EQ(isa_reason(d), "the fastest that this processor has");
  d.chosen = Isa::kScalar;
  EXPECT_EQ(isa_reason(d), "OCTAVO_ISA forces it");
  d.best = Isa::kScalar;
  EXPECT_NE(isa_reason(d).find("neither AVX2"), std::string::npos);
}

TEST(Doctor, ThisMachine) {
  const Diagnosis d = diagnose(detect_isa());
  EXPECT_GE(d.threads, 1);
  EXPECT_FALSE(d.found.empty());
  EXPECT_FALSE(d.cpus.empty());
  EXPECT_TRUE(d.limits.empty());
  EXPECT_FALSE(isa_reason(d).empty());
}

}  // namespace
}  // namespace octavo::engine
