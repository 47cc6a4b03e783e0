// The tools of the crash tests are right: on a toy writer that is safe they find nothing, and each of its mistakes they
// find.
#include <gtest/gtest.h>
#include <signal.h>

#include <functional>
#include <random>

#include "tests/crash/process.h"
#include "tests/support/crash_simulator.h"

namespace octavo::test {
namespace {

namespace fs = std::filesystem;

class ToyWriter : public ::testing::Test {
 protected:
  std::vector<std::string> command(const fs::path& folder, const std::string& mistake = "none") const {
    return {OCTAVO_TOY_WRITER, folder / "out", mistake};
  }
  void SetUp() override {
    fs::create_directory(dir / "w");
    fs::create_directory(dir / "expected");
    ASSERT_EQ(run(command(dir / "expected")).code, 0);
  }
  // The folder with what a killed run left, and then the same command again.
  std::string rerun(const fs::path& folder, const std::string& mistake = "none") const {
    const Ended ended = run(command(folder, mistake), watch(folder));
    if (ended.code != 0) return ended.said();
    return folder_difference(dir / "expected", folder);
  }
  TempDir dir;
};

TEST_F(ToyWriter, TraceIsOfWhatItDoes) {
  const Ended ended = run(command(dir / "w"), watch(dir / "w", {{"OCTAVO_FAULT_TRACE", dir / "trace"}}));
  ASSERT_EQ(ended.code, 0) << ended.err;
  const CrashSimulator trace(dir / "trace", dir / "w");
  EXPECT_EQ(trace.find("write out.partial/a").size(), 12u);
  EXPECT_EQ(trace.find("write out.partial/b").size(), 12u);
  EXPECT_EQ(trace.find("rename out.partial out").size(), 1u);
  EXPECT_EQ(trace.find("mkdir out.partial/.octavo").size(), 1u);
  EXPECT_EQ(trace.find("sync out.partial").size(), 2u + 2u + 2u * 5u + 5u + 1u + 1u);
  // At the end, with everything kept, the disk is what the program saw.
  trace.materialize(trace.operations(), 1, dir / "end");
  EXPECT_EQ(folder_difference(dir / "expected", dir / "end"), "");
}

TEST_F(ToyWriter, KilledAnywhereItEndsTheSame) {
  ASSERT_EQ(run(command(dir / "w"), watch(dir / "w", {{"OCTAVO_FAULT_COUNT", dir / "count"}})).code, 0);
  const int operations = std::stoi(read_file(dir / "count"));
  EXPECT_GT(operations, 50);
  for (int i = 1; i <= operations; i += 5) {
    const std::string how = i % 3 == 0 ? ":before" : i % 3 == 1 ? ":half" : ":after";
    SCOPED_TRACE(std::to_string(i) + how);
    fs::remove_all(dir / "w");
    fs::create_directory(dir / "w");
    const auto ended = run(command(dir / "w"), watch(dir / "w", {{"OCTAVO_FAULT_KILL", std::to_string(i) + how}}));
    EXPECT_EQ(ended.signal, SIGKILL) << ended.said();
    EXPECT_EQ(rerun(dir / "w"), "");
  }
}

TEST_F(ToyWriter, FaultsAreWhatWasAskedFor) {
  struct Case {
    std::string rules, says;
  };
  const Case all[] = {{"op=write,errno=ENOSPC,bytes=10000", "No space left on device"},
                      {"op=write,errno=EIO,path=journal,nth=2", "journal: Input/output error"},
                      {"op=sync,errno=EIO,path=config", "config.json: Input/output error"},
                      {"op=rename,errno=EROFS", "out: Read-only file system"},
                      {"op=open,errno=EACCES,path=out.partial/b", "out.partial/b: Permission denied"},
                      {"op=resize,errno=EDQUOT,nth=2", "out.partial/b: Disk quota exceeded"}};
  for (const Case& c : all) {
    SCOPED_TRACE(c.rules);
    fs::remove_all(dir / "w");
    fs::create_directory(dir / "w");
    const Ended ended = run(command(dir / "w"), watch(dir / "w", {{"OCTAVO_FAULT_RULES", c.rules}}));
    EXPECT_EQ(ended.code, 1) << ended.said();
    EXPECT_NE(ended.err.find(c.says), std::string::npos) << ended.said();
    EXPECT_EQ(rerun(dir / "w"), "");
  }
}

TEST_F(ToyWriter, ShortAndInterruptedTransfers) {
  for (int seed = 1; seed <= 5; ++seed) {
    fs::remove_all(dir / "w");
    fs::create_directory(dir / "w");
    const Ended ended =
        run(command(dir / "w"),
            watch(dir / "w", {{"OCTAVO_FAULT_SHORT", std::to_string(seed)}, {"OCTAVO_FAULT_TRACE", dir / "trace"}}));
    EXPECT_EQ(ended.code, 0) << ended.said();
    EXPECT_EQ(folder_difference(dir / "expected", dir / "w"), "");
    const CrashSimulator trace(dir / "trace", dir / "w");
    EXPECT_GT(trace.find("write out.partial/a").size(), 24u);
  }
}

// Reruns on states after power cuts; how many did not end well.
int failures_after_power_cuts(const TempDir& dir, const std::string& mistake, int states,
                              const std::function<std::string(const fs::path&, const std::string&)>& rerun) {
  const fs::path work = dir / ("w-" + mistake);
  fs::create_directory(work);
  const fs::path trace_path = dir / ("trace-" + mistake);
  const Ended ended =
      run({OCTAVO_TOY_WRITER, work / "out", mistake}, watch(work, {{"OCTAVO_FAULT_TRACE", trace_path}}));
  EXPECT_EQ(ended.code, 0) << ended.said();
  const CrashSimulator trace(trace_path, work);
  int failures = 0;
  for (int i = 0; i < states; ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    const std::size_t at = std::mt19937_64(seed)() % (trace.operations() + 1);
    fs::remove_all(dir / "state");
    trace.materialize(at, seed, dir / "state");
    const std::string wrong = rerun(dir / "state", mistake);
    if (wrong.empty()) continue;
    ++failures;
    if (mistake == "none")
      ADD_FAILURE() << "power cut before " << trace.describe(at) << ", seed " << seed << "\n" << wrong;
  }
  return failures;
}

TEST_F(ToyWriter, SurvivesPowerCuts) {
  EXPECT_EQ(failures_after_power_cuts(dir, "none", cases(200), [&](auto& at, auto& how) { return rerun(at, how); }), 0);
}

TEST_F(ToyWriter, MistakesAreFound) {
  for (const char* mistake : {"no-data-sync", "no-folder-sync", "no-config-sync"}) {
    EXPECT_GT(failures_after_power_cuts(dir, mistake, 200, [&](auto& at, auto& how) { return rerun(at, how); }), 0)
        << mistake;
  }
  // Not syncing the journal loses work, never correctness.
  EXPECT_EQ(failures_after_power_cuts(dir, "no-journal-sync", 50, [&](auto& at, auto& how) { return rerun(at, how); }),
            0);
}

}  // namespace
}  // namespace octavo::test
