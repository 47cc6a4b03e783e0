// Scales of the key/value cache in every spelling.
#include <gtest/gtest.h>

#include "tests/verify/plain_quantizer.h"
#include "tests/verify/verify_testing.h"

namespace octavo::test {
namespace {

constexpr const char* kAttention = "model.layers.0.self_attn";

struct Case {
  const char* what;
  const char* scheme;  // kv_cache_scheme's strategy; nullptr: none
  const char* key;
  const char* value;  // nullptr: none
  Shape shape;
  const char* violation;  // nullptr: sound
  const char* warning;    // nullptr: none
};

TEST(KvScales, NamesShapesAndPairs) {
  const Case cases[] = {
      {"llm-compressor", "tensor", ".k_scale", ".v_scale", {1}, nullptr, nullptr},
      {"ModelOpt", "tensor", ".k_proj.k_scale", ".v_proj.v_scale", {}, nullptr, nullptr},
      {"old compressed-tensors", "tensor", ".k_proj.output_scale", ".v_proj.output_scale", {1}, nullptr, nullptr},
      {"a head each", "attn_head", ".k_scale", ".v_scale", {2, 1, 1}, nullptr, nullptr},
      {"a head each, unsaid", "tensor", ".k_scale", ".v_scale", {2, 1, 1}, "has shape [2, 1, 1]", nullptr},
      {"a list", "attn_head", ".k_scale", ".v_scale", {2}, "has shape [2]", nullptr},
      {"AngelSlim", "tensor", ".k_cache.scale", ".v_cache.scale", {1}, nullptr, "from HYV3 alone"},
      {"keys only", "tensor", ".k_scale", nullptr, {1}, nullptr, "of keys only"},
      {"no word of it", nullptr, ".k_scale", ".v_scale", {1}, nullptr, "does not say that keys and values are FP8"},
      {"none", "tensor", nullptr, nullptr, {1}, nullptr, "no k_scale or v_scale is here"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    CheckpointBuilder b = quantize_plainly(tiny_model());
    const std::vector<float> values(static_cast<std::size_t>(*element_count(c.shape)), 0.5f);
    if (c.key != nullptr) b.add_f32(std::string(kAttention) + c.key, c.shape, values);
    if (c.value != nullptr) b.add_f32(std::string(kAttention) + c.value, c.shape, values);
    if (c.scheme != nullptr) {
      b.config()["quantization_config"]["kv_cache_scheme"] = {
          {"num_bits", 8}, {"type", "float"}, {"strategy", c.scheme}, {"dynamic", false}, {"symmetric", true}};
    }
    const auto report = verify_built(b);
    if (c.violation == nullptr) {
      EXPECT_TRUE(no_violation(report));
    } else {
      EXPECT_TRUE(has_violation(report, kAttention, c.violation));
    }
    ASSERT_EQ(report.warnings.size(), c.warning != nullptr ? 1u : 0u)
        << (report.warnings.empty() ? "" : report.warnings[0]);
    if (c.warning != nullptr) {
      EXPECT_NE(report.warnings[0].find(c.warning), std::string::npos) << report.warnings[0];
    }
  }
}

// An exponent of 0xFF is E8M0's NaN, in U8 as well.
TEST(KvScales, TheExponentOfNan) {
  PlainOptions options;
  options.scheme = "mxfp8";
  CheckpointBuilder b = quantize_plainly(tiny_model(), options);
  b.at("model.layers.0.self_attn.q_proj.weight_scale").bytes[3] = std::byte{0xFF};
  EXPECT_TRUE(has_violation(verify_built(b), "q_proj.weight_scale", "the exponent 0xFF is E8M0's NaN"));
}

}  // namespace
}  // namespace octavo::test
