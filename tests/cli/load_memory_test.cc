// A model in memory takes its weights and no second copy of them: the peak of a run, from the start of the process,
// beside what the run says is resident. A small model says what the command itself takes.
#include <gtest/gtest.h>

#include "octavo/base/json.h"
#include "octavo/quant/execute.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/random_tensor.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"
#include "tests/support/tiny_tokenizer.h"

namespace octavo::test {
namespace {

constexpr int kThreads = 2;

// A Llama of 190 MB in BF16 whose weights repeat one block of random values: drawing them all would take longer than
// all that is tested.
CheckpointBuilder large_decoder() {
  constexpr std::uint64_t kHidden = 1024, kIntermediate = 4096, kLayers = 6, kHeadDim = 128, kHeads = 8, kKvHeads = 4;
  CheckpointBuilder small = tiny_decoder({.model_type = "llama",
                                          .layers = 0,
                                          .hidden = kHidden,
                                          .intermediate = kIntermediate,
                                          .heads = kHeads,
                                          .kv_heads = kKvHeads,
                                          .head_dim = kHeadDim,
                                          .tied = true});
  const std::vector<std::byte> block = bytes_of(random_bf16(1 << 18, /*seed=*/7));
  const auto add = [&](const std::string& name, Shape shape) {
    std::vector<std::byte> bytes(2 * *element_count(shape));
    for (std::size_t at = 0; at < bytes.size(); at += block.size()) {
      std::copy_n(block.begin(), std::min(block.size(), bytes.size() - at),
                  bytes.begin() + static_cast<std::ptrdiff_t>(at));
    }
    small.add(name, DType::kBF16, std::move(shape), std::move(bytes));
  };
  for (std::uint64_t i = 0; i < kLayers; ++i) {
    const std::string p = fmt::format("model.layers.{}.", i);
    add(p + "input_layernorm.weight", {kHidden});
    add(p + "post_attention_layernorm.weight", {kHidden});
    add(p + "self_attn.q_proj.weight", {kHeads * kHeadDim, kHidden});
    add(p + "self_attn.k_proj.weight", {kKvHeads * kHeadDim, kHidden});
    add(p + "self_attn.v_proj.weight", {kKvHeads * kHeadDim, kHidden});
    add(p + "self_attn.o_proj.weight", {kHidden, kHeads * kHeadDim});
    add(p + "mlp.gate_proj.weight", {kIntermediate, kHidden});
    add(p + "mlp.up_proj.weight", {kIntermediate, kHidden});
    add(p + "mlp.down_proj.weight", {kHidden, kIntermediate});
  }
  small.config()["num_hidden_layers"] = kLayers;
  return small;
}

struct Memory {
  std::uint64_t peak = 0, resident = 0, cache = 0;  // bytes; of the process, of the weights, of keys and values
};

Memory run(const std::string& folder, const std::string& quantization) {
  std::vector<std::string> args = {
      "generate", folder, "--prompt", "x", "--json", "--threads", std::to_string(kThreads), "--max-tokens", "1"};
  if (!quantization.empty()) args.insert(args.end(), {"--quantization", quantization});
  const CommandResult result = run_octavo(args);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const auto json = parse_json(result.out, "output");
  if (!json.ok()) {
    ADD_FAILURE() << result.out;
    return {};
  }
  const Json& load = json->at("load");
  return {json->at("peak_memory_bytes").get<std::uint64_t>(), load.at("resident_bytes").get<std::uint64_t>(),
          load.at("kv_cache_bytes").get<std::uint64_t>()};
}

TEST(LoadMemory, IsTheWeightsAndTheWindow) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep freed memory";
#endif
  const TempDir dir;
  const std::string small = dir / "small", large = dir / "large", fp8 = dir / "fp8";
  CheckpointBuilder few = tiny_decoder({.model_type = "llama"}), many = large_decoder();
  for (CheckpointBuilder* model : {&few, &many}) add_tiny_tokenizer(*model);
  few.write(small);
  many.write(large);
  const CommandResult made = run_octavo({"quantize", large, "-o", fp8, "--scheme", "block"});
  ASSERT_EQ(made.exit_code, 0) << made.err;

  // Beside the weights and the cache: the buffers of reading and encoding, and what the larger model's tables and the
  // rows of one token take. Both files together are larger than all of it by more than ten times.
  constexpr std::uint64_t kMebi = 1u << 20, kRest = quant::online_window(kThreads) + 4 * kMebi;
  struct Row {
    std::string folder, quantization;
    std::uint64_t least, most;  // bytes that the weights take, by their number
  };
  constexpr std::uint64_t kWeights = 94'371'840 + 320 * 1024;
  for (const Row& row :
       {Row{large, "", 2 * kWeights, 2 * kWeights + kMebi}, Row{large, "fp8_block", kWeights, kWeights + kMebi},
        Row{large, "fp8_channel", kWeights, kWeights + kMebi}, Row{large, "fp8", kWeights, kWeights + kMebi},
        Row{fp8, "", kWeights, kWeights + kMebi}}) {
    const Memory base = run(small, row.quantization), memory = run(row.folder, row.quantization);
    const std::string what = row.folder.substr(row.folder.rfind('/') + 1) + " " + row.quantization;
    EXPECT_GE(memory.resident, row.least) << what;
    EXPECT_LE(memory.resident, row.most) << what;
    ASSERT_GT(base.peak, 0u);
    const std::uint64_t own = base.peak - base.resident - base.cache;
    EXPECT_LE(memory.peak, own + memory.resident + memory.cache + kRest)
        << what << ": " << own << " bytes are the command's, " << memory.resident << " of weights";
    EXPECT_GE(memory.peak, memory.resident) << what << ": what is said to be resident was never in memory";
  }
}

}  // namespace
}  // namespace octavo::test
