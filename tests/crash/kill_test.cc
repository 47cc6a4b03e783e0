// SIGKILL at any moment loses nothing but a little work: OUT is there whole or not at all, and the same command ends
// with the very bytes of a run that nobody disturbed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <random>
#include <sstream>
#include <thread>

#include "tests/crash/jobs.h"
#include "tests/support/checkpoint_builder.h"

namespace octavo::test {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHow[] = {":before", ":half", ":after"};

// Kills runs of `job` at the operations that `seed` says, reruns with further kills included, until one ends. Adds
// to `kills` how many were killed.
void kill_and_finish(Jobs& jobs, const std::string& job, std::uint64_t seed, int& kills) {
  std::mt19937_64 random(seed);
  jobs.clear();
  std::string killed;
  for (int attempt = 0; attempt < 4; ++attempt) {
    const std::string at = std::to_string(1 + random() % jobs.operations(job)) + kHow[random() % 3];
    killed += " " + at;
    SCOPED_TRACE(job + ", seed " + std::to_string(seed) + ", killed at" + killed);
    const Ended ended = jobs.run_faulty(job, {{"OCTAVO_FAULT_KILL", at}});
    // A rerun has less to do, and how often a run syncs depends on how fast it is: it may end before it is killed.
    EXPECT_TRUE(ended.signal == SIGKILL || ended.code == 0) << ended.said();
    kills += ended.signal == SIGKILL;
    ASSERT_EQ(jobs.half_done(job), "");
    if (ended.code == 0 || random() % 3 != 0) break;
  }
  SCOPED_TRACE(job + ", seed " + std::to_string(seed) + ", killed at" + killed);
  ASSERT_EQ(jobs.finish(job), "");
  // And once more: there is nothing to do, and nothing is done.
  const Ended again = jobs.run_faulty(job, {{"OCTAVO_FAULT_KILL", "1:before"}});
  EXPECT_EQ(again.code, 0) << again.said();
}

class Kill : public testing::TestWithParam<std::string> {};

TEST_P(Kill, AtOperations) {
  Jobs jobs;
  const int count = cases(6);
  int kills = 0;
  for (int i = 0; i < count && !HasFatalFailure(); ++i) {
    kill_and_finish(jobs, GetParam(), static_cast<std::uint64_t>(i), kills);
  }
  EXPECT_GE(kills, count * 2 / 3);
}

// Without libfaults.so, as a user's machine would. A quick run may be done before it is killed.
TEST_P(Kill, AtMoments) {
  Jobs jobs;
  const std::string& job = GetParam();
  jobs.expected(job);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(run(jobs.command(job)).code, 0);
  const auto whole = std::chrono::steady_clock::now() - begin;
  const int count = cases(4);
  for (int i = 0; i < count; ++i) {
    SCOPED_TRACE(i);
    jobs.clear();
    std::mt19937_64 random(static_cast<std::uint64_t>(i));
    Process process(jobs.command(job));
    std::this_thread::sleep_for(whole * (random() % 1000) / 1000);
    process.send(SIGKILL);
    const Ended ended = process.wait();
    EXPECT_TRUE(ended.signal == SIGKILL || ended.code == 0) << ended.said();
    ASSERT_EQ(jobs.half_done(job), "");
    ASSERT_EQ(jobs.finish(job), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Jobs, Kill, testing::ValuesIn(Jobs::names()), job_test_name);

// A rerun reads only what is left: a tenth, and what was not yet in the journal. That is at most two batches of an
// eightieth of the output and the units under work.
TEST(Resume, ReadsLittle) {
  Jobs jobs;
  CheckpointBuilder builder = tiny_model();
  builder.add_random("model.layers.9.mlp.down_proj.weight", DType::kBF16, {32768, 1024}, 9);  // one giant tensor
  const fs::path one_shard = jobs.path("giant"), three_shards = jobs.path("giant3");
  builder.write(one_shard);
  for (int i = 0; i < 4; ++i) {
    builder.add_random("model.layers." + std::to_string(10 + i) + ".mlp.down_proj.weight", DType::kBF16, {4096, 1024},
                       9);
  }
  builder.spread(3);
  builder.write(three_shards);
  for (const auto& [source, scheme] : std::vector<std::pair<fs::path, std::string>>{
           {one_shard, "block"}, {one_shard, "dynamic"}, {one_shard, "tensor"}, {three_shards, "dynamic"}}) {
    SCOPED_TRACE(source.filename().string() + " " + scheme);
    const auto quantize = [&](const fs::path& out, Environment faults) {
      faults["OCTAVO_FAULT_COUNT"] = jobs.path("count");
      Environment all = watch(jobs.work(), faults);
      all["OCTAVO_FAULT_PREFIX"] += ":" + source.string();
      const Ended ended =
          run({OCTAVO_BINARY, "quantize", source, "-o", out, "--scheme", scheme, "-q", "--threads", "2"}, all);
      EXPECT_TRUE(ended.code == 0 || ended.signal == SIGKILL) << ended.said();
      struct Moved {
        std::uint64_t operations = 0, read = 0, written = 0;
      } moved;
      if (ended.code == 0)
        std::istringstream(read_file(jobs.path("count"))) >> moved.operations >> moved.read >> moved.written;
      return moved;
    };
    jobs.clear();
    const auto whole = quantize(jobs.work() / "whole", {});
    EXPECT_GT(whole.read, 60'000'000u);
    const fs::path out = jobs.work() / "out";
    quantize(out, {{"OCTAVO_FAULT_KILL", std::to_string(whole.written * 9 / 10) + "b:before"}});
    ASSERT_TRUE(fs::exists(out.string() + ".partial"));
    EXPECT_LT(quantize(out, {}).read, whole.read * 15 / 100);
    EXPECT_EQ(folder_difference(jobs.work() / "whole", out), "");
  }
}

// A process that stands still at its operation `at`, until it is told to go on.
class Stopped {
 public:
  Stopped(const Jobs& jobs, const std::string& job, std::uint64_t at)
      : process_(jobs.command(job), watch(jobs.work(), {{"OCTAVO_FAULT_KILL", std::to_string(at) + ":stop"}})) {
    int status = 0;
    EXPECT_EQ(waitpid(process_.pid(), &status, WUNTRACED), process_.pid());
    EXPECT_TRUE(WIFSTOPPED(status));
  }
  void send(int signal) { process_.send(signal); }
  Ended go_on() {
    process_.send(SIGCONT);
    return process_.wait();
  }

 private:
  Process process_;
};

TEST(Signals, StopCleanlyAndSayHowToGoOn) {
  Jobs jobs;
  for (const std::string& job : Jobs::names()) {
    for (const int signal : {SIGINT, SIGTERM}) {
      SCOPED_TRACE(job + ", signal " + std::to_string(signal));
      jobs.clear();
      Stopped process(jobs, job, jobs.operations(job) / 2);
      process.send(signal);
      const Ended ended = process.go_on();
      EXPECT_EQ(ended.code, 128 + signal) << ended.said();
      EXPECT_NE(ended.err.find("the same command goes on"), std::string::npos) << ended.err;
      EXPECT_EQ(ended.sentences(), 1) << ended.err;
      EXPECT_FALSE(fs::exists(jobs.out()));
      EXPECT_EQ(jobs.finish(job), "");
    }
  }
}

TEST(Signals, ASecondOneEndsIt) {
  Jobs jobs;
  Stopped process(jobs, "block", jobs.operations("block") / 2);
  process.send(SIGINT);
  process.send(SIGTERM);
  process.send(SIGINT);
  const Ended ended = process.go_on();
  EXPECT_TRUE(ended.signal == SIGINT || ended.code == 128 + SIGINT || ended.code == 128 + SIGTERM) << ended.said();
  EXPECT_EQ(jobs.finish("block"), "");
}

TEST(TwoProcesses, TheSecondIsRefused) {
  Jobs jobs;
  for (const std::string& job : Jobs::names()) {
    SCOPED_TRACE(job);
    jobs.clear();
    Stopped first(jobs, job, jobs.operations(job) / 2);
    for (const bool restart : {false, true}) {
      auto words = jobs.command(job);
      if (restart) words.emplace_back("--restart");
      const Ended second = run(words);
      EXPECT_EQ(second.code, 1) << second.said();
      EXPECT_NE(second.err.find("out.partial: another octavo is writing it"), std::string::npos) << second.err;
    }
    const Ended ended = first.go_on();
    EXPECT_EQ(ended.code, 0) << ended.said();
    EXPECT_EQ(folder_difference(jobs.expected(job), jobs.out()), "");
  }
}

// Nobody else's way of working goes on with it.
TEST(Leftover, OfAnotherCommandIsRefusedUntilRestart) {
  Jobs jobs;
  const std::string half = std::to_string(jobs.operations("block") / 2) + ":before";
  ASSERT_EQ(jobs.run_faulty("block", {{"OCTAVO_FAULT_KILL", half}}).signal, SIGKILL);
  const Ended refused = run(jobs.command("dynamic"));
  EXPECT_EQ(refused.code, 1) << refused.said();
  EXPECT_NE(refused.err.find("--restart"), std::string::npos) << refused.err;
  EXPECT_EQ(std::count(refused.err.begin(), refused.err.end(), '\n'), 1) << refused.err;
  auto words = jobs.command("dynamic");
  words.emplace_back("--restart");
  const Ended ended = run(words);
  EXPECT_EQ(ended.code, 0) << ended.said();
  EXPECT_EQ(folder_difference(jobs.expected("dynamic"), jobs.out()), "");
}

}  // namespace
}  // namespace octavo::test
