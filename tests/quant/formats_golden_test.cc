// tests/data/formats: a checkpoint a dialect, made by the dialect's own library, dequantized as that library does it,
// bit for bit (tools/make_format_golden.py). And layouts of experts against the plain formula.
#include <gtest/gtest.h>

#include <cstring>

#include "octavo/backend/cpu/encode.h"
#include "octavo/checkpoint/quantization.h"
#include "octavo/fp8/half.h"
#include "octavo/quant/dequantize.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo::quant {
namespace {

namespace fs = std::filesystem;
using test::CheckpointBuilder;
using test::TempDir;

const fs::path kFormats = fs::path(OCTAVO_SOURCE_DIR) / "tests/data/formats";

struct Golden {
  const char* name;
  const char* description;
};

// What `octavo inspect` says of each.
const Golden kGoldens[] = {
    {"angelslim-fp8", "fp8 e4m3, per tensor, static activations per tensor"},
    {"angelslim-naive", "compressed-tensors e4m3, per channel, dynamic activations per token; FP8 keys and values"},
    {"ct-fp8", "compressed-tensors e4m3, per tensor, static activations per tensor"},
    {"ct-fp8-block", "compressed-tensors e4m3, 16x16 blocks, dynamic activations in groups of 16"},
    {"ct-fp8-dynamic", "compressed-tensors e4m3, per channel, dynamic activations per token"},
    {"ct-mxfp8", "compressed-tensors e4m3, groups of 32, dynamic activations in groups of 32"},
    {"ct-w8a16", "compressed-tensors e4m3, per channel, activations not quantized"},
    {"deepseek-block", "fp8 e4m3, 16x16 blocks, dynamic activations in groups of 16"},
    {"fbgemm", "fbgemm_fp8 e4m3, per channel, dynamic activations per token"},
    {"fbgemm-experts", "fbgemm_fp8 e4m3, per channel, dynamic activations per token"},
    {"fnuz", "fp8 e4m3fnuz, per tensor, dynamic activations"},
    {"fp8-block", "fp8 e4m3, 16x16 blocks, dynamic activations in groups of 16"},
    {"fp8-block-ue8m0", "fp8 e4m3, 16x16 blocks, dynamic activations in groups of 16"},
    {"fp8-transformers-static", "fp8 e4m3, per tensor, static activations per tensor, with transformers' names"},
    {"fp8-transformers-tensor", "fp8 e4m3, per tensor, dynamic activations, with transformers' names"},
    {"modelopt-block", "modelopt e4m3, FP8_PB_WO: 128x128 blocks, dynamic activations in groups of 128"},
    {"modelopt-channel", "modelopt e4m3, FP8_PER_CHANNEL_PER_TOKEN: per channel, dynamic activations per token"},
    {"modelopt-fp8", "modelopt e4m3, FP8: per tensor, static activations per tensor"},
    {"modelopt-fp8-hf-quant-config",
     "modelopt e4m3, FP8: per tensor, static activations per tensor (by hf_quant_config.json)"},
    {"modelopt-mxfp8", "modelopt e4m3, MXFP8: groups of 32, dynamic activations in groups of 32"},
    {"mxfp8-transformers", "mxfp8 e4m3, groups of 32, dynamic activations in groups of 32"},
    {"quark-channel", "quark e4m3, per channel, dynamic activations per token"},
    {"quark-tensor", "quark e4m3, per tensor, static activations per tensor"},
};

std::vector<std::byte> bytes_of(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  std::vector<std::byte> out(tensor.bytes);
  EXPECT_TRUE(checkpoint.read(tensor, 0, out).ok());
  return out;
}

// NAME.safetensors lies beside the others; a folder of its own makes it a checkpoint.
Checkpoint expected_of(const char* name, const fs::path& folder) {
  fs::create_directories(folder);
  fs::copy_file(kFormats / (std::string(name) + ".safetensors"), folder / "model.safetensors");
  return std::move(Checkpoint::open(folder)).value();
}

TEST(FormatsGolden, EveryFolderIsInTheTable) {
  std::size_t folders = 0;
  for (const auto& item : fs::directory_iterator(kFormats)) folders += item.is_directory() ? 1 : 0;
  EXPECT_EQ(folders, std::size(kGoldens));
}

TEST(FormatsGolden, DequantizedAsItsLibraryDoes) {
  for (const Golden& golden : kGoldens) {
    SCOPED_TRACE(golden.name);
    const TempDir dir;
    const auto source = Checkpoint::open(kFormats / golden.name);
    ASSERT_TRUE(source.ok()) << source.error().message;
    const auto info = read_quantization(*source);
    ASSERT_TRUE(info.ok() && *info);
    EXPECT_EQ((**info).describe(), golden.description);

    const auto summary = dequantize(*source, dir / "out", {});
    ASSERT_TRUE(summary.ok()) << summary.error().message;
    const auto out = Checkpoint::open(dir / "out");
    ASSERT_TRUE(out.ok()) << out.error().message;
    EXPECT_FALSE(read_quantization(*out).value().has_value());
    EXPECT_EQ(out->other_files(), std::vector<std::string>{"octavo.json"});

    const Checkpoint expected = expected_of(golden.name, dir / "expected");
    EXPECT_EQ(summary->dequantized, expected.tensors().size());
    for (const CheckpointTensor& want : expected.tensors()) {
      const CheckpointTensor* got = out->find(want.name);
      ASSERT_NE(got, nullptr) << want.name;
      EXPECT_EQ(got->dtype, DType::kBF16);
      EXPECT_EQ(got->shape, want.shape);
      EXPECT_TRUE(bytes_of(*out, *got) == bytes_of(expected, want)) << want.name;
    }
    for (const CheckpointTensor& tensor : out->tensors()) {
      const CheckpointTensor* kept = source->find(tensor.name);
      ASSERT_NE(kept, nullptr) << tensor.name;
      EXPECT_FALSE(is_scale_tensor(*source, *kept)) << tensor.name;
      if (!is_fp8(kept->dtype)) {
        EXPECT_TRUE(bytes_of(*out, tensor) == bytes_of(*source, *kept)) << tensor.name;
      }
    }
  }
}

struct Layout {
  const char* what;
  Shape weight, scale;
  Granularity granularity;
  // The index of the scale of [e, r, c].
  std::uint64_t (*index)(std::uint64_t e, std::uint64_t r, std::uint64_t c);
};

// Ragged experts whose scales lie in another shard, in pieces of a few codes and with several threads.
TEST(Dequantize, ExpertsInPieces) {
  const Layout layouts[] = {
      {"blocks",
       {3, 9, 10},
       {3, 3, 3},
       Granularity::kBlock,
       [](auto e, auto r, auto c) { return e * 9 + r / 4 * 3 + c / 4; }},
      {"rows", {3, 9, 10}, {3, 9, 1}, Granularity::kChannel, [](auto e, auto r, auto) { return e * 9 + r; }},
      {"columns", {3, 9, 10}, {3, 1, 10}, Granularity::kChannel, [](auto e, auto, auto c) { return e * 10 + c; }},
      {"one an expert", {3, 9, 10}, {3}, Granularity::kTensor, [](auto e, auto, auto) { return e; }},
  };
  for (const Layout& layout : layouts) {
    for (const std::uint64_t window : {std::uint64_t{60}, std::uint64_t{1} << 20}) {
      SCOPED_TRACE(fmt::format("{} {}", layout.what, window));
      const std::uint64_t rows = layout.weight[1], columns = layout.weight[2];
      std::vector<std::byte> codes(*element_count(layout.weight));
      for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(i * 37 % 127);
      std::vector<float> scales(*element_count(layout.scale));
      for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = 0.1f + 0.37f * static_cast<float>(i);
      const TempDir dir;
      CheckpointBuilder b;
      b.add("experts.gate_up_proj", DType::kF8E4M3, layout.weight, codes, 0);
      b.add_f32("experts.gate_up_proj_scale_inv", layout.scale, scales, 1);
      b.config() = {{"quantization_config",
                     {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}, {"weight_block_size", {4, 4}}}}};
      if (layout.granularity != Granularity::kBlock) b.config()["quantization_config"].erase("weight_block_size");
      const Checkpoint source = b.open(dir / "m");
      DequantizeOptions options;
      options.dtype = DType::kF32;
      options.threads = 2;
      options.window_bytes = window;
      const auto summary = dequantize(source, dir / "out", options);
      ASSERT_TRUE(summary.ok()) << summary.error().message;
      const auto out = std::move(Checkpoint::open(dir / "out")).value();
      EXPECT_EQ(out.shards().size(), 1u);  // the other held nothing but scales
      const std::vector<std::byte> bytes = bytes_of(out, *out.find("experts.gate_up_proj"));
      for (std::size_t i = 0; i < codes.size(); ++i) {
        float value = 0;
        std::memcpy(&value, bytes.data() + 4 * i, 4);
        const std::uint64_t e = i / (rows * columns), r = i / columns % rows, c = i % columns;
        const float code = fp8::decode(fp8::Format::kE4M3, std::to_integer<std::uint8_t>(codes[i]));
        ASSERT_EQ(value, code * scales[layout.index(e, r, c)]) << i;
      }
    }
  }
}

TEST(Dequantize, PackedExpertsAreRefusedByName) {
  const TempDir dir;
  CheckpointBuilder b;
  b.add("attn.wq.weight", DType::kF8E4M3, {4, 4}, std::vector<std::byte>(16));
  b.add_f32("attn.wq.scale", {1, 1}, std::vector<float>{1});
  b.add("experts.0.w1.weight", DType::kI8, {4, 2}, std::vector<std::byte>(8));
  b.add_f32("experts.0.w1.scale", {1, 1}, std::vector<float>{1});
  b.config() = {{"quantization_config",
                 {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}, {"weight_block_size", {128, 128}}}}};
  const auto summary = dequantize(b.open(dir / "m"), dir / "out", {});
  ASSERT_FALSE(summary.ok());
  EXPECT_NE(summary.error().message.find("tensor \"experts.0.w1.weight\": is I8 with a scale, so packed FP4"),
            std::string::npos)
      << summary.error().message;
}

// A quantization_config inside the language model's config goes, and nothing else of it.
TEST(Dequantize, NestedConfig) {
  const TempDir dir;
  CheckpointBuilder b;
  b.add("m.weight", DType::kF8E4M3, {4, 4}, std::vector<std::byte>(16));
  b.add_f32("m.weight_scale", {}, std::vector<float>{1});
  b.config() = {
      {"text_config",
       {{"hidden_size", 4}, {"quantization_config", {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}}}}}};
  ASSERT_TRUE(dequantize(b.open(dir / "m"), dir / "out", {}).ok());
  const auto out = std::move(Checkpoint::open(dir / "out")).value();
  EXPECT_EQ(out.config(), (Json{{"text_config", {{"hidden_size", 4}}}}));
}

}  // namespace
}  // namespace octavo::quant
