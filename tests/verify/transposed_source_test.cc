// Verification against a source whose experts lie transposed in 3-D tensors.
#include <gtest/gtest.h>

#include <cstring>

#include "octavo/quant/execute.h"
#include "octavo/quant/plan.h"
#include "octavo/verify/verify.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo::verify {
namespace {

constexpr std::uint64_t kHidden = 256, kIntermediate = 384, kExperts = 2;

// Experts [experts, hidden, 2 x intermediate] and [experts, intermediate, hidden] beside a tiny model's rest.
test::CheckpointBuilder model() {
  test::TinyModel tiny;
  tiny.hidden = kHidden;
  tiny.intermediate = kIntermediate;
  tiny.experts = kExperts;
  tiny.model_type = "llama4_text";
  test::CheckpointBuilder builder = test::tiny_model(tiny);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.mlp.experts.", layer);
    for (std::uint64_t e = 0; e < kExperts; ++e) {
      for (const char* leaf : {"gate_proj", "up_proj", "down_proj"}) {
        builder.remove(fmt::format("{}{}.{}.weight", prefix, e, leaf));
      }
    }
    builder.add_random(prefix + "gate_up_proj", DType::kBF16, {kExperts, kHidden, 2 * kIntermediate}, 5);
    builder.add_random(prefix + "down_proj", DType::kBF16, {kExperts, kIntermediate, kHidden}, 6);
  }
  return builder;
}

TEST(TransposedSource, EveryCodeAndKeptTensorIsCompared) {
  const test::TempDir dir;
  Checkpoint source = model().open(dir / "model");
  source.split_experts();
  ASSERT_EQ(source.split_tensors().size(), 4u);
  for (const char* scheme : {"dynamic", "block"}) {
    quant::QuantSpec spec = quant::make_spec(scheme, "compressed-tensors").value();
    spec.keep_first = 1;
    const auto out = dir / scheme;
    ASSERT_TRUE(quant::execute(source, quant::make_plan(source, spec).value(), out, {}).ok());
    const Checkpoint ours = Checkpoint::open(out).value();
    Options options;
    options.loaders = {Loader::kVllm};
    const Report good = verify(ours, &source, options).value();
    for (const Violation& violation : good.violations) ADD_FAILURE() << violation.where << ": " << violation.what;
    EXPECT_EQ(good.errors.size(), 4 + 3 * kExperts);  // of the second layer
    // transformers makes linears of Llama 4's experts for compressed-tensors, and for nothing else.
    const auto unseen = [&](const Checkpoint& checkpoint) {
      options.loaders = {Loader::kTransformers};
      const Report report = verify(checkpoint, &source, options).value();
      return std::any_of(report.violations.begin(), report.violations.end(), [](const Violation& v) {
        return v.what.find("for model_type llama4_text transformers loads them in one tensor only") !=
               std::string::npos;
      });
    };
    EXPECT_FALSE(unseen(ours));
    const quant::QuantSpec fp8 = quant::make_spec("block", "fp8").value();
    const auto other_out = dir / fmt::format("fp8-{}", scheme);
    ASSERT_TRUE(quant::execute(source, quant::make_plan(source, fp8).value(), other_out, {}).ok());
    EXPECT_TRUE(unseen(Checkpoint::open(other_out).value()));

    // The same source with its experts' values as they lie: all wrong, quantized and kept ones.
    test::CheckpointBuilder other = model();
    auto& down = other.at("model.layers.1.mlp.experts.down_proj").bytes;
    std::swap(down[2], down[4]), std::swap(down[3], down[5]);
    auto& up = other.at("model.layers.0.mlp.experts.gate_up_proj").bytes;
    std::swap(up[2], up[4]), std::swap(up[3], up[5]);
    Checkpoint changed = other.open(dir / fmt::format("changed-{}", scheme));
    changed.split_experts();
    const Report bad = verify(ours, &changed, Options()).value();
    const auto blames = [&](const char* name) {
      return std::any_of(bad.violations.begin(), bad.violations.end(),
                         [&](const Violation& v) { return v.where.find(name) != std::string::npos; });
    };
    EXPECT_TRUE(blames("model.layers.1.mlp.experts.0.down_proj"));
    EXPECT_TRUE(blames("model.layers.0.mlp.experts.0.gate_proj"));
    EXPECT_FALSE(blames("model.layers.0.mlp.experts.1."));
  }
}

}  // namespace
}  // namespace octavo::verify
