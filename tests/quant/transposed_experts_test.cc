// Experts that lie transposed in one 3-D tensor become, byte for byte, what the same experts become that are stored one
// by one: for every scheme, dtype and size of memory, in parts, after a stop, and from FP8.
#include <gtest/gtest.h>

#include <cstring>

#include "octavo/quant/execute.h"
#include "octavo/quant/plan.h"
#include "octavo/quant/schedule.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/random_tensor.h"
#include "tests/support/temp_dir.h"

namespace octavo::quant {
namespace {

namespace fs = std::filesystem;
using test::BuiltTensor;
using test::CheckpointBuilder;
using test::TempDir;
using test::TinyModel;

constexpr std::uint64_t kExperts = 3;

// A model as Qwen3-VL-MoE and Llama 4 are: its sizes one level down in config.json.
TinyModel model_of(std::uint64_t hidden = 256, std::uint64_t intermediate = 384, DType dtype = DType::kBF16) {
  TinyModel model;
  model.hidden = hidden;
  model.intermediate = intermediate;
  model.dtype = dtype;
  model.model_type = "qwen3_vl_moe";
  model.experts = kExperts;
  return model;
}

CheckpointBuilder one_by_one(const TinyModel& model) {
  CheckpointBuilder builder = test::tiny_model(model);
  builder.config()["text_config"] = {{"hidden_size", model.hidden}, {"model_type", "qwen3_vl_moe_text"}};
  builder.config().erase("hidden_size");
  return builder;
}

// [rows, cols] -> [cols, rows]
std::vector<std::byte> turned(const std::vector<std::byte>& in, std::uint64_t rows, std::uint64_t cols) {
  std::vector<std::byte> out(in.size());
  const std::size_t width = in.size() / (rows * cols);
  for (std::uint64_t r = 0; r < rows; ++r) {
    for (std::uint64_t c = 0; c < cols; ++c) {
      std::memcpy(out.data() + (c * rows + r) * width, in.data() + (r * cols + c) * width, width);
    }
  }
  return out;
}

// The experts' tensors named "...N.LEAF<end>" of a layer joined to gate_up_proj<end> [experts, in, 2 x out] and
// down_proj<end> [experts, in, out].
void join(CheckpointBuilder& builder, int layer, const std::string& end, const std::string& joined_end) {
  const std::string prefix = fmt::format("model.layers.{}.mlp.experts.", layer);
  std::vector<std::byte> gate_up, down;
  Shape gate_shape, down_shape;
  DType dtype = DType::kBF16;
  const auto take = [&](std::uint64_t expert, const char* leaf) {
    const std::string name = fmt::format("{}{}.{}{}", prefix, expert, leaf, end);
    BuiltTensor tensor = builder.at(name);
    builder.remove(name);
    return tensor;
  };
  for (std::uint64_t e = 0; e < kExperts; ++e) {
    BuiltTensor gate = take(e, "gate_proj");
    const BuiltTensor up = take(e, "up_proj"), low = take(e, "down_proj");
    gate_shape = gate.shape, down_shape = low.shape, dtype = low.dtype;
    gate.bytes.insert(gate.bytes.end(), up.bytes.begin(), up.bytes.end());  // [2 x out, in]
    const auto both = turned(gate.bytes, 2 * gate.shape[0], gate.shape[1]);
    const auto one = turned(low.bytes, low.shape[0], low.shape[1]);
    gate_up.insert(gate_up.end(), both.begin(), both.end());
    down.insert(down.end(), one.begin(), one.end());
  }
  builder.add(prefix + "gate_up_proj" + joined_end, dtype, {kExperts, gate_shape[1], 2 * gate_shape[0]}, gate_up);
  builder.add(prefix + "down_proj" + joined_end, dtype, {kExperts, down_shape[1], down_shape[0]}, down);
}

CheckpointBuilder transposed(const TinyModel& model) {
  CheckpointBuilder builder = one_by_one(model);
  for (int layer = 0; layer < 2; ++layer) join(builder, layer, ".weight", "");
  return builder;
}

Checkpoint open_split(const CheckpointBuilder& builder, const fs::path& dir) {
  Checkpoint checkpoint = builder.open(dir);
  checkpoint.split_experts();
  return checkpoint;
}

std::vector<std::byte> bytes_of(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes);
  EXPECT_TRUE(checkpoint.read(tensor, 0, bytes).ok());
  return bytes;
}

void expect_same(const Checkpoint& left, const Checkpoint& right) {
  ASSERT_EQ(left.tensors().size(), right.tensors().size());
  for (const CheckpointTensor& tensor : left.tensors()) {
    const CheckpointTensor* other = right.find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(tensor.dtype, other->dtype) << tensor.name;
    EXPECT_EQ(tensor.shape, other->shape) << tensor.name;
    EXPECT_EQ(bytes_of(left, tensor), bytes_of(right, *other)) << tensor.name;
  }
}

void expect_same(const fs::path& left, const fs::path& right) {
  expect_same(Checkpoint::open(left).value(), Checkpoint::open(right).value());
}

QuantSpec spec_of(const char* scheme, const char* format = "") {
  QuantSpec spec = make_spec(scheme, format).value();
  if (spec.format == OutputFormat::kMxfp8) spec.scale_name = ScaleName::kWeightScale;
  return spec;
}

TEST(TransposedExperts, AreThoseStoredOneByOne) {
  const TempDir dir;
  const TinyModel model = model_of();
  const Checkpoint plain = one_by_one(model).open(dir / "plain");
  const Checkpoint source = open_split(transposed(model), dir / "joined");
  expect_same(plain, source);
  EXPECT_EQ(source.split_tensors().size(), 4u);
  EXPECT_EQ(source.why_joined("model.layers.0.mlp.experts.gate_up_proj"), "");
}

// Any range and rectangle, against the whole tensor as the other layout has it.
TEST(TransposedExperts, AnyPieceOfThem) {
  const TempDir dir;
  test::Random random(7);
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    const TinyModel model = model_of(192, 77, dtype);
    const Checkpoint plain = one_by_one(model).open(dir / fmt::format("plain-{}", dtype_name(dtype)));
    const Checkpoint source = open_split(transposed(model), dir / fmt::format("joined-{}", dtype_name(dtype)));
    for (const char* leaf : {"gate_proj", "up_proj", "down_proj"}) {
      const std::string name = fmt::format("model.layers.1.mlp.experts.2.{}.weight", leaf);
      const CheckpointTensor &whole = *plain.find(name), &tensor = *source.find(name);
      const auto expected = bytes_of(plain, whole);
      const std::uint64_t width = dtype_bytes(dtype), rows = tensor.shape[0], cols = tensor.shape[1];
      for (int i = 0; i < 60; ++i) {
        const std::uint64_t begin = random.below(rows * cols), count = 1 + random.below(rows * cols - begin);
        std::vector<std::byte> range(count * width);
        ASSERT_TRUE(source.read(tensor, begin * width, range).ok());
        EXPECT_EQ(std::memcmp(range.data(), expected.data() + begin * width, range.size()), 0) << begin << "+" << count;
        const std::uint64_t r0 = random.below(rows), r1 = r0 + 1 + random.below(rows - r0);
        const std::uint64_t c0 = random.below(cols), c1 = c0 + 1 + random.below(cols - c0);
        std::vector<std::byte> a((r1 - r0) * (c1 - c0) * width), b(a.size());
        ASSERT_TRUE(source.read_rectangle(tensor, {r0, r1, c0, c1}, a).ok());
        ASSERT_TRUE(plain.read_rectangle(whole, {r0, r1, c0, c1}, b).ok());
        EXPECT_EQ(a, b) << fmt::format("[{}, {}) x [{}, {})", r0, r1, c0, c1);
        EXPECT_EQ(std::memcmp(b.data(), expected.data() + (r0 * cols + c0) * width, (c1 - c0) * width), 0);
      }
      std::vector<std::byte> odd(width + 1), beyond(width);
      EXPECT_FALSE(source.read(tensor, 0, odd).ok());
      EXPECT_FALSE(source.read(tensor, tensor.bytes, beyond).ok());
    }
  }
}

TEST(TransposedExperts, EverySchemeShapeAndDType) {
  const TempDir dir;
  int number = 0;
  for (const auto& [hidden, intermediate] :
       {std::pair(256, 384), std::pair(160, 77), std::pair(129, 127), std::pair(128, 1), std::pair(64, 64)}) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      if (hidden != 160 && dtype != DType::kBF16) continue;
      const TinyModel model =
          model_of(static_cast<std::uint64_t>(hidden), static_cast<std::uint64_t>(intermediate), dtype);
      const fs::path here = dir / fmt::format("{}", number++);
      const Checkpoint plain = one_by_one(model).open(here / "plain");
      const Checkpoint source = open_split(transposed(model), here / "joined");
      ASSERT_FALSE(source.split_tensors().empty());
      for (const auto& [scheme, format] : {std::pair("dynamic", ""),
                                           {"dynamic", "modelopt"},
                                           {"block", ""},
                                           {"block", "compressed-tensors"},
                                           {"tensor", ""},
                                           {"tensor", "fp8"},
                                           {"weight-only", ""},
                                           {"mxfp8", ""},
                                           {"mxfp8", "mxfp8"}}) {
        SCOPED_TRACE(fmt::format("{} {} {}x{} {}", scheme, format, hidden, intermediate, dtype_name(dtype)));
        const QuantSpec spec = spec_of(scheme, format);
        const fs::path a = here / fmt::format("a-{}-{}", scheme, format),
                       b = here / fmt::format("b-{}-{}", scheme, format);
        const Plan plan = make_plan(source, spec).value();
        for (const std::string& warning : plan.warnings) EXPECT_EQ(warning.find("3-D"), std::string::npos) << warning;
        ASSERT_TRUE(execute(plain, make_plan(plain, spec).value(), a, {}).ok());
        ASSERT_TRUE(execute(source, plan, b, {}).ok());
        expect_same(a, b);
        if (HasFailure()) return;
      }
    }
  }
}

// Small windows cut regions into parts and tiles, and single regions are read twice.
TEST(TransposedExperts, WindowAndThreadsDoNotChangeAByte) {
  const TempDir dir;
  const TinyModel model = model_of(640, 200);
  const Checkpoint plain = one_by_one(model).open(dir / "plain");
  const Checkpoint source = open_split(transposed(model), dir / "joined");
  for (const char* scheme : {"dynamic", "block", "tensor"}) {
    const QuantSpec spec = spec_of(scheme);
    const fs::path expected = dir / fmt::format("plain-{}", scheme);
    ASSERT_TRUE(execute(plain, make_plan(plain, spec).value(), expected, {}).ok());
    for (const std::uint64_t window : {1ull, 100ull << 10, 1ull << 20, 64ull << 20}) {
      for (const int threads : {1, 3}) {
        SCOPED_TRACE(fmt::format("{} window {} threads {}", scheme, window, threads));
        const fs::path out = dir / fmt::format("{}-{}-{}", scheme, window, threads);
        ExecuteOptions options;
        options.window_bytes = window;
        options.threads = threads;
        options.sqnr = threads == 3;
        ASSERT_TRUE(execute(source, make_plan(source, spec).value(), out, options).ok());
        expect_same(expected, out);
        if (HasFailure()) return;
      }
    }
  }
}

// What is kept is written as loaders read it, whole rows at a time and in ranges.
TEST(TransposedExperts, KeptOnesAreTurnedToo) {
  const TempDir dir;
  const TinyModel model = model_of();
  const Checkpoint plain = one_by_one(model).open(dir / "plain");
  const Checkpoint source = open_split(transposed(model), dir / "joined");
  QuantSpec spec = spec_of("block");
  spec.keep_first = 1;
  ASSERT_TRUE(execute(plain, make_plan(plain, spec).value(), dir / "a", {}).ok());
  ExecuteOptions small;
  small.window_bytes = 1;
  ASSERT_TRUE(execute(source, make_plan(source, spec).value(), dir / "b", small).ok());
  expect_same(dir / "a", dir / "b");
}

// Every tensor is covered once, and with as many rows as make its stretches worth reading.
TEST(TransposedExperts, UnitsAreWholeRowsAndCoverEveryElementOnce) {
  const TempDir dir;
  const Checkpoint source = open_split(transposed(model_of(1024, 1100)), dir / "joined");
  for (const char* scheme : {"dynamic", "block", "tensor"}) {
    const Plan plan = make_plan(source, spec_of(scheme)).value();
    const Schedule schedule = make_schedule(source, plan, 4096);
    std::vector<std::uint64_t> elements(plan.tensors.size());
    for (const Unit& unit : schedule.units) {
      const CheckpointTensor& tensor = source.tensors()[plan.tensors[unit.tensor].source];
      if (unit.pass != Pass::kAmax) elements[unit.tensor] += unit.extent.count();
      if (tensor.pitch == 0 || unit.pass == Pass::kCopy) continue;
      EXPECT_EQ(unit.extent.cols(), tensor.shape[1]);
      EXPECT_GE(unit.extent.rows(), std::min<std::uint64_t>(tensor.shape[0] % 1024, 512)) << tensor.name;
    }
    for (std::size_t i = 0; i < elements.size(); ++i) {
      const CheckpointTensor& tensor = source.tensors()[plan.tensors[i].source];
      if (tensor.pitch == 0) continue;
      EXPECT_EQ(elements[i], tensor.shape[0] * tensor.shape[1]) << tensor.name;
    }
  }
  const Extent tall{0, 1000, 0, 5000};
  std::uint64_t count = 0;
  for (const Extent& part : cut_extent(tall, 2000, /*tiles=*/true)) {
    EXPECT_LE(part.count(), 2000u);
    EXPECT_GE(part.rows(), 40u);
    count += part.count();
  }
  EXPECT_EQ(count, tall.count());
}

// Stopped again and again, resumed each time: the same bytes as at one go.
TEST(TransposedExperts, StoppedAndResumed) {
  struct StopAfter final : ProgressSink {
    void advance(std::uint64_t bytes, std::string_view) override {
      if ((done += bytes) > limit) stop = 1;
    }
    void skip(std::uint64_t) override {}
    std::uint64_t limit = 400'000;
    std::atomic<std::uint64_t> done = 0;
    std::atomic<int> stop = 0;
  };
  const TempDir dir;
  const TinyModel model = model_of(512, 520);
  const Checkpoint plain = one_by_one(model).open(dir / "plain");
  const Checkpoint source = open_split(transposed(model), dir / "joined");
  for (const char* scheme : {"dynamic", "tensor"}) {
    const QuantSpec spec = spec_of(scheme);
    ASSERT_TRUE(execute(plain, make_plan(plain, spec).value(), dir / fmt::format("a-{}", scheme), {}).ok());
    const fs::path out = dir / fmt::format("b-{}", scheme);
    const Plan plan = make_plan(source, spec).value();
    int stops = 0;
    for (bool whole = false; !whole; ++stops) {
      ASSERT_LT(stops, 200);
      StopAfter progress;
      ExecuteOptions options;
      options.window_bytes = 1 << 20;
      options.progress = &progress;
      JobOptions job;
      job.stop = &progress.stop;
      const auto summary = execute(source, plan, out, options, job);
      whole = summary.ok();
      ASSERT_TRUE(whole || summary.error().kind == ErrorKind::kInterrupted) << summary.error().message;
      EXPECT_EQ(fs::exists(out), whole);
    }
    EXPECT_GT(stops, 3);
    expect_same(dir / fmt::format("a-{}", scheme), out);
  }
}

TEST(TransposedExperts, NonFiniteIsNamedByItsPlaceInTheLinear) {
  const TempDir dir;
  CheckpointBuilder builder = transposed(model_of());
  BuiltTensor& down = builder.at("model.layers.1.mlp.experts.down_proj");  // [3, 384, 256]
  const std::size_t at = ((2 * 384 + 5) * 256 + 9) * 2;                    // of expert 2: in 5, out 9
  down.bytes[at] = std::byte{0xC0}, down.bytes[at + 1] = std::byte{0x7F};
  const Checkpoint source = open_split(builder, dir / "joined");
  for (const char* scheme : {"dynamic", "tensor"}) {
    const auto done = execute(source, make_plan(source, spec_of(scheme)).value(), dir / scheme, {});
    ASSERT_FALSE(done.ok());
    EXPECT_NE(done.error().message.find("experts.2.down_proj.weight\" in model.safetensors: NaN at [9, 5]"),
              std::string::npos)
        << done.error().message;
  }
}

// FP8 in blocks, per output and per expert, as published files have them, to other schemes and dialects.
TEST(TransposedExperts, Fp8OnesAreConverted) {
  const TempDir dir;
  const TinyModel model = model_of();
  const Checkpoint plain = one_by_one(model).open(dir / "plain");
  for (const auto& [scheme, end, joined_end] :
       {std::tuple("block", ".weight_scale_inv", "_scale_inv"), std::tuple("dynamic", ".weight_scale", "_scale")}) {
    const fs::path one = dir / fmt::format("fp8-{}", scheme);
    ASSERT_TRUE(execute(plain, make_plan(plain, spec_of(scheme)).value(), one, {}).ok());
    const Checkpoint fp8 = Checkpoint::open(one).value();
    CheckpointBuilder builder;
    builder.config() = fp8.config();
    for (const CheckpointTensor& t : fp8.tensors()) builder.add(t.name, t.dtype, t.shape, bytes_of(fp8, t));
    for (int layer = 0; layer < 2; ++layer) {
      join(builder, layer, ".weight", "");
      join(builder, layer, end, joined_end);
    }
    const Checkpoint joined = open_split(builder, dir / fmt::format("joined-{}", scheme));
    expect_same(fp8, joined);
    for (const char* to : {"block", "dynamic", "tensor"}) {
      for (const char* format : {"", "compressed-tensors", "modelopt", "fp8"}) {
        if (!make_spec(to, format).ok() || !check_spec(make_spec(to, format).value()).ok()) continue;
        SCOPED_TRACE(fmt::format("{} to {} {}", scheme, to, format));
        const QuantSpec spec = spec_of(to, format);
        const auto left = make_convert_plan(fp8, spec), right = make_convert_plan(joined, spec);
        ASSERT_TRUE(left.ok()) << left.error().message;
        ASSERT_TRUE(right.ok()) << right.error().message;
        EXPECT_EQ(left->relabelled, right->relabelled);
        ExecuteOptions options;
        options.window_bytes = 300 << 10;
        const fs::path a = dir / fmt::format("{}-{}-{}-a", scheme, to, format),
                       b = dir / fmt::format("{}-{}-{}-b", scheme, to, format);
        ASSERT_TRUE(execute(fp8, *left, a, options).ok());
        ASSERT_TRUE(execute(joined, *right, b, options).ok());
        expect_same(a, b);
      }
    }
  }
}

// ModelOpt's Llama 4: one scale for all experts of a layer, and one of their inputs.
TEST(TransposedExperts, OneScaleForAllExperts) {
  const TempDir dir;
  CheckpointBuilder builder = transposed(model_of());
  builder.config()["quantization_config"] = {
      {"quant_method", "modelopt"}, {"quant_algo", "FP8"}, {"ignore", {"*attn*", "*gate"}}};
  for (int layer = 0; layer < 2; ++layer) {
    for (const char* leaf : {"gate_up_proj", "down_proj"}) {
      const std::string name = fmt::format("model.layers.{}.mlp.experts.{}", layer, leaf);
      BuiltTensor& tensor = builder.at(name);
      tensor.dtype = DType::kF8E4M3;
      tensor.bytes.resize(tensor.bytes.size() / 2);
      for (std::byte& code : tensor.bytes) code &= std::byte{0x77};  // no NaN
      builder.add_f32(name + "_weight_scale", {}, std::vector<float>{0.25f});
      builder.add_f32(name + "_input_scale", {}, std::vector<float>{leaf[0] == 'g' ? 2.0f : 3.0f});
    }
  }
  const Checkpoint source = open_split(builder, dir / "modelopt");
  for (const char* leaf : {"gate_proj", "up_proj", "down_proj"}) {
    const std::string module = fmt::format("model.layers.1.mlp.experts.2.{}", leaf);
    ASSERT_NE(source.find(module + ".weight_scale"), nullptr);
    EXPECT_EQ(source.read_scales(*source.find(module + ".weight_scale"), 64).value(), std::vector<float>{0.25f});
    EXPECT_EQ(source.read_scales(*source.find(module + ".input_scale"), 64).value()[0], leaf[0] == 'd' ? 3.0f : 2.0f);
  }
  const auto plan = make_convert_plan(source, spec_of("static", "compressed-tensors"));
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(plan->relabelled, 2 * 3 * kExperts);
  ASSERT_TRUE(execute(source, *plan, dir / "out", {}).ok());
  const Checkpoint out = Checkpoint::open(dir / "out").value();
  const std::string up = "model.layers.0.mlp.experts.1.up_proj.weight";
  EXPECT_EQ(bytes_of(out, *out.find(up)), bytes_of(source, *source.find(up)));
}

// Which are split, and what is said of the others.
TEST(TransposedExperts, OnlyWhereGateAndUpAreKnownToBeHalves) {
  const TempDir dir;
  int number = 0;
  const auto why = [&](const CheckpointBuilder& builder) {
    const Checkpoint checkpoint = open_split(builder, dir / fmt::format("{}", number++));
    const bool split = checkpoint.find("model.layers.0.mlp.experts.0.up_proj.weight") != nullptr;
    const std::string reason(checkpoint.why_joined("model.layers.0.mlp.experts.gate_up_proj"));
    EXPECT_EQ(split, reason.empty()) << reason;
    if (!split) {
      const Plan plan = make_plan(checkpoint, spec_of("dynamic")).value();
      EXPECT_TRUE(std::any_of(plan.warnings.begin(), plan.warnings.end(),
                              [&](const std::string& warning) { return warning.find(reason) != std::string::npos; }));
    }
    return reason;
  };
  const auto holds = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  const TinyModel model = model_of();
  EXPECT_EQ(why(transposed(model)), "");
  CheckpointBuilder llama = transposed(model);
  llama.config()["model_type"] = "llama4_text";
  llama.config()["hidden_size"] = model.hidden;
  llama.config().erase("text_config");
  EXPECT_EQ(why(llama), "");
  CheckpointBuilder stranger = llama;
  stranger.config()["model_type"] = "stranger";
  EXPECT_TRUE(holds(why(stranger), "model_type \"stranger\""));
  CheckpointBuilder oss = llama;
  oss.config()["model_type"] = "gpt_oss";
  for (const char* layer : {"0", "1"}) {
    const std::string prefix = fmt::format("model.layers.{}.mlp.experts.", layer);
    oss.add_random(prefix + "gate_up_proj_bias", DType::kBF16, {kExperts, 2 * model.intermediate}, 1);
    oss.add_random(prefix + "down_proj_bias", DType::kBF16, {kExperts, model.hidden}, 1);
  }
  EXPECT_TRUE(holds(why(oss), "gpt-oss alternate"));
  oss.config()["model_type"] = "llama4_text";
  EXPECT_TRUE(holds(why(oss), "biases"));
  CheckpointBuilder odd = transposed(model);
  odd.config()["text_config"]["hidden_size"] = 100;
  EXPECT_TRUE(holds(why(odd), "for a hidden_size of 100"));
}

// transformers' classes of these families have a parameter for all experts, and none for one.
TEST(TransposedExperts, TransformersIsSaidNotToLoadThem) {
  const TempDir dir;
  const Checkpoint source = open_split(transposed(model_of()), dir / "joined");
  const Plan plan = make_plan(source, spec_of("block")).value();
  const auto refuses = [&](Loader loader) {
    return std::any_of(plan.refused.begin(), plan.refused.end(),
                       [&](const LoaderRefusal& refusal) { return refusal.loader == loader; });
  };
  EXPECT_TRUE(refuses(Loader::kTransformers));
  EXPECT_FALSE(refuses(Loader::kVllm));
  EXPECT_FALSE(refuses(Loader::kSglang));
}

// By the name that they have in the file, with and without patterns.
TEST(TransposedExperts, AreNamedByTheirOwnNameToo) {
  const TempDir dir;
  const Checkpoint source = open_split(transposed(model_of()), dir / "joined");
  const auto kept = [&](const char* pattern) {
    QuantSpec spec = spec_of("dynamic");
    spec.ignore = {pattern};
    const Plan plan = make_plan(source, spec).value();
    for (const std::string& warning : plan.warnings) EXPECT_EQ(warning.find("nothing"), std::string::npos) << warning;
    std::size_t count = 0;
    for (const PlannedTensor& planned : plan.tensors) {
      count += planned.why == fmt::format("--ignore {}", pattern) ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(kept("model.layers.0.mlp.experts.gate_up_proj"), 2 * kExperts);
  EXPECT_EQ(kept("model.layers.0.mlp.experts.down_proj"), kExperts);
  EXPECT_EQ(kept("*.experts.gate_up_proj"), 2 * 2 * kExperts);
  EXPECT_EQ(kept("re:.*experts\\.(gate_up|down)_proj"), 2 * 3 * kExperts);
  EXPECT_EQ(kept("model.layers.0.mlp.experts.1.up_proj"), 1u);
  QuantSpec only = spec_of("dynamic");
  only.only = {"*.experts.down_proj"};
  EXPECT_EQ(make_plan(source, only)->quantized, 2 * kExperts);

  QuantSpec spec = spec_of("dynamic");
  spec.ignore = {"model.layers.0.mlp.experts.2.up_proj"};
  const Plan plan = make_plan(source, spec).value();
  const std::string text = explain(source, plan, "model.layers.0.mlp.experts.gate_up_proj").value();
  EXPECT_EQ(text,
            "model.layers.0.mlp.experts.gate_up_proj: BF16 [3, 256, 768], transposed, split into 6\n"
            "model.layers.0.mlp.experts.0.gate_proj.weight: BF16 [384, 256], the first of 3\n"
            "  quantized: linear of layer 0\n"
            "  becomes F8_E4M3 [384, 256] + weight_scale BF16 [384, 1]\n"
            "model.layers.0.mlp.experts.2.up_proj.weight: BF16 [384, 256], the first of 1\n"
            "  kept: --ignore model.layers.0.mlp.experts.2.up_proj\n"
            "model.layers.0.mlp.experts.0.up_proj.weight: BF16 [384, 256], the first of 2\n"
            "  quantized: linear of layer 0\n"
            "  becomes F8_E4M3 [384, 256] + weight_scale BF16 [384, 1]\n");
  const auto nothing = explain(source, plan, "model.layers.0.mlp.experts.gate_up_pro");
  ASSERT_FALSE(nothing.ok());
  EXPECT_TRUE(nothing.error().message.find("experts.gate_up_proj") != std::string::npos) << nothing.error().message;
}

bool mentions(const std::vector<std::string>& warnings, std::string_view text) {
  return std::any_of(warnings.begin(), warnings.end(),
                     [&](const std::string& w) { return w.find(text) != std::string::npos; });
}

// transformers makes linears of Llama 4's experts for compressed-tensors only; of Qwen3-VL-MoE's never. Whoever finds
// no experts is told so once, also where they stay in BF16.
TEST(TransposedExperts, WhatTransformersFinds) {
  const TempDir dir;
  const TinyModel model = model_of();
  int number = 0;
  for (const bool llama : {true, false}) {
    for (const auto& [scheme, format, ignored] : {std::tuple("dynamic", "compressed-tensors", false),
                                                  {"block", "compressed-tensors", false},
                                                  {"block", "fp8", false},
                                                  {"tensor", "fp8", false},
                                                  {"block", "fp8", true}}) {
      SCOPED_TRACE(fmt::format("{} {} {} {}", llama, scheme, format, ignored));
      CheckpointBuilder builder = transposed(model);
      builder.config()["model_type"] = llama ? "llama4" : "qwen3_vl_moe";
      const Checkpoint source = open_split(std::move(builder), dir / fmt::format("{}", number++));
      QuantSpec spec = spec_of(scheme, format);
      if (ignored) spec.ignore = {"re:.*experts"};
      const Plan plan = make_plan(source, spec).value();
      const bool found = llama && std::string_view(format) == "compressed-tensors";
      EXPECT_EQ(mentions(plan.warnings, "in one tensor only"), !found);
      EXPECT_FALSE(mentions(plan.warnings, "cannot dequantize experts"));
    }
  }
}

}  // namespace
}  // namespace octavo::quant
