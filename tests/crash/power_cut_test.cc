// Power cuts at any moment, in all that a disk may then hold (tests/support/crash_simulator.h): the same command ends
// with the very bytes of a run that nobody disturbed.
#include <gtest/gtest.h>
#include <signal.h>

#include <random>

#include "tests/crash/jobs.h"
#include "tests/support/crash_simulator.h"

namespace octavo::test {
namespace {

namespace fs = std::filesystem;

class PowerCut : public testing::TestWithParam<std::string> {
 protected:
  // Runs the job in work() as it is; the trace of it as bytes.
  std::string traced(Jobs& jobs, const std::string& job, Environment faults = {}) {
    faults["OCTAVO_FAULT_TRACE"] = jobs.path("trace");
    const Ended ended = jobs.run_faulty(job, faults);
    EXPECT_TRUE(ended.code == 0 || ended.signal == SIGKILL) << ended.said();
    return read_file(jobs.path("trace"));
  }
  CrashSimulator trace_of(Jobs& jobs, const std::string& job, const fs::path& before) {
    traced(jobs, job);
    return CrashSimulator(jobs.path("trace"), jobs.work(), before);
  }
  // Puts the state into work() and finishes the job.
  void check(Jobs& jobs, const std::string& job, const CrashSimulator& trace, std::size_t at, std::uint64_t seed) {
    SCOPED_TRACE(job + ": power cut before operation " + std::to_string(at) + " (" + trace.describe(at) + "), seed " +
                 std::to_string(seed));
    fs::remove_all(jobs.work());
    trace.materialize(at, seed, jobs.work());
    ASSERT_EQ(jobs.half_done(job), "");
    ASSERT_EQ(jobs.finish(job), "");
  }
};

TEST_P(PowerCut, OfAFirstRun) {
  Jobs jobs;
  const std::string& job = GetParam();
  jobs.expected(job);
  const CrashSimulator trace = trace_of(jobs, job, {});
  EXPECT_EQ(folder_difference(jobs.expected(job), jobs.out()), "");
  const int count = cases(6);
  for (int i = 0; i < count && !HasFatalFailure(); ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    check(jobs, job, trace, std::mt19937_64(seed)() % (trace.operations() + 1), seed);
  }
  // Around the moments when names change.
  std::vector<std::size_t> moments = trace.find("rename ");
  moments.push_back(trace.find("sync .").empty() ? trace.operations() : trace.find("sync .").back());
  for (const std::size_t at : moments) {
    for (const std::uint64_t seed : {2u, 4u}) {
      if (!HasFatalFailure()) check(jobs, job, trace, at + 1, seed);
    }
  }
}

// The power goes again while the rest is being done.
TEST_P(PowerCut, OfTheRerun) {
  Jobs jobs;
  const std::string& job = GetParam();
  jobs.expected(job);
  const int count = cases(4);
  for (int i = 0; i < count && !HasFatalFailure(); ++i) {
    std::mt19937_64 random(static_cast<std::uint64_t>(i) + 1000);
    jobs.clear();
    std::error_code error;
    const fs::path before = jobs.path("before");
    {
      const CrashSimulator first = trace_of(jobs, job, {});
      fs::remove_all(before);
      first.materialize(random() % (first.operations() + 1), random(), before);
    }
    fs::remove_all(jobs.work());
    fs::copy(before, jobs.work(), fs::copy_options::recursive);
    const CrashSimulator second = trace_of(jobs, job, before);
    EXPECT_EQ(folder_difference(jobs.expected(job), jobs.out()), "");
    for (int k = 0; k < 2 && !HasFatalFailure(); ++k) {
      check(jobs, job, second, random() % (second.operations() + 1), random());
    }
  }
}

// A run is killed and begun again before the power goes: what the first wrote and did not sync is nobody's promise.
TEST_P(PowerCut, AfterAKill) {
  Jobs jobs;
  const std::string& job = GetParam();
  const int count = cases(4);
  for (int i = 0; i < count && !HasFatalFailure(); ++i) {
    std::mt19937_64 random(static_cast<std::uint64_t>(i) + 2000);
    jobs.clear();
    const std::string kill = std::to_string(1 + random() % jobs.operations(job)) + ":after";
    const std::string first = traced(jobs, job, {{"OCTAVO_FAULT_KILL", kill}});
    write_file(jobs.path("both"), first + traced(jobs, job));
    const CrashSimulator both(jobs.path("both"), jobs.work());
    for (int k = 0; k < 2 && !HasFatalFailure(); ++k) {
      check(jobs, job, both, random() % (both.operations() + 1), random());
    }
  }
}

// One part throws the unfinished output away when another part of it is done. Nothing of what was done may be believed
// when its data are gone.
TEST(PowerCutOfParts, AtARestart) {
  Jobs jobs;
  const std::string job = "block";
  const auto part = [&](const char* which, bool restart, Environment faults = {}) {
    auto words = jobs.command(job);
    words.insert(words.end(), {"--part", which});
    if (restart) words.emplace_back("--restart");
    const Ended ended = run(words, watch(jobs.work(), faults));
    EXPECT_EQ(ended.code, 0) << ended.said();
  };
  jobs.expected(job);
  part("2/2", false);
  const fs::path before = jobs.path("before");
  fs::copy(jobs.work(), before, fs::copy_options::recursive);
  part("1/2", true, {{"OCTAVO_FAULT_TRACE", jobs.path("trace")}});
  const CrashSimulator trace(jobs.path("trace"), jobs.work(), before);
  const std::size_t cleared = trace.find("create out.partial/.octavo/final/").front();
  const int count = cases(40);
  for (int i = 0; i < count && !testing::Test::HasFatalFailure(); ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    std::mt19937_64 random(seed);
    const std::size_t at = random() % 4 == 0 ? random() % trace.operations() : random() % (cleared + 1);
    SCOPED_TRACE("power cut before operation " + std::to_string(at) + " (" + trace.describe(at) + "), seed " +
                 std::to_string(seed));
    fs::remove_all(jobs.work());
    trace.materialize(at, seed, jobs.work());
    part("1/2", false);
    ASSERT_EQ(jobs.half_done(job), "");
    part("2/2", false);
    ASSERT_EQ(folder_difference(jobs.expected(job), jobs.out()), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Jobs, PowerCut, testing::ValuesIn(Jobs::names()), job_test_name);

}  // namespace
}  // namespace octavo::test
