// Quantization end to end against a slow writer of the test's own: every scheme, shape, source dtype, window, thread
// count and ISA gives the same bytes.
#include "octavo/quant/execute.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "octavo/fp8/half.h"
#include "octavo/quant/dequantize.h"
#include "octavo/quant/schedule.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temp_dir.h"

namespace octavo::quant {
namespace {

namespace fs = std::filesystem;
using test::CheckpointBuilder;
using test::TempDir;

// The truth, written down once more: floats in, codes and stored scales out.
struct Naive {
  std::vector<std::uint8_t> codes;
  std::vector<float> scales;
};

float naive_scale(float amax, const WeightEncoding& e) {
  if (amax == 0) return 1.0f;
  float s = amax / (e.format == fp8::Format::kE4M3 ? 448.0f : 57344.0f);
  if (e.pow2_scales || e.scale_dtype == fp8::ScaleDType::kE8M0)
    return std::exp2(std::max(std::ceil(std::log2(s)), -127.0f));
  const bool bf16 = e.scale_dtype == fp8::ScaleDType::kBF16;
  if (bf16) s = fp8::bf16_to_float(fp8::float_to_bf16(s));
  return s != 0 ? s : bf16 ? 0x1p-133f : 0x1p-149f;  // never zero: the smallest number of the dtype
}

Naive naive(const std::vector<float>& w, std::uint64_t n, std::uint64_t k, const WeightEncoding& e, float shared_amax) {
  Naive out;
  out.codes.resize(w.size());
  for (std::uint64_t r = 0; r < n; r += e.block_n) {
    for (std::uint64_t c = 0; c < k; c += e.block_k) {
      float amax = shared_amax;
      for (std::uint64_t i = r; i < std::min(r + e.block_n, n); ++i) {
        for (std::uint64_t j = c; j < std::min(c + e.block_k, k); ++j) amax = std::max(amax, std::fabs(w[i * k + j]));
      }
      const float s = naive_scale(amax, e);
      out.scales.push_back(s);
      for (std::uint64_t i = r; i < std::min(r + e.block_n, n); ++i) {
        for (std::uint64_t j = c; j < std::min(c + e.block_k, k); ++j) {
          out.codes[i * k + j] = fp8::encode(e.format, w[i * k + j] / s);
        }
      }
    }
  }
  return out;
}

std::vector<std::byte> read_all(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes);
  EXPECT_TRUE(checkpoint.read(tensor, 0, bytes).ok());
  return bytes;
}

std::vector<float> floats(const Checkpoint& checkpoint, const CheckpointTensor& tensor, bool via_bf16) {
  const auto bytes = read_all(checkpoint, tensor);
  std::vector<float> out(*element_count(tensor.shape));
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (tensor.dtype == DType::kF32) {
      std::memcpy(&out[i], bytes.data() + 4 * i, 4);
      if (via_bf16) out[i] = fp8::bf16_to_float(fp8::float_to_bf16(out[i]));
      continue;
    }
    std::uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + 2 * i, 2);
    out[i] = tensor.dtype == DType::kBF16 ? fp8::bf16_to_float(bits) : fp8::f16_to_float(bits);
  }
  return out;
}

// Quantizes and compares every output tensor.
void expect_naive(const Checkpoint& source, const QuantSpec& spec, const ExecuteOptions& options, const fs::path& out) {
  const auto plan = make_plan(source, spec);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const auto summary = execute(source, *plan, out, options);
  ASSERT_TRUE(summary.ok()) << summary.error().message;
  EXPECT_FALSE(fs::exists(out.string() + ".partial"));
  const auto opened = Checkpoint::open(out);
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  EXPECT_EQ(opened->tensors().size(), plan->outputs.size());
  EXPECT_EQ(opened->data_bytes(), summary->output_bytes);

  std::vector<float> shared_amax(plan->shared_scales);
  for (const PlannedTensor& planned : plan->tensors) {
    if (!planned.shared) continue;
    for (const float w : floats(source, source.tensors()[planned.source], planned.encoding->via_bf16)) {
      shared_amax[*planned.shared] = std::max(shared_amax[*planned.shared], std::fabs(w));
    }
  }
  for (const PlannedTensor& planned : plan->tensors) {
    const CheckpointTensor& tensor = source.tensors()[planned.source];
    const CheckpointTensor* written = opened->find(tensor.name);
    ASSERT_NE(written, nullptr);
    if (!planned.encodes()) {
      EXPECT_EQ(read_all(source, tensor), read_all(*opened, *written)) << tensor.name;
      continue;
    }
    const auto truth = naive(floats(source, tensor, planned.encoding->via_bf16), tensor.shape[0], tensor.shape[1],
                             *planned.encoding, planned.shared ? shared_amax[*planned.shared] : 0.0f);
    const auto codes = read_all(*opened, *written);
    ASSERT_EQ(codes.size(), truth.codes.size());
    EXPECT_EQ(std::memcmp(codes.data(), truth.codes.data(), codes.size()), 0) << tensor.name;
    const auto scales = opened->read_scales(*opened->find(plan->outputs[*planned.scale].name), 1u << 30);
    ASSERT_TRUE(scales.ok());
    EXPECT_EQ(*scales, truth.scales) << tensor.name;
  }
}

// One linear per shape, the norms and embeddings of a model around them.
CheckpointBuilder shapes_model(DType dtype, test::Specials specials = test::Specials::kNone) {
  CheckpointBuilder builder;
  builder.config() = {{"model_type", "unheard_of"}, {"num_hidden_layers", 40}};
  std::uint64_t layer = 0;
  for (const auto& shape : test::matrix_shapes()) {
    if (shape.count() > 200'000) continue;
    const std::string name = fmt::format("body.layers.{}.mix.", layer++);
    builder.add(name + "alpha.weight", dtype, shape.shape(),
                test::random_tensor(dtype, shape.count(), layer, specials));
    builder.add(name + "alpha.bias", dtype, {3}, test::random_tensor(dtype, 3, layer));
  }
  builder.add("body.layers.0.attn.q_proj.weight", dtype, {96, 64}, test::random_tensor(dtype, 96 * 64, 901));
  builder.add("body.layers.0.attn.k_proj.weight", dtype, {32, 64}, test::random_tensor(dtype, 32 * 64, 902));
  builder.add("body.layers.0.attn.v_proj.weight", dtype, {32, 64}, test::random_tensor(dtype, 32 * 64, 903));
  builder.add("body.layers.0.zero.weight", dtype, {130, 130}, std::vector<std::byte>(130 * 130 * dtype_bytes(dtype)));
  return builder;
}

struct Case {
  const char* scheme;
  const char* format;
  void (*change)(QuantSpec&) = [](QuantSpec&) {};
};

const std::vector<Case>& cases() {
  static const std::vector<Case> kCases = {
      {"dynamic", ""},
      {"dynamic", "", [](QuantSpec& s) { s.scale_dtype = fp8::ScaleDType::kF32; }},
      {"dynamic", "", [](QuantSpec& s) { s.pow2_scales = true; }},
      {"block", ""},
      {"block", "", [](QuantSpec& s) { s.dtype = fp8::Format::kE5M2; }},
      {"block", "", [](QuantSpec& s) { s.scheme.block_n = 3, s.scheme.block_k = 50; }},
      {"block", "", [](QuantSpec& s) { s.scheme.block_n = 1'000'000, s.scheme.block_k = 7; }},
      {"block", "compressed-tensors", [](QuantSpec& s) { s.edge = Edge::kChannel; }},
      {"tensor", ""},
      {"tensor", "fp8", [](QuantSpec& s) { s.pow2_scales = true; }},
      {"weight-only", "", [](QuantSpec& s) { s.direct = true; }},
      {"dynamic", "modelopt"},
      {"block", "modelopt"},
      {"mxfp8", ""},
      {"mxfp8", "modelopt", [](QuantSpec& s) { s.direct = true; }},
      {"mxfp8", "mxfp8", [](QuantSpec& s) { s.scale_name = ScaleName::kWeightScaleInv; }},
  };
  return kCases;
}

TEST(Execute, EverySchemeShapeAndDType) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    TempDir dir;
    const Checkpoint source = shapes_model(dtype, test::Specials::kFinite).open(dir / "source");
    int number = 0;
    for (const Case& c : cases()) {
      SCOPED_TRACE(fmt::format("{} {} case {}", dtype_name(dtype), c.scheme, number));
      QuantSpec spec = make_spec(c.scheme, c.format).value();
      c.change(spec);
      // FP32's largest numbers are infinite in BF16, which is an error; that has its own test.
      if (dtype == DType::kF32) spec.direct = true;
      ExecuteOptions options;
      options.threads = 2;
      options.isa = detect_isa();
      expect_naive(source, spec, options, dir / fmt::format("out{}", number++));
    }
  }
}

// Small windows cut tensors inside rows and scale regions; nothing but the speed may change.
TEST(Execute, WindowThreadsAndIsaDoNotChangeAByte) {
  TempDir dir;
  const Checkpoint source = shapes_model(DType::kBF16).open(dir / "source");
  int number = 0;
  for (const Case& c : cases()) {
    QuantSpec spec = make_spec(c.scheme, c.format).value();
    c.change(spec);
    const auto plan = make_plan(source, spec);
    ASSERT_TRUE(plan.ok());
    std::string first;
    for (const auto& [threads, window] :
         std::vector<std::pair<int, std::uint64_t>>{{1, 1u << 26}, {2, 1}, {3, 70'000}}) {
      for (int isa = 0; isa <= static_cast<int>(detect_isa()); ++isa) {
        ExecuteOptions options;
        options.threads = threads;
        options.isa = static_cast<Isa>(isa);
        options.window_bytes = window;
        const fs::path out = dir / fmt::format("out{}", number++);
        const auto summary = execute(source, *plan, out, options);
        ASSERT_TRUE(summary.ok()) << summary.error().message;
        const std::string bytes = test::read_file(out / "model.safetensors");
        if (first.empty()) first = bytes;
        EXPECT_EQ(bytes, first) << c.scheme << " threads " << threads << " window " << window << " isa " << isa;
        fs::remove_all(out);
      }
    }
  }
}

TEST(Execute, Fp32IsRoundedToBf16First) {
  TempDir dir;
  const Checkpoint source = shapes_model(DType::kF32).open(dir / "source");
  ExecuteOptions options;
  options.isa = detect_isa();
  expect_naive(source, make_spec("dynamic", "").value(), options, dir / "via");
  QuantSpec direct = make_spec("dynamic", "").value();
  direct.direct = true;
  expect_naive(source, direct, options, dir / "direct");
  EXPECT_NE(test::read_file(dir / "via/model.safetensors"), test::read_file(dir / "direct/model.safetensors"));
}

TEST(Execute, ShardsIndexAndOtherFiles) {
  TempDir dir;
  auto builder = test::tiny_model();
  builder.spread(3);
  builder.add_file("tokenizer.json", "{}");
  builder.add_file("pytorch_model.bin", "left behind");
  const Checkpoint source = builder.open(dir / "source");
  ExecuteOptions options;
  options.threads = 2;
  expect_naive(source, make_spec("tensor", "fp8").value(), options, dir / "out");
  EXPECT_EQ(test::read_file(dir / "out/tokenizer.json"), "{}");
  EXPECT_FALSE(fs::exists(dir / "out/pytorch_model.bin"));
  const Checkpoint out = Checkpoint::open(dir / "out").value();
  EXPECT_EQ(out.shards().size(), 3u);
  EXPECT_TRUE(out.unindexed().empty());
}

TEST(Execute, NonFiniteNamesTensorIndexAndShard) {
  for (const char* scheme : {"dynamic", "block", "tensor"}) {
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      TempDir dir;
      CheckpointBuilder builder;
      auto bits = test::random_bf16(300 * 200, 5);
      bits[150 * 200 + 7] = fp8::float_to_bf16(bad);
      bits[299 * 200 + 199] = fp8::float_to_bf16(bad);
      builder.add_bf16("model.layers.0.up.weight", {300, 200}, bits);
      const Checkpoint source = builder.open(dir / "source");
      QuantSpec spec = make_spec(scheme, "").value();
      ExecuteOptions options;
      options.threads = 3;
      options.window_bytes = 300'000;  // several pieces: the first bad value must win whatever the threads do
      const auto result = execute(source, make_plan(source, spec).value(), dir / "out", options);
      ASSERT_FALSE(result.ok());
      const std::string& message = result.error().message;
      EXPECT_NE(message.find("\"model.layers.0.up.weight\" in model.safetensors"), std::string::npos) << message;
      EXPECT_NE(message.find(std::isnan(bad) ? "NaN at [150, 7]" : "infinity at [150, 7]"), std::string::npos)
          << message;
      EXPECT_FALSE(fs::exists(dir / "out"));
      EXPECT_TRUE(fs::exists(dir / "out.partial"));  // to be gone on with, for instance so:

      spec.nonfinite = NonFinite::kZero;
      const auto zeroed = execute(source, make_plan(source, spec).value(), dir / "out", options);
      ASSERT_TRUE(zeroed.ok());
      EXPECT_EQ(zeroed->zeroed, 2u);
    }
  }
}

TEST(Execute, Fp32BeyondBf16IsAnErrorThatSaysSo) {
  TempDir dir;
  CheckpointBuilder builder;
  const std::vector<float> values = {1.0f, std::numeric_limits<float>::max()};
  builder.add_f32("model.layers.0.up.weight", {1, 2}, values);
  const Checkpoint source = builder.open(dir / "source");
  QuantSpec spec = make_spec("dynamic", "").value();
  const auto result = execute(source, make_plan(source, spec).value(), dir / "out", {});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("after rounding to BF16; --direct"), std::string::npos);
  spec.direct = true;
  EXPECT_TRUE(execute(source, make_plan(source, spec).value(), dir / "direct", {}).ok());
}

TEST(Schedule, UnitsCoverEveryElementOnceInOrder) {
  TempDir dir;
  const Checkpoint source = shapes_model(DType::kBF16).open(dir / "source");
  for (const Case& c : cases()) {
    QuantSpec spec = make_spec(c.scheme, c.format).value();
    c.change(spec);
    const Plan plan = make_plan(source, spec).value();
    for (const std::uint64_t bytes : {2ull, 3ull, 64ull, 1001ull, 40'000ull, 1ull << 30}) {
      const std::uint64_t largest = bytes * 3;
      const Schedule schedule = make_schedule(source, plan, bytes, largest);
      std::vector<std::uint64_t> encoded(plan.tensors.size()), measured(plan.tensors.size()), shared(measured);
      std::vector<std::vector<Extent>> waiting(schedule.regions);
      std::vector<std::uint32_t> begun(schedule.regions);
      for (const Unit& unit : schedule.units) {
        const CheckpointTensor& tensor = source.tensors()[plan.tensors[unit.tensor].source];
        const bool copy = unit.pass == Pass::kCopy;
        const std::uint64_t elements = unit.extent.count(), width = copy ? 1 : dtype_bytes(tensor.dtype);
        EXPECT_GT(elements, 0u);
        EXPECT_LE(elements * width, std::max<std::uint64_t>(largest, dtype_bytes(tensor.dtype)));
        if (copy) {  // cut between elements
          EXPECT_EQ(unit.extent.row_begin % dtype_bytes(tensor.dtype), 0u);
          EXPECT_EQ(unit.extent.row_end % dtype_bytes(tensor.dtype), 0u);
        }
        if (unit.pass == Pass::kEncode) {
          const WeightEncoding& e = *plan.tensors[unit.tensor].encoding;
          EXPECT_EQ(unit.extent.row_begin % e.block_n, 0u);
          EXPECT_EQ(unit.extent.col_begin % e.block_k, 0u);
          EXPECT_TRUE(unit.extent.row_end % e.block_n == 0 || unit.extent.row_end == tensor.shape[0]);
          EXPECT_TRUE(unit.extent.col_end % e.block_k == 0 || unit.extent.col_end == tensor.shape[1]);
        }
        if (unit.pass == Pass::kAmax) {
          measured[unit.tensor] += elements;
          EXPECT_EQ(begun[unit.region], 0u);  // nobody may wait for a unit that has not been claimed yet
          waiting[unit.region].push_back(unit.extent);
        } else {
          encoded[unit.tensor] += elements;
        }
        if (unit.pass == Pass::kEncodeShared) {
          shared[unit.tensor] += elements;  // the same extents in the same order
          ASSERT_LT(begun[unit.region], waiting[unit.region].size());
          const Extent& first = waiting[unit.region][begun[unit.region]++];
          EXPECT_EQ(first.row_begin, unit.extent.row_begin);
          EXPECT_EQ(first.col_begin, unit.extent.col_begin);
          EXPECT_EQ(first.count(), unit.extent.count());
        }
      }
      for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
        const CheckpointTensor& tensor = source.tensors()[plan.tensors[i].source];
        EXPECT_EQ(encoded[i], plan.tensors[i].encodes() ? *element_count(tensor.shape) : tensor.bytes) << tensor.name;
        EXPECT_EQ(measured[i], shared[i]) << tensor.name;
      }
    }
  }
}

TEST(Schedule, RegionsAreCutWholeAndFitTheLimitWhereOneDoes) {
  for (const auto& [rows, cols, block_n, block_k] : std::vector<std::array<std::uint64_t, 4>>{
           {300, 500, 128, 128}, {1, 1, 1, 1}, {7, 1000, 1, 1000}, {64, 64, 64, 64}}) {
    for (const std::uint64_t limit : {1ull, 100ull, 5'000ull, 20'000ull, 70'000ull, 1ull << 30}) {
      for (const std::uint64_t target : {1ull, 50ull, 16'384ull}) {
        std::uint64_t covered = 0;
        const auto parts = cut_regions({0, rows, 0, cols}, block_n, block_k, std::min(target, limit), limit);
        for (const Extent& part : parts) {
          covered += part.count();
          EXPECT_EQ(part.row_begin % block_n, 0u);
          EXPECT_EQ(part.col_begin % block_k, 0u);
          const bool one = part.rows() <= block_n && part.cols() <= block_k;
          EXPECT_TRUE(part.count() <= limit || one) << part.rows() << " x " << part.cols() << " of " << limit;
        }
        EXPECT_EQ(covered, rows * cols);
      }
    }
  }
}

TEST(Dequantize, IsNearestEvenOfCodeTimesScale) {
  for (const Case& c : cases()) {
    TempDir dir;
    const Checkpoint source = shapes_model(DType::kBF16).open(dir / "source");
    QuantSpec spec = make_spec(c.scheme, c.format).value();
    c.change(spec);
    if (spec.scheme.granularity == Granularity::kGroup) continue;  // no written format has it yet
    ASSERT_TRUE(execute(source, make_plan(source, spec).value(), dir / "fp8", {}).ok());
    const Checkpoint fp8 = Checkpoint::open(dir / "fp8").value();
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
      DequantizeOptions options;
      options.dtype = dtype;
      options.threads = 2;
      const fs::path out = dir / fmt::format("back-{}", dtype_name(dtype));
      const auto summary = dequantize(fp8, out, options);
      ASSERT_TRUE(summary.ok()) << summary.error().message;
      const Checkpoint back = Checkpoint::open(out).value();
      EXPECT_FALSE(back.config().contains("quantization_config"));
      EXPECT_EQ(back.tensors().size(), source.tensors().size());
      const Plan plan = make_plan(source, spec).value();
      for (const PlannedTensor& planned : plan.tensors) {
        const CheckpointTensor& original = source.tensors()[planned.source];
        const CheckpointTensor& tensor = *back.find(original.name);
        if (!planned.encodes()) {
          EXPECT_EQ(read_all(back, tensor), read_all(source, original));
          continue;
        }
        ASSERT_EQ(tensor.dtype, dtype);
        const auto codes = read_all(fp8, *fp8.find(original.name));
        const auto scales = fp8.read_scales(*fp8.find(plan.outputs[*planned.scale].name), 1u << 30).value();
        const auto values = floats(back, tensor, false);
        const WeightEncoding& e = *planned.encoding;
        const std::uint64_t k = original.shape[1], columns = (k - 1) / e.block_k + 1;
        for (std::size_t i = 0; i < values.size(); ++i) {
          const float scale = scales[i / k / e.block_n * columns + i % k / e.block_k];
          const float exact = fp8::decode(e.format, std::to_integer<std::uint8_t>(codes[i])) * scale;
          const float want = dtype == DType::kF32 ? exact : fp8::bf16_to_float(fp8::float_to_bf16(exact));
          ASSERT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(want)) << original.name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace octavo::quant
