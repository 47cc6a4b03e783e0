// --lm-head fp8: the head of `octavo quantize --lm-head`, made while loading, whatever the rest of the model is; logits
// are those of its dequantized values; no second copy of the head stands in memory meanwhile.
#include "octavo/model/fp8_head.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "octavo/base/memory.h"
#include "octavo/base/text.h"
#include "octavo/checkpoint/safetensors.h"
#include "octavo/fp8/codec.h"
#include "octavo/fp8/half.h"
#include "octavo/quant/online.h"
#include "tests/model/run_model.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"

namespace octavo::model {
namespace {

namespace fs = std::filesystem;
using backend::Compute;
using test::RunModel;
using test::RunSettings;
using test::TempDir;

const std::vector<std::int32_t> kTokens = {5, 1, 300, 77, 5, 200, 9, 31};
constexpr std::uint64_t kVocab = 320, kHidden = 128;

std::vector<float> floats_of(const test::BuiltTensor& tensor) {
  std::vector<float> out(tensor.bytes.size() / dtype_bytes(tensor.dtype));
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (tensor.dtype == DType::kF32) {
      std::memcpy(&out[i], &tensor.bytes[4 * i], 4);
      continue;
    }
    std::uint16_t bits = 0;
    std::memcpy(&bits, &tensor.bytes[2 * i], 2);
    out[i] = tensor.dtype == DType::kBF16 ? fp8::bf16_to_float(bits) : fp8::f16_to_float(bits);
  }
  return out;
}

// What a head is after FP8, by the codec and docs/numerics.md alone: [vocab, hidden] FP32.
std::vector<float> dequantized(const test::BuiltTensor& head) {
  std::vector<float> w = floats_of(head);
  for (float& x : w) {
    if (head.dtype == DType::kF32) x = fp8::bf16_to_float(fp8::float_to_bf16(x));
  }
  for (std::size_t row = 0; row < kVocab; ++row) {
    const std::span<float> channel = std::span(w).subspan(row * kHidden, kHidden);
    float amax = 0;
    for (const float x : channel) amax = std::max(amax, std::fabs(x));
    float scale = amax == 0 ? 1.0f : amax / 448.0f;
    if (head.dtype != DType::kF16) scale = fp8::bf16_to_float(fp8::float_to_bf16(scale));
    for (float& x : channel) x = fp8::decode(fp8::Format::kE4M3, fp8::encode(fp8::Format::kE4M3, x / scale)) * scale;
  }
  return w;
}

test::CheckpointBuilder decoder(DType dtype, bool tied) {
  test::CheckpointBuilder builder = test::tiny_decoder({.tied = tied, .dtype = dtype});
  // A token whose row is zero: scale 1, logit 0.
  auto& head = builder.at(tied ? "model.embed_tokens.weight" : "lm_head.weight");
  std::fill_n(head.bytes.begin() + static_cast<std::ptrdiff_t>(17 * kHidden * dtype_bytes(dtype)),
              kHidden * dtype_bytes(dtype), std::byte{0});
  return builder;
}

std::vector<float> run(const fs::path& folder, const RunSettings& settings) {
  const auto model = RunModel::open(folder, settings);
  return model ? model->logits(kTokens) : std::vector<float>();
}

TEST(Fp8Head, LogitsAreThoseOfTheDequantizedHead) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const bool tied : {false, true}) {
      SCOPED_TRACE(fmt::format("{} {}", dtype_name(dtype), tied ? "tied" : "untied"));
      TempDir dir;
      test::CheckpointBuilder builder = decoder(dtype, tied);
      builder.write(dir / "source");
      const auto w = dequantized(builder.at(tied ? "model.embed_tokens.weight" : "lm_head.weight"));
      if (!tied) builder.remove("lm_head.weight");
      builder.config()["tie_word_embeddings"] = false;
      builder.add_f32("lm_head.weight", {kVocab, kHidden}, w);
      builder.write(dir / "reference");
      for (const Isa isa : test::machine_isas()) {
        RunSettings settings{.isa = isa, .threads = 2};
        const std::vector<float> stored = run(dir / "source", settings);
        const std::vector<float> expected = run(dir / "reference", settings);
        settings.head = HeadMode::kFp8;
        const std::vector<float> got = run(dir / "source", settings);
        ASSERT_EQ(got.size(), kTokens.size() * kVocab);
        ASSERT_EQ(expected.size(), got.size());
        float largest = 0, apart = 0;
        for (const float x : expected) largest = std::max(largest, std::fabs(x));
        for (std::size_t i = 0; i < got.size(); ++i) {
          // The same products in the same order; the scale is applied to the sum, not to the weights.
          ASSERT_NEAR(got[i], expected[i], 4e-6f * largest) << isa_name(isa) << " " << i;
          apart = std::max(apart, std::fabs(got[i] - stored[i]));
        }
        EXPECT_GT(apart, 1e-3f * largest) << "the head is not quantized";
      }
    }
  }
}

// The bytes of `octavo quantize --scheme dynamic --lm-head` of the head alone, run as a folder.
TEST(Fp8Head, SameBitsAsTheFoldersHead) {
  quant::QuantSpec spec = quant::make_spec("dynamic", "").value();
  spec.lm_head = true;
  spec.only = {"lm_head"};
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    TempDir dir;
    const Checkpoint source = decoder(dtype, false).open(dir / "source");
    const auto plan = quant::make_plan(source, spec);
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    ASSERT_EQ(plan->quantized, 1u);
    ASSERT_TRUE(quant::execute(source, *plan, dir / "out", {}).ok());
    for (const Isa isa : test::machine_isas()) {
      for (const Compute compute : {Compute::kBF16, Compute::kF32}) {
        for (const ActivationMode activations : {ActivationMode::kBF16, ActivationMode::kFp8}) {
          RunSettings settings{.isa = isa, .threads = 3, .compute = compute, .activations = activations};
          const std::vector<float> folder = run(dir / "out", settings);
          settings.head = HeadMode::kFp8;
          ASSERT_FALSE(folder.empty());
          EXPECT_EQ(run(dir / "source", settings), folder) << dtype_name(dtype) << " " << isa_name(isa);
        }
      }
    }
  }
}

TEST(Fp8Head, TiedIsAsUntied) {
  TempDir dir;
  test::CheckpointBuilder builder = decoder(DType::kBF16, true);
  builder.write(dir / "tied");
  builder.add("lm_head.weight", DType::kBF16, {kVocab, kHidden}, builder.at("model.embed_tokens.weight").bytes);
  builder.write(dir / "twice");  // tied, with the head a second time
  builder.config()["tie_word_embeddings"] = false;
  builder.write(dir / "untied");
  for (const char* online : {"", "fp8", "fp8_block"}) {
    RunSettings settings{.isa = detect_isa(), .threads = 2, .compute = Compute::kBF16, .head = HeadMode::kFp8};
    if (*online != '\0') settings.quantize = quant::online_spec(online).value();
    const std::vector<float> tied = run(dir / "tied", settings);
    ASSERT_FALSE(tied.empty());
    EXPECT_EQ(run(dir / "untied", settings), tied) << online;
    EXPECT_EQ(run(dir / "twice", settings), tied) << online;
  }
}

// Online quantization, and the folder that `octavo quantize` makes of the same model, with the same head.
TEST(Fp8Head, OfOnlineAndOfFp8Checkpoints) {
  for (const bool tied : {false, true}) {
    TempDir dir;
    const Checkpoint source = decoder(DType::kBF16, tied).open(dir / "source");
    for (const auto& [online, scheme] : {std::pair("fp8", "tensor"), std::pair("fp8_block", "block")}) {
      const fs::path out = dir / scheme;
      const auto plan = quant::make_plan(source, quant::make_spec(scheme, "").value());
      ASSERT_TRUE(plan.ok() && quant::execute(source, *plan, out, {}).ok());
      for (const ActivationMode activations : {ActivationMode::kBF16, ActivationMode::kFp8}) {
        RunSettings settings{.isa = detect_isa(), .compute = Compute::kBF16, .activations = activations};
        const std::vector<float> stored = run(out, settings);
        settings.head = HeadMode::kFp8;
        const std::vector<float> folder = run(out, settings);
        ASSERT_FALSE(folder.empty());
        EXPECT_NE(folder, stored);
        settings.quantize = quant::online_spec(online).value();
        settings.threads = 3;
        EXPECT_EQ(run(dir / "source", settings), folder) << online;
      }
    }
  }
}

TEST(Fp8Head, RowsAloneAndInABatchAreTheSameBits) {
  TempDir dir;
  decoder(DType::kBF16, true).write(dir / "m");
  for (const Isa isa : test::machine_isas()) {
    for (const ActivationMode activations : {ActivationMode::kBF16, ActivationMode::kFp8}) {
      RunSettings settings{
          .isa = isa, .threads = 2, .compute = Compute::kBF16, .activations = activations, .head = HeadMode::kFp8};
      const auto model = RunModel::open(dir / "m", settings);
      ASSERT_NE(model, nullptr);
      const std::vector<float> all = model->logits(kTokens);
      ASSERT_EQ(all.size(), kTokens.size() * kVocab);
      const std::vector<std::int32_t> blocks = {0};
      for (std::size_t i = 0; i < kTokens.size(); ++i) {
        const BatchPlan plan{.tokens = {kTokens[i]},
                             .sequences = {{.row = 0, .count = 1, .position = i, .blocks = blocks}},
                             .logit_rows = {0},
                             .lengths = {}};
        const std::vector<float> alone = model->step(plan);
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + static_cast<std::ptrdiff_t>(i * kVocab)))
            << isa_name(isa) << " row " << i;
      }
    }
  }
}

TEST(Fp8Head, BytesAreCounted) {
  for (const bool tied : {false, true}) {
    TempDir dir;
    decoder(DType::kBF16, tied).write(dir / "m");
    RunSettings settings{.isa = detect_isa(), .compute = Compute::kBF16};
    const auto stored = RunModel::open(dir / "m", settings);
    settings.head = HeadMode::kFp8;
    const auto model = RunModel::open(dir / "m", settings);
    ASSERT_TRUE(stored != nullptr && model != nullptr);
    const LoadReport& report = model->loaded().report;
    ASSERT_TRUE(report.fp8_head.has_value());
    EXPECT_FALSE(stored->loaded().report.fp8_head.has_value());
    EXPECT_EQ(report.fp8_head->weights, "F8_E4M3 per channel");
    EXPECT_EQ(report.fp8_head->copy, tied);
    EXPECT_EQ(report.fp8_head->bytes, kVocab * (kHidden + sizeof(float)));
    EXPECT_EQ(report.resident.at("F8_E4M3"), report.fp8_head->bytes);
    EXPECT_EQ(report.weights, "BF16");
    EXPECT_EQ(report.fp8_linears, 0u);
    const std::uint64_t bf16 = kVocab * kHidden * 2;
    EXPECT_EQ(report.resident_bytes(),
              stored->loaded().report.resident_bytes() + report.fp8_head->bytes - (tied ? 0 : bf16));
    EXPECT_EQ(model->decoder().bytes_per_token(), stored->decoder().bytes_per_token() + report.fp8_head->bytes - bf16);
  }
}

Status load(const Checkpoint& checkpoint, const LoadOptions& options) {
  const auto backend = cpu::create_cpu_backend({});
  const auto loaded = load_model(checkpoint, *backend, options);
  return loaded.ok() ? Status() : Status(loaded.error());
}

TEST(Fp8Head, Mistakes) {
  TempDir dir;
  LoadOptions options;
  options.head = HeadMode::kFp8;
  const Checkpoint source = decoder(DType::kBF16, false).open(dir / "source");
  quant::QuantSpec spec = quant::make_spec("dynamic", "").value();
  spec.lm_head = true;
  ASSERT_TRUE(quant::execute(source, quant::make_plan(source, spec).value(), dir / "fp8", {}).ok());
  const Status already = load(Checkpoint::open(dir / "fp8").value(), options);
  ASSERT_FALSE(already.ok());
  EXPECT_EQ(already.error().message,
            "tensor \"lm_head.weight\" in model.safetensors: the output head is F8_E4M3 already; leave out --lm-head "
            "fp8");

  for (const bool tied : {false, true}) {
    const std::string name = tied ? "model.embed_tokens.weight" : "lm_head.weight";
    test::CheckpointBuilder builder = decoder(DType::kBF16, tied);
    auto& bytes = builder.at(name).bytes;
    const std::size_t at = 2 * (211 * kHidden + 7);
    bytes[at] = std::byte{0xC0}, bytes[at + 1] = std::byte{0x7F};  // NaN
    for (const bool online : {false, true}) {
      options.quantize.reset();
      if (online) options.quantize = quant::online_spec("fp8_channel").value();
      options.threads = 3;
      const Status nan = load(builder.open(dir / (tied ? "nan_tied" : "nan")), options);
      ASSERT_FALSE(nan.ok());
      EXPECT_EQ(nan.error().message, fmt::format("tensor \"{}\" in model.safetensors: NaN at [211, 7]; --lm-head fp8 "
                                                 "takes finite values",
                                                 name));
    }
  }
}

// What is asked for is what will be there, the head included.
TEST(Fp8Head, MemoryIsAskedFor) {
  for (const bool tied : {false, true}) {
    for (const HeadMode head : {HeadMode::kStored, HeadMode::kFp8}) {
      TempDir dir;
      const Checkpoint source = decoder(DType::kBF16, tied).open(dir / "m");
      LoadOptions options;
      options.head = head;
      const auto backend = cpu::create_cpu_backend({});
      const auto loaded = load_model(source, *backend, options);
      ASSERT_TRUE(loaded.ok()) << loaded.error().message;
      options.extra_bytes = std::uint64_t{1} << 60;
      const std::string refusal = load(source, options).error().message;
      const std::string weights = fmt::format("({} of weights", human_bytes(loaded->report.resident_bytes()));
      EXPECT_NE(refusal.find(weights), std::string::npos) << refusal << " should have " << weights;
    }
  }
}

// A sparse file whose embedding is 128 MiB: beside the weights there are only pieces of it.
TEST(Fp8Head, PeakMemoryIsTheWeights) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers keep freed memory";
#endif
  constexpr std::uint64_t kBigVocab = 64 * 1024, kBigHidden = 1024;
  for (const bool tied : {false, true}) {
    TempDir dir;
    test::CheckpointBuilder builder =
        test::tiny_decoder({.layers = 1, .hidden = kBigHidden, .vocab = kVocab, .tied = tied});
    builder.config()["vocab_size"] = kBigVocab;
    std::vector<TensorEntry> tensors;
    for (const auto& t : builder.tensors()) {
      const bool table = t.name == "model.embed_tokens.weight" || t.name == "lm_head.weight";
      tensors.push_back({t.name, t.dtype, table ? Shape{kBigVocab, kBigHidden} : t.shape, 0, 0});
    }
    const std::string header = lay_out_safetensors(tensors, {}).value();
    std::uint64_t bytes = header.size();
    for (const auto& t : tensors) bytes += *element_count(t.shape) * dtype_bytes(t.dtype);
    test::write_file(dir / "config.json", builder.config().dump());
    test::write_file(dir / "model.safetensors", header);
    ASSERT_EQ(truncate((dir / "model.safetensors").c_str(), static_cast<off_t>(bytes)), 0);
    const Checkpoint source = Checkpoint::open(dir.path()).value();
    for (const bool online : {false, true}) {
      malloc_trim(0);
      {
        std::ofstream reset("/proc/self/clear_refs");  // 5: VmHWM begins again at what is resident now
        reset << "5" << std::flush;
        if (!reset) GTEST_SKIP() << "/proc/self/clear_refs cannot be written";
      }
      const std::uint64_t before = peak_memory();
      LoadOptions options;
      options.head = HeadMode::kFp8;
      options.isa = detect_isa();
      options.threads = 2;
      if (online) options.quantize = quant::online_spec("fp8_block").value();
      const auto backend = cpu::create_cpu_backend({.isa = options.isa, .threads = 2});
      const auto loaded = load_model(source, *backend, options);
      ASSERT_TRUE(loaded.ok()) << loaded.error().message;
      constexpr std::uint64_t kSlack = 8u << 20;  // stacks, huge pages at the ends of buffers
      EXPECT_LE(peak_memory(),
                before + loaded->report.resident_bytes() + quant::online_window(options.threads) + kSlack)
          << (tied ? "tied" : "untied") << (online ? ", online" : "");
    }
  }
}

}  // namespace
}  // namespace octavo::model
