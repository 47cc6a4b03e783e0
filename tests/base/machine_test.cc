// The forms of /proc and /sys, from texts as machines have them; what is missing or mangled is unknown, never a crash.
#include "octavo/base/machine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

#include "octavo/base/placement.h"
#include "octavo/base/workers.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::write_file;
using Cpus = std::vector<int>;

TEST(Machine, CpuLists) {
  EXPECT_EQ(parse_cpu_list("0"), Cpus{0});
  EXPECT_EQ(parse_cpu_list("0-3,8\n"), (Cpus{0, 1, 2, 3, 8}));
  EXPECT_EQ(parse_cpu_list("8,0-1,1-2"), (Cpus{0, 1, 2, 8}));
  for (const char* wrong : {"", "a", "1-", "-1", "3-1", "1,,2", "1;2", "0-99999999", "99999999999999999999", "1 2"}) {
    EXPECT_EQ(parse_cpu_list(wrong), std::nullopt) << wrong;
  }
  EXPECT_EQ(cpu_list_text({}), "");
  EXPECT_EQ(cpu_list_text({3}), "3");
  EXPECT_EQ(cpu_list_text({0, 1}), "0,1");
  EXPECT_EQ(cpu_list_text({0, 1, 2, 3, 8, 10, 11}), "0-3,8,10,11");
}

TEST(Machine, Sizes) {
  EXPECT_EQ(parse_cache_size("48K"), 48u << 10);
  EXPECT_EQ(parse_cache_size("2M"), 2u << 20);
  EXPECT_EQ(parse_cache_size("1G"), 1u << 30);
  EXPECT_EQ(parse_cache_size("64"), 64u);
  for (const char* wrong : {"", "K", "4X", "-4K", "4 K", "99999999999999999999K", "18446744073709551615K"}) {
    EXPECT_EQ(parse_cache_size(wrong), std::nullopt) << wrong;
  }
}

TEST(Machine, Selected) {
  EXPECT_EQ(parse_selected("always [madvise] never\n"), "madvise");
  EXPECT_EQ(parse_selected("[always] madvise never\n"), "always");
  for (const char* wrong : {"", "always", "]a[", "[a"}) EXPECT_EQ(parse_selected(wrong), "") << wrong;
}

TEST(Machine, CpuMax) {
  EXPECT_EQ(parse_cpu_max("150000 100000\n"), 1.5);
  EXPECT_EQ(parse_cpu_max("max 100000\n"), std::nullopt);
  for (const char* wrong : {"", "100000", "1 0", "a b", "-1 100000"}) {
    EXPECT_EQ(parse_cpu_max(wrong), std::nullopt) << wrong;
  }
}

TEST(Machine, MemInfo) {
  constexpr const char* kText = "MemTotal:       24576000 kB\nMemFree:         123 kB\nMemAvailable:   20000000 kB\n";
  EXPECT_EQ(parse_meminfo(kText, "MemTotal"), 24576000ull << 10);
  EXPECT_EQ(parse_meminfo(kText, "MemAvailable"), 20000000ull << 10);
  EXPECT_EQ(parse_meminfo(kText, "Mem"), std::nullopt);
  EXPECT_EQ(parse_meminfo(kText, "SwapTotal"), std::nullopt);
  for (const char* wrong : {"", "MemTotal:", "MemTotal: kB", "MemTotal: 1 MB", "MemTotal: x kB"}) {
    EXPECT_EQ(parse_meminfo(wrong, "MemTotal"), std::nullopt) << wrong;
  }
}

// Two sockets of two cores of two threads.
std::string cpuinfo() {
  std::string out;
  for (int cpu = 0; cpu < 8; ++cpu) {
    out += fmt::format(
        "processor\t: {}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 9654 96-Core Processor\nphysical id\t: {}\n"
        "core id\t\t: {}\nflags\t\t: fpu avx2 avx512f amx_bf16\nbugs\t\t:\n\n",
        cpu, cpu / 2 % 2, cpu / 4);
  }
  return out;
}

TEST(Machine, CpuInfo) {
  Machine m;
  parse_cpuinfo(cpuinfo(), m);
  EXPECT_EQ(m.cpu, "AMD EPYC 9654 96-Core Processor");
  EXPECT_EQ(m.threads, 8);
  EXPECT_EQ(m.cores, 4);
  EXPECT_EQ(m.sockets, 2);
  EXPECT_TRUE(m.has_flag("avx2"));
  EXPECT_FALSE(m.has_flag("avx"));
  // ARM: no model name, no topology.
  Machine arm;
  parse_cpuinfo("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\n\nprocessor\t: 1\n", arm);
  EXPECT_EQ(arm.cpu, "");
  EXPECT_EQ(arm.threads, 2);
  EXPECT_EQ(arm.cores, std::nullopt);
  EXPECT_TRUE(arm.has_flag("asimd"));
  Machine none;
  parse_cpuinfo("no colon\n::\n:\n\n", none);
  EXPECT_EQ(none.threads, std::nullopt);
}

TEST(Machine, NothingThere) {
  const test::TempDir root;
  const Machine m = read_machine(root.path());
  EXPECT_EQ(m.cpu, "");
  EXPECT_EQ(m.threads, std::nullopt);
  EXPECT_TRUE(m.caches.empty());
  EXPECT_EQ(m.largest_cache(), 0u);
  EXPECT_EQ(m.memory, std::nullopt);
  EXPECT_EQ(m.huge_pages, "");
  EXPECT_EQ(m.numa_nodes, std::nullopt);
  EXPECT_EQ(m.governor, "");
  EXPECT_FALSE(m.groups);
  EXPECT_EQ(m.group_cpus, std::nullopt);
  EXPECT_EQ(m.group_memory, std::nullopt);
}

TEST(Machine, AWholeOne) {
  const test::TempDir root;
  write_file(root / "proc/cpuinfo", cpuinfo());
  write_file(root / "proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 500 kB\n");
  write_file(root / "sys/devices/system/cpu/cpu0/cache/index0/level", "1\n");
  write_file(root / "sys/devices/system/cpu/cpu0/cache/index0/size", "48K\n");
  write_file(root / "sys/devices/system/cpu/cpu0/cache/index0/type", "Data\n");
  write_file(root / "sys/devices/system/cpu/cpu0/cache/index1/level", "3\n");
  write_file(root / "sys/devices/system/cpu/cpu0/cache/index1/size", "32768K\n");
  write_file(root / "sys/devices/system/cpu/cpu0/cache/index1/shared_cpu_list", "0-7\n");
  write_file(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
  write_file(root / "sys/devices/system/node/online", "0-1\n");
  write_file(root / "sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  // A limit of the group itself and a smaller one above it.
  write_file(root / "proc/self/cgroup", "0::/pod/container\n");
  write_file(root / "sys/fs/cgroup/pod/container/cpu.max", "400000 100000\n");
  write_file(root / "sys/fs/cgroup/pod/cpu.max", "250000 100000\n");
  write_file(root / "sys/fs/cgroup/pod/container/memory.max", "max\n");
  write_file(root / "sys/fs/cgroup/pod/memory.max", "1073741824\n");
  const Machine m = read_machine(root.path());
  ASSERT_EQ(m.caches.size(), 2u);
  EXPECT_EQ(m.caches[0].type, "Data");
  EXPECT_EQ(m.caches[1].cpus, "0-7");
  EXPECT_EQ(m.largest_cache(), 32u << 20);
  EXPECT_EQ(m.memory, 1000u << 10);
  EXPECT_EQ(m.available_memory, 500u << 10);
  EXPECT_EQ(m.governor, "powersave");
  EXPECT_EQ(m.numa_nodes, 2);
  EXPECT_EQ(m.huge_pages, "never");
  EXPECT_TRUE(m.groups);
  EXPECT_EQ(m.group_cpus, 2.5);
  EXPECT_EQ(m.group_memory, 1u << 30);
}

TEST(Machine, GroupsOfVersion1) {
  const test::TempDir root;
  write_file(root / "proc/self/cgroup", "11:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/\n");
  write_file(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");  // as a container sees its own
  write_file(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  write_file(root / "sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes", "2147483648\n");
  write_file(root / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");  // none
  const Machine m = read_machine(root.path());
  EXPECT_EQ(m.group_cpus, 0.5);
  EXPECT_EQ(m.group_memory, 2u << 30);
}

TEST(Placement, OneThreadOfACoreComesFirst) {
  const test::TempDir root;
  for (int cpu = 0; cpu < 8; ++cpu) {  // CPU i and i + 4 are one core
    write_file(root / fmt::format("sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu),
               fmt::format("{},{}\n", cpu % 4, cpu % 4 + 4));
  }
  const Cpus all = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(one_per_core(all, 2, root.path()), (Cpus{0, 1}));
  EXPECT_EQ(one_per_core(all, 4, root.path()), (Cpus{0, 1, 2, 3}));
  EXPECT_EQ(one_per_core(all, 5, root.path()), (Cpus{0, 1, 2, 3, 4}));
  EXPECT_EQ(one_per_core({0, 4, 1, 5}, 2, root.path()), (Cpus{0, 1}));
  EXPECT_EQ(one_per_core({2, 6}, 2, root.path()), (Cpus{2, 6}));
  EXPECT_EQ(one_per_core(all, 99, root.path()), all);
  EXPECT_EQ(one_per_core(all, 0, root.path()), Cpus{});
  const test::TempDir none;
  EXPECT_EQ(one_per_core(all, 3, none.path()), (Cpus{0, 1, 2}));
}

TEST(Placement, CpusAreChosenOrRefused) {
  const Cpus before = allowed_cpus();
  ASSERT_FALSE(before.empty());
  std::thread([&] {  // a thread's affinity is its own
    ASSERT_TRUE(run_on_cpus({before.back()}).ok());
    EXPECT_EQ(allowed_cpus(), Cpus{before.back()});
    EXPECT_EQ(worker_count(0), 1);
    std::thread([&] { EXPECT_EQ(allowed_cpus(), Cpus{before.back()}); }).join();
    EXPECT_TRUE(run_on_cpus(before).ok()) << "wider again";
    for (const Cpus& wrong : {Cpus{before.front(), 8000}, Cpus{8000}, Cpus{100000}, Cpus{-1}}) {
      const Status status = run_on_cpus(wrong);
      ASSERT_FALSE(status.ok());
      EXPECT_NE(status.error().message.find(fmt::format("CPU {} does not exist", wrong.back())), std::string::npos)
          << status.error().message;
      EXPECT_EQ(allowed_cpus(), before);
    }
  })
      .join();
  EXPECT_EQ(allowed_cpus(), before);
}

TEST(Placement, OneNodeIsNothingToInterleave) {
  const test::TempDir root;
  EXPECT_FALSE(interleave_memory(root.path()).ok());
  write_file(root / "sys/devices/system/node/online", "0\n");
  const Status status = interleave_memory(root.path());
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("one NUMA node"), std::string::npos) << status.error().message;
}

}  // namespace
}  // namespace octavo
