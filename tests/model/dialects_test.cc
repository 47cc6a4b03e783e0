// Models in every dialect with 2-D weights run, and say what the dequantized model says.
#include <gtest/gtest.h>

#include "octavo/quant/dequantize.h"
#include "tests/model/run_model.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"
#include "tests/verify/plain_quantizer.h"

namespace octavo::test {
namespace {

struct Case {
  const char* name;
  PlainOptions options;
  void (*change)(CheckpointBuilder&);
};

PlainOptions options_of(const char* scheme, const char* dialect, bool inverse = false) {
  PlainOptions out;
  out.scheme = scheme;
  out.fp8_dialect = std::string_view(dialect) == "fp8";
  if (!out.fp8_dialect) out.dialect = dialect;
  out.inverse_name = inverse;
  return out;
}

void keep(CheckpointBuilder&) {}

// Renames the scales of every weight.
void rename_scales(CheckpointBuilder& b, std::string_view from, std::string_view to) {
  std::vector<std::string> names;
  for (const BuiltTensor& t : b.tensors()) names.push_back(t.name);
  for (const std::string& name : names) {
    if (name.ends_with(from)) b.rename(name, name.substr(0, name.size() - from.size()) + std::string(to));
  }
}

TEST(Dialects, RunAsTheirDequantizedModels) {
  const Case cases[] = {
      {"modelopt static", options_of("static", "modelopt"), keep},
      {"modelopt channel", options_of("dynamic", "modelopt"), keep},
      {"modelopt block", options_of("block", "modelopt"), keep},
      {"modelopt mxfp8", options_of("mxfp8", "modelopt"), keep},
      {"mxfp8 of vLLM", options_of("mxfp8", "mxfp8"), keep},
      {"mxfp8 of SGLang", options_of("mxfp8", "mxfp8", true), keep},
      {"compressed-tensors mxfp8", options_of("mxfp8", ""), keep},
      {"transformers per tensor", options_of("static", "fp8"),
       [](CheckpointBuilder& b) {
         rename_scales(b, ".weight_scale", ".weight_scale_inv");
         rename_scales(b, ".input_scale", ".activation_scale");
         b.config()["quantization_config"]["weight_block_size"] = nullptr;
       }},
      {"the .scale of DeepSeek-V4", options_of("block", "fp8"),
       [](CheckpointBuilder& b) { rename_scales(b, ".weight_scale_inv", ".scale"); }},
      {"FBGEMM", options_of("dynamic", ""),
       [](CheckpointBuilder& b) {
         b.config()["quantization_config"] = {{"quant_method", "fbgemm_fp8"}, {"modules_to_not_convert", {"lm_head"}}};
       }},
      {"hf_quant_config.json alone", options_of("dynamic", "modelopt"),
       [](CheckpointBuilder& b) {
         b.config().erase("quantization_config");
         b.add_file("hf_quant_config.json", R"({"quantization": {"quant_algo": "FP8_PER_CHANNEL_PER_TOKEN"}})");
       }},
  };
  const std::vector<std::int32_t> tokens = {5, 77, 3, 200, 41, 8, 8, 133};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const TempDir dir;
    CheckpointBuilder quantized = quantize_plainly(tiny_decoder(), c.options);
    c.change(quantized);
    const Checkpoint source = quantized.open(dir / "fp8");
    quant::DequantizeOptions options;
    options.dtype = DType::kF32;
    const auto summary = quant::dequantize(source, dir / "f32", options);
    ASSERT_TRUE(summary.ok()) << summary.error().message;
    const auto plain = RunModel::open(dir / "f32", {});
    const auto fp8 = RunModel::open(dir / "fp8", {});
    ASSERT_TRUE(plain && fp8);
    EXPECT_GT(fp8->loaded().report.fp8_linears, 0u);
    const auto wanted = plain->logits(tokens), got = fp8->logits(tokens);
    ASSERT_EQ(wanted.size(), got.size());
    ASSERT_FALSE(got.empty());
    for (std::size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], wanted[i], 1e-4f) << i;
    // And with the inputs rounded as the scheme says: near, not equal.
    RunSettings rounded;
    rounded.activations = model::ActivationMode::kFp8;
    const auto w8a8 = RunModel::open(dir / "fp8", rounded);
    ASSERT_TRUE(w8a8);
    const auto near = w8a8->logits(tokens);
    double difference = 0, size = 0;
    for (std::size_t i = 0; i < near.size(); ++i) {
      difference += std::pow(near[i] - wanted[i], 2);
      size += std::pow(wanted[i], 2);
    }
    EXPECT_GT(difference, 0);
    EXPECT_LT(difference, 0.05 * size);
  }
}

}  // namespace
}  // namespace octavo::test
