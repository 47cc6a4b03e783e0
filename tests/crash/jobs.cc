// Small models with all that matters: several shards, one tensor much larger than the others, tensors that are kept,
// groups that share a scale, other files.
#include "tests/crash/jobs.h"

#include <gtest/gtest.h>

#include <sstream>

#include "tests/support/checkpoint_builder.h"
#include "tests/support/gguf_builder.h"

namespace octavo::test {
namespace fs = std::filesystem;

namespace {

CheckpointBuilder model() {
  CheckpointBuilder builder = tiny_model({.intermediate = 1536, .vocab = 2048});
  builder.remove("model.layers.1.mlp.down_proj.weight");
  builder.add_random("model.layers.1.mlp.down_proj.weight", DType::kBF16, {1536, 1920}, 7);
  builder.add_file("tokenizer.json", R"({"version": "1.0"})");
  builder.add_file("generation_config.json", std::string(70'000, ' ') + "{}");
  return builder;
}

}  // namespace

Jobs::Jobs() : source_(dir_ / "model"), one_shard_(dir_ / "one-shard") {
  CheckpointBuilder builder = model();
  builder.write(one_shard_);
  builder.spread(3);
  builder.write(source_);
  write_file(
      dir_ / "model.gguf",
      tiny_gguf({.layers = 4, .hidden = 128, .intermediate = 512, .vocab = 1024, .heads = 4, .head_dim = 32}).build());
  fs::create_directory(work());
}

const std::vector<std::string>& Jobs::names() {
  static const std::vector<std::string> all = {"block", "dynamic", "tensor", "one-shard", "dequantize", "import"};
  return all;
}

void Jobs::clear() const {
  fs::remove_all(work());
  fs::create_directory(work());
}

std::vector<std::string> Jobs::command(const std::string& job, const fs::path& out) const {
  std::vector<std::string> words = {OCTAVO_BINARY};
  if (job == "dequantize") {
    words.insert(words.end(), {"dequantize", dir_ / "expected-block" / "out"});
  } else if (job == "import") {
    words.insert(words.end(), {"import", dir_ / "model.gguf"});
  } else {
    const bool one = job == "one-shard";
    words.insert(words.end(), {"quantize", one ? one_shard_ : source_, "--scheme", one ? "tensor" : job});
  }
  words.insert(words.end(), {"-o", out, "-q", "--threads", "2", "--memory", "64MiB"});
  return words;
}

fs::path Jobs::expected(const std::string& job) {
  const fs::path folder = dir_ / ("expected-" + job);
  if (!fs::exists(folder / "out")) {
    if (job == "dequantize") expected("block");
    fs::create_directory(folder);
    const Ended ended =
        run(command(job, folder / "out"), watch(folder, {{"OCTAVO_FAULT_COUNT", dir_ / ("count-" + job)}}));
    EXPECT_EQ(ended.code, 0) << ended.said();
    EXPECT_FALSE(fs::exists(folder / "out.partial"));
  }
  return folder / "out";
}

std::uint64_t Jobs::operations(const std::string& job) {
  expected(job);
  std::istringstream numbers(read_file(dir_ / ("count-" + job)));
  std::uint64_t count = 0;
  numbers >> count;
  EXPECT_GT(count, 20u);
  return count;
}

Ended Jobs::run_faulty(const std::string& job, const Environment& faults) const {
  return run(command(job), watch(work(), faults));
}

std::string Jobs::finish(const std::string& job) {
  const Ended ended = run_faulty(job, {});
  if (ended.code != 0 || ended.signal != 0) return "the rerun: " + ended.said();
  if (fs::exists(partial())) return "OUT.partial is still there";
  return folder_difference(expected(job), out());
}

std::string Jobs::half_done(const std::string& job) {
  if (!fs::exists(out())) return "";
  // Right after the rename the state may still be there.
  std::string difference = folder_difference(expected(job), out());
  std::string text;
  std::istringstream lines(difference);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(".octavo")) text += line + "\n";
  }
  return text;
}

}  // namespace octavo::test
