// Full disks, broken disks, missing permissions, short transfers: right bytes, or one sentence that names the path and
// what the system said; never a broken OUT, and when the fault is gone the same command goes on.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "tests/crash/jobs.h"

namespace octavo::test {
namespace {

namespace fs = std::filesystem;

struct Fault {
  std::string rules;
  std::string names;  // in the sentence: the path's end
  std::string says;   // in the sentence: what the system said; empty: the fault must not matter
};

// Where quantize may meet a fault. Numbers of bytes and calls are such that the middle of the work is hit.
const std::vector<Fault>& faults() {
  static const std::vector<Fault> all = {
      // No room: data, header, journal, manifest, small files, the folder itself.
      {"op=write,path=.safetensors,bytes=1500000,errno=ENOSPC,always", ".safetensors", "No space left"},
      {"op=write,path=.safetensors,bytes=3000000,errno=ENOSPC", ".safetensors", "No space left"},
      {"op=write,path=.safetensors,errno=ENOSPC", ".safetensors", "No space left"},
      {"op=write,path=.safetensors,bytes=7,errno=ENOSPC", ".safetensors", "No space left"},
      {"op=write,path=journal-,errno=ENOSPC", "journal-", "No space left"},
      {"op=write,path=journal-,nth=2,errno=ENOSPC", "journal-", "No space left"},
      {"op=write,path=journal-,bytes=1000,errno=EDQUOT", "journal-", "quota exceeded"},
      {"op=write,path=manifest.json,errno=ENOSPC", "manifest.json", "No space left"},
      {"op=write,path=manifest.json,bytes=100,errno=ENOSPC", "manifest.json", "No space left"},
      {"op=write,path=out.partial/config.json,errno=ENOSPC", "config.json", "No space left"},
      {"op=write,path=final/config.json,bytes=10,errno=ENOSPC", "config.json", "No space left"},
      {"op=write,path=octavo.json,nth=2,errno=ENOSPC", "octavo.json", "No space left"},
      {"op=write,path=index.json,errno=ENOSPC", "index.json", "No space left"},
      {"op=write,path=generation_config.json,bytes=65536,errno=ENOSPC", "generation_config.json", "No space left"},
      {"op=resize,path=.safetensors,nth=2,errno=EFBIG", ".safetensors", "File too large"},
      {"op=allocate,path=.safetensors,nth=2,errno=ENOSPC", ".safetensors", "No space left"},
      {"op=mkdir,path=out.partial,errno=ENOSPC", "out.partial", "No space left"},
      // The disk breaks.
      {"op=write,path=.safetensors,bytes=2000000,errno=EIO", ".safetensors", "Input/output error"},
      {"op=sync,path=.safetensors,errno=EIO", ".safetensors", "Input/output error"},
      {"op=sync,path=.safetensors,nth=6,errno=EIO", ".safetensors", "Input/output error"},
      {"op=sync,path=journal-,errno=EIO", "journal-", "Input/output error"},
      {"op=sync,path=journal-,nth=3,errno=EIO,always", "journal-", "Input/output error"},
      {"op=sync,path=manifest.json,errno=EIO", "manifest.json", "Input/output error"},
      {"op=sync,path=.octavo,errno=EIO", ".octavo", "Input/output error"},
      {"op=sync,path=.done,errno=EIO", ".done", "Input/output error"},
      {"op=rename,path=out.partial,errno=EIO", "out.partial", "Input/output error"},
      {"op=rename,path=manifest.json,errno=EIO", "manifest.json", "Input/output error"},
      {"op=read,path=model/model-00002,bytes=1000000,errno=EIO", "model-00002-of-00003.safetensors",
       "Input/output error"},
      {"op=read,path=model/model-00001,errno=EIO", "model-00001-of-00003.safetensors", "Input/output error"},
      {"op=read,path=model/generation_config.json,nth=1,errno=EIO", "generation_config.json", "Input/output error"},
      // No permission.
      {"op=mkdir,path=out.partial,errno=EACCES", "out.partial", "Permission denied"},
      {"op=mkdir,path=out.partial,errno=EROFS", "out.partial", "Read-only file system"},
      {"op=mkdir,path=out.partial,errno=ENAMETOOLONG", "out.partial", "File name too long"},
      {"op=mkdir,path=.octavo,errno=EDQUOT", ".octavo", "quota exceeded"},
      {"op=open,path=out.partial/model-00002,errno=EACCES", "out.partial/model-00002", "Permission denied"},
      {"op=open,path=journal-,errno=EMFILE", "journal-", "Too many open files"},
      {"op=open,path=model/model-00003,errno=EACCES", "model-00003", "Permission denied"},
      {"op=rename,path=out.partial,errno=EACCES", "out.partial", "Permission denied"},
      // Not every file system can do everything; signals interrupt.
      {"op=allocate,errno=EOPNOTSUPP,always", "", ""},
      {"op=lock,errno=EOPNOTSUPP,always", "", ""},
      {"op=sync,path=out.partial,errno=EINTR,nth=3", "", ""},
      {"op=open,path=.safetensors,errno=EINTR,nth=4", "", ""},
      {"op=resize,errno=EINTR", "", ""},
      {"op=allocate,errno=EINTR,nth=2", "", ""},
      {"op=lock,errno=EINTR", "", ""},
  };
  return all;
}

// Faults in the source count too.
Environment watch_all(const Jobs& jobs, const Environment& faults) {
  Environment all = watch(jobs.work(), faults);
  all["OCTAVO_FAULT_PREFIX"] += ":" + jobs.path("model").string();
  return all;
}

void expect_one_sentence(const Ended& ended, const Fault& fault) {
  EXPECT_EQ(ended.code, 1) << ended.said();
  EXPECT_EQ(ended.sentences(), 1) << ended.err;
  EXPECT_NE(ended.err.find(fault.names), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find(fault.says), std::string::npos) << ended.err;
}

// Every fault's run of `job`, and then the same command without the fault.
void check_faults(const std::string& job, std::size_t first, std::size_t step) {
  Jobs jobs;
  for (std::size_t i = first; i < faults().size(); i += step) {
    const Fault& fault = faults()[i];
    SCOPED_TRACE(job + ": " + fault.rules);
    jobs.clear();
    jobs.expected(job);
    const Ended ended = run(jobs.command(job), watch_all(jobs, {{"OCTAVO_FAULT_RULES", fault.rules}}));
    if (fault.says.empty()) {
      EXPECT_EQ(ended.code, 0) << ended.said();
    } else {
      expect_one_sentence(ended, fault);
      EXPECT_FALSE(fs::exists(jobs.out()));
    }
    EXPECT_EQ(jobs.finish(job), "");
  }
}

TEST(Faults, OfBlock) { check_faults("block", 0, 2); }
TEST(Faults, OfTensor) { check_faults("tensor", 1, 2); }
TEST(Faults, OfAll) {
  if (cases(0) == 0) GTEST_SKIP() << "only with OCTAVO_CRASH_CASES";
  for (const char* job : {"block", "dynamic", "tensor"}) check_faults(job, 0, 1);
}

TEST(Faults, OfDequantizeAndImport) {
  const Fault some[] = {
      {"op=write,path=.safetensors,bytes=500000,errno=ENOSPC", ".safetensors", "No space left"},
      {"op=write,path=journal-,nth=2,errno=ENOSPC", "journal-", "No space left"},
      {"op=sync,path=.safetensors,nth=2,errno=EIO", ".safetensors", "Input/output error"},
      {"op=write,path=config.json,errno=ENOSPC", "config.json", "No space left"},
      {"op=rename,path=out.partial,nth=1,errno=EIO", "out.partial", "Input/output error"},
      {"op=mkdir,errno=EROFS", "out.partial", "Read-only file system"},
  };
  Jobs jobs;
  for (const std::string job : {"dequantize", "import"}) {
    for (const Fault& fault : some) {
      SCOPED_TRACE(job + ": " + fault.rules);
      jobs.clear();
      jobs.expected(job);
      const Ended ended = jobs.run_faulty(job, {{"OCTAVO_FAULT_RULES", fault.rules}});
      expect_one_sentence(ended, fault);
      EXPECT_FALSE(fs::exists(jobs.out()));
      EXPECT_EQ(jobs.finish(job), "");
    }
  }
}

// What cannot be taken back has happened: OUT is there, whole. Clearing up is for the next run.
TEST(Faults, AfterTheRename) {
  Jobs jobs;
  for (const std::string rules : {"op=unlink,path=out/.octavo,errno=EIO,always", "op=unlink,errno=EACCES,nth=1"}) {
    SCOPED_TRACE(rules);
    jobs.clear();
    const Ended ended = jobs.run_faulty("block", {{"OCTAVO_FAULT_RULES", rules}});
    EXPECT_TRUE(ended.code == 0 || ended.code == 1) << ended.said();
    EXPECT_EQ(jobs.half_done("block"), "");
    EXPECT_EQ(jobs.finish("block"), "");
  }
}

TEST(Faults, ShortAndInterruptedTransfers) {
  Jobs jobs;
  for (const std::string& job : Jobs::names()) {
    for (int seed = 1; seed <= cases(2); ++seed) {
      SCOPED_TRACE(job + ", seed " + std::to_string(seed));
      jobs.clear();
      jobs.expected(job);
      const Ended ended = run(jobs.command(job), watch_all(jobs, {{"OCTAVO_FAULT_SHORT", std::to_string(seed)}}));
      EXPECT_EQ(ended.code, 0) << ended.said();
      EXPECT_EQ(folder_difference(jobs.expected(job), jobs.out()), "");
    }
  }
}

// A file system of its own that really is full.
class SmallDisk : public testing::Test {
 protected:
  // False where mounting is denied.
  bool mount_of(const std::string& size) {
    mounted_ = ::mount("tmpfs", jobs_.work().c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
    return mounted_;
  }
  void TearDown() override {
    if (mounted_) ::umount2(jobs_.work().c_str(), MNT_DETACH);
  }
  Jobs jobs_;

 private:
  bool mounted_ = false;
};

TEST_F(SmallDisk, IsSaidBeforeTheWork) {
  jobs_.expected("block");
  if (!mount_of("2m")) GTEST_SKIP() << "cannot mount: " << std::strerror(errno);
  const Ended ended = run(jobs_.command("block"));
  expect_one_sentence(ended, {"", "out.partial", "the disk has"});
  EXPECT_FALSE(fs::exists(jobs_.out()));
}

TEST_F(SmallDisk, FillsUpInTheMiddle) {
  const std::uint64_t operations = jobs_.operations("block");
  if (!mount_of("32m")) GTEST_SKIP() << "cannot mount: " << std::strerror(errno);
  // A file system that cannot reserve blocks; somebody else fills it while the command works.
  Process process(jobs_.command("block"),
                  watch(jobs_.work(), {{"OCTAVO_FAULT_RULES", "op=allocate,errno=EOPNOTSUPP,always"},
                                       {"OCTAVO_FAULT_KILL", std::to_string(operations / 2) + ":stop"}}));
  int status = 0;
  ASSERT_EQ(waitpid(process.pid(), &status, WUNTRACED), process.pid());
  ASSERT_TRUE(WIFSTOPPED(status));
  {
    std::ofstream ballast(jobs_.work() / "ballast", std::ios::binary);
    const std::string block(4096, 'x');
    while (ballast.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
    }
  }
  process.send(SIGCONT);
  expect_one_sentence(process.wait(), {"", "out.partial/", "No space left"});
  EXPECT_FALSE(fs::exists(jobs_.out()));
  fs::remove(jobs_.work() / "ballast");
  EXPECT_EQ(jobs_.finish("block"), "");
}

}  // namespace
}  // namespace octavo::test
