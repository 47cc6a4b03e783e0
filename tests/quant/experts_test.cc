// Experts in one 3-D tensor are quantized as the same experts stored one by one.
#include <gtest/gtest.h>

#include <algorithm>

#include "octavo/quant/execute.h"
#include "octavo/quant/plan.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo::quant {
namespace {

namespace fs = std::filesystem;
using test::BuiltTensor;
using test::CheckpointBuilder;
using test::TempDir;
using test::TinyModel;

constexpr std::uint64_t kExperts = 3;

CheckpointBuilder one_by_one(std::uint64_t intermediate = 384) {
  TinyModel model;
  model.intermediate = intermediate;
  model.model_type = "qwen3_moe";
  model.experts = kExperts;
  CheckpointBuilder builder = test::tiny_model(model);
  builder.config()["hidden_size"] = model.hidden;
  return builder;
}

// gate_up_proj [experts, 2 x intermediate, hidden], down_proj [experts, hidden, intermediate].
CheckpointBuilder fused(std::uint64_t intermediate = 384) {
  CheckpointBuilder builder = one_by_one(intermediate);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.mlp.experts.", layer);
    std::vector<std::byte> gate_up, down;
    Shape gate_shape, down_shape;
    for (std::uint64_t e = 0; e < kExperts; ++e) {
      for (const char* leaf : {"gate_proj", "up_proj", "down_proj"}) {
        const std::string name = fmt::format("{}{}.{}.weight", prefix, e, leaf);
        const BuiltTensor tensor = builder.at(name);
        const bool is_down = std::string_view(leaf) == "down_proj";
        (is_down ? down_shape : gate_shape) = tensor.shape;
        auto& to = is_down ? down : gate_up;
        to.insert(to.end(), tensor.bytes.begin(), tensor.bytes.end());
        builder.remove(name);
      }
    }
    builder.add(prefix + "gate_up_proj", DType::kBF16, {kExperts, 2 * gate_shape[0], gate_shape[1]}, gate_up);
    builder.add(prefix + "down_proj", DType::kBF16, {kExperts, down_shape[0], down_shape[1]}, down);
  }
  return builder;
}

std::vector<std::byte> bytes_of(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes);
  EXPECT_TRUE(checkpoint.read(tensor, 0, bytes).ok());
  return bytes;
}

TEST(Experts, FusedOnesAreSplit) {
  TempDir dir;
  const Checkpoint plain = one_by_one().open(dir / "plain");
  for (const char* scheme : {"dynamic", "block", "tensor", "mxfp8"}) {
    SCOPED_TRACE(scheme);
    Checkpoint source = fused().open(dir / "fused");
    source.split_experts();
    const QuantSpec spec = make_spec(scheme, "").value();
    const fs::path a = dir / fmt::format("a-{}", scheme), b = dir / fmt::format("b-{}", scheme);
    ASSERT_TRUE(execute(plain, make_plan(plain, spec).value(), a, {}).ok());
    const Plan plan = make_plan(source, spec).value();
    for (const std::string& warning : plan.warnings) EXPECT_EQ(warning.find("3-D"), std::string::npos) << warning;
    ASSERT_TRUE(execute(source, plan, b, {}).ok());
    const Checkpoint left = Checkpoint::open(a).value(), right = Checkpoint::open(b).value();
    ASSERT_EQ(left.tensors().size(), right.tensors().size());
    for (const CheckpointTensor& tensor : left.tensors()) {
      const CheckpointTensor* other = right.find(tensor.name);
      ASSERT_NE(other, nullptr) << tensor.name;
      EXPECT_EQ(tensor.shape, other->shape) << tensor.name;
      EXPECT_EQ(bytes_of(left, tensor), bytes_of(right, *other)) << tensor.name;
    }
  }
}

// Where hidden is intermediate, or twice that, one tensor alone does not say how it lies.
TEST(Experts, SquareOnesAreSplitWholeOrNotAtAll) {
  TempDir dir;
  for (const std::uint64_t intermediate : {std::uint64_t{128}, std::uint64_t{256}}) {
    Checkpoint source = fused(intermediate).open(dir / fmt::format("fused-{}", intermediate));
    source.split_experts();
    const Checkpoint plain = one_by_one(intermediate).open(dir / fmt::format("plain-{}", intermediate));
    ASSERT_EQ(source.tensors().size(), plain.tensors().size());
    for (const CheckpointTensor& tensor : plain.tensors()) {
      const CheckpointTensor* other = source.find(tensor.name);
      ASSERT_NE(other, nullptr) << tensor.name;
      EXPECT_EQ(bytes_of(plain, tensor), bytes_of(source, *other)) << tensor.name;
    }
  }
}

// Per-expert FP8 tensors joined into 3-D ones, as transformers holds them.
CheckpointBuilder join(const Checkpoint& fp8, const std::string& suffix) {
  CheckpointBuilder builder;
  builder.config() = fp8.config();
  for (const CheckpointTensor& tensor : fp8.tensors()) {
    if (tensor.name.find(".experts.") == std::string::npos) {
      builder.add(tensor.name, tensor.dtype, tensor.shape, bytes_of(fp8, tensor));
    }
  }
  for (int layer = 0; layer < 2; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.mlp.experts.", layer);
    for (const std::string& end : {std::string(), suffix}) {
      std::vector<std::byte> gate_up, down;
      const CheckpointTensor *gate = nullptr, *low = nullptr;
      for (std::uint64_t e = 0; e < kExperts; ++e) {
        for (const char* leaf : {"gate_proj", "up_proj", "down_proj"}) {
          const CheckpointTensor* tensor = fp8.find(fmt::format("{}{}.{}.weight{}", prefix, e, leaf, end));
          const bool is_down = std::string_view(leaf) == "down_proj";
          (is_down ? low : gate) = tensor;
          const auto bytes = bytes_of(fp8, *tensor);
          auto& to = is_down ? down : gate_up;
          to.insert(to.end(), bytes.begin(), bytes.end());
        }
      }
      builder.add(prefix + "gate_up_proj" + end, gate->dtype, {kExperts, 2 * gate->shape[0], gate->shape[1]}, gate_up);
      builder.add(prefix + "down_proj" + end, low->dtype, {kExperts, low->shape[0], low->shape[1]}, down);
    }
  }
  return builder;
}

TEST(Experts, FusedFp8OnesAreConverted) {
  TempDir dir;
  const Checkpoint plain = one_by_one().open(dir / "plain");
  for (const auto& [scheme, suffix] : {std::pair("block", "_scale_inv"), std::pair("dynamic", "_scale")}) {
    SCOPED_TRACE(scheme);
    const fs::path fp8_dir = dir / fmt::format("fp8-{}", scheme);
    ASSERT_TRUE(execute(plain, make_plan(plain, make_spec(scheme, "").value()).value(), fp8_dir, {}).ok());
    const Checkpoint fp8 = Checkpoint::open(fp8_dir).value();
    Checkpoint joined = join(fp8, suffix).open(dir / fmt::format("joined-{}", scheme));
    joined.split_experts();
    ASSERT_EQ(joined.tensors().size(), fp8.tensors().size());
    for (const CheckpointTensor& tensor : fp8.tensors()) {
      const CheckpointTensor* other = joined.find(tensor.name);
      ASSERT_NE(other, nullptr) << tensor.name;
      EXPECT_EQ(tensor.shape, other->shape) << tensor.name;
      EXPECT_EQ(bytes_of(fp8, tensor), bytes_of(joined, *other)) << tensor.name;
    }
    const auto plan = make_convert_plan(joined, make_spec("tensor", "").value());
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    EXPECT_EQ(plan->quantized, make_convert_plan(fp8, make_spec("tensor", "").value())->quantized);
  }
}

TEST(Experts, OtherLayoutsStayAsTheyAre) {
  TempDir dir;
  const auto untouched = [&](const CheckpointBuilder& builder) {
    Checkpoint checkpoint = builder.open(dir / "model");
    const std::size_t before = checkpoint.tensors().size();
    checkpoint.split_experts();
    return checkpoint.tensors().size() == before;
  };
  CheckpointBuilder transposed = fused();
  for (const char* layer : {"0", "1"}) {
    for (const char* leaf : {"gate_up_proj", "down_proj"}) {
      auto& shape = transposed.at(fmt::format("model.layers.{}.mlp.experts.{}", layer, leaf)).shape;
      std::swap(shape[1], shape[2]);
    }
  }
  EXPECT_TRUE(untouched(transposed));
  CheckpointBuilder biased = fused();
  for (const char* layer : {"0", "1"}) {
    biased.add_bf16(fmt::format("model.layers.{}.mlp.experts.gate_up_proj_bias", layer), {1},
                    std::vector<std::uint16_t>{0});
  }
  EXPECT_TRUE(untouched(biased));
  CheckpointBuilder unknown = fused();
  unknown.config().erase("hidden_size");
  EXPECT_TRUE(untouched(unknown));
  EXPECT_FALSE(untouched(fused()));
}

// What stays is named to loaders, with a reason: layouts under other names, and folders that hold both forms.
TEST(Experts, WhatStaysIsNamedWithItsReason) {
  TempDir dir;
  const auto plan_of = [&](const CheckpointBuilder& builder, const char* name) {
    Checkpoint checkpoint = builder.open(dir / name);
    checkpoint.split_experts();
    return make_plan(checkpoint, make_spec("dynamic", "").value()).value();
  };
  const auto warned = [](const Plan& plan, std::string_view text) {
    return std::any_of(plan.warnings.begin(), plan.warnings.end(),
                       [&](const std::string& w) { return w.find(text) != std::string::npos; });
  };
  CheckpointBuilder granite = one_by_one();
  granite.add_bf16("model.layers.0.block_sparse_moe.input_linear.weight", {2, 4, 3}, std::vector<std::uint16_t>(24, 0));
  const Plan other = plan_of(granite, "granite");
  EXPECT_TRUE(warned(other, "other names than gate_up_proj"));
  const std::string config = other.config_text;
  EXPECT_NE(config.find("model.layers.0.block_sparse_moe.experts\""), std::string::npos) << config;
  EXPECT_NE(config.find("model.layers.0.block_sparse_moe.input_linear\""), std::string::npos) << config;
  CheckpointBuilder both = fused();
  both.add_bf16("model.layers.0.mlp.experts.0.gate_proj.weight", {1, 1}, std::vector<std::uint16_t>{0});
  EXPECT_TRUE(warned(plan_of(both, "both"), "one by one as well"));
}

}  // namespace
}  // namespace octavo::quant
