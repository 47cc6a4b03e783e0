// A small random model with a tokenizer, opened as the commands open one.
#pragma once

#include <gtest/gtest.h>

#include <optional>

#include "octavo/engine/runner.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"
#include "tests/support/tiny_tokenizer.h"

namespace octavo::test {

inline CheckpointBuilder tiny_chat_model(TinyDecoder model = {}) {
  CheckpointBuilder out = tiny_decoder(model);
  add_tiny_tokenizer(out);
  return out;
}

// A prompt. ASCII: one that ends in half a character would lend its end to the output.
inline std::vector<std::int32_t> random_tokens(std::size_t count, std::uint64_t seed = 1) {
  Random random(seed);
  std::vector<std::int32_t> out(count);
  for (std::int32_t& token : out) token = static_cast<std::int32_t>(random.below(128));
  return out;
}

inline engine::Runner open_model(const std::filesystem::path& folder, engine::RunnerOptions options = {}) {
  options.load.isa = detect_isa();
  options.load.threads = 2;
  Result<engine::RunnerFolder> read = engine::read_runner_folder(folder);
  if (!read.ok()) throw std::runtime_error(read.error().message);
  Result<engine::Runner> runner = engine::open_runner(std::move(*read), options);
  if (!runner.ok()) throw std::runtime_error(runner.error().message);
  return std::move(*runner);
}

// The folder lives as long as the test program.
inline engine::Runner open_tiny(engine::RunnerOptions options = {}, TinyDecoder model = {}) {
  static TempDir dir;
  return open_model(tiny_chat_model(model).write(dir / std::to_string(model.seed)), options);
}

}  // namespace octavo::test
