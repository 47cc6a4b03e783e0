// The commands that the crash tests kill: small models in a folder of the test, a command for each way of working, and
// what it makes when it is left alone.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/crash/process.h"
#include "tests/support/temp_dir.h"

namespace octavo::test {

class Jobs {
 public:
  Jobs();
  // "block", "dynamic", "tensor" (scales that need a whole group first, shared by q, k and v), "one-shard" (all in one
  // file), "dequantize", "import".
  static const std::vector<std::string>& names();

  const std::filesystem::path& source() const { return source_; }
  // Where the outputs go; watched by libfaults.so where faults are injected. The source stands elsewhere.
  std::filesystem::path work() const { return dir_ / "work"; }
  std::filesystem::path out() const { return work() / "out"; }
  std::filesystem::path partial() const { return work() / "out.partial"; }
  std::filesystem::path path(std::string_view name) const { return dir_ / name; }
  void clear() const;  // empties work()

  // The command line of a job that writes `out`.
  std::vector<std::string> command(const std::string& job, const std::filesystem::path& out) const;
  std::vector<std::string> command(const std::string& job) const { return command(job, out()); }
  // The folder that it makes undisturbed; made the first time it is asked for.
  std::filesystem::path expected(const std::string& job);
  // How many operations change or sync something in an undisturbed run.
  std::uint64_t operations(const std::string& job);

  // Runs it under `faults` in work().
  Ended run_faulty(const std::string& job, const Environment& faults) const;
  // Runs it undisturbed in work() to the end: empty when it then is what it should be, else what is wrong.
  std::string finish(const std::string& job);
  // Empty unless something stands in OUT that is not complete.
  std::string half_done(const std::string& job);

 private:
  TempDir dir_;
  std::filesystem::path source_, one_shard_;
};

// For INSTANTIATE_TEST_SUITE_P over the names.
inline std::string job_test_name(const testing::TestParamInfo<std::string>& job) {
  std::string name = job.param;
  std::erase(name, '-');
  return name;
}

}  // namespace octavo::test
