// Checksums of the weights that serve are those of the tensors in the folder that `octavo quantize` makes, tensor by
// tensor: after loading and after updates, in every scheme.
#include <gtest/gtest.h>

#include "octavo/base/hash.h"
#include "octavo/quant/execute.h"
#include "octavo/quant/online.h"
#include "octavo/rollout/model_state.h"
#include "tests/engine/open_tiny.h"
#include "tests/rollout/update_support.h"

namespace octavo::rollout {
namespace {

namespace fs = std::filesystem;
using Sums = std::map<std::string, std::string>;

// Of the bytes in a folder.
Sums folder_sums(const fs::path& folder) {
  const Checkpoint checkpoint = Checkpoint::open(folder).value();
  Sums out;
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    std::vector<std::byte> bytes(t.bytes);
    EXPECT_TRUE(checkpoint.read(t, 0, bytes).ok());
    out[t.name] = ByteHash().add(bytes).hex();
  }
  return out;
}

fs::path quantized(const fs::path& folder, const quant::QuantSpec& spec, const fs::path& out) {
  const Checkpoint source = Checkpoint::open(folder).value();
  const auto plan = quant::make_plan(source, spec);
  EXPECT_TRUE(plan.ok()) << plan.error().message;
  quant::ExecuteOptions options;
  options.isa = detect_isa();
  const auto done = quant::execute(source, *plan, out, options);
  EXPECT_TRUE(done.ok()) << done.error().message;
  return out;
}

// A model that runs, with what its updates need.
struct Running {
  explicit Running(const fs::path& folder, const engine::RunnerOptions& options = {})
      : runner(test::open_model(folder, options)) {
    EXPECT_TRUE(shadow.allocate(*runner.model, *runner.backend).ok());
  }
  Sums sums() { return parameter_checksums(*runner.model, *runner.backend, 2).value(); }
  void update(const std::vector<test::BuiltTensor>& tensors, std::uint64_t most) {
    WeightUpdate update(*runner.model, *runner.backend, shadow, {.isa = detect_isa(), .threads = 2});
    const Status sent = test::send(update, tensors, most);
    ASSERT_TRUE(sent.ok()) << sent.error().message;
    const auto done = update.commit(*runner.model);
    ASSERT_TRUE(done.ok()) << done.error().message;
  }
  engine::Runner runner;
  ShadowWeights shadow;
};

engine::RunnerOptions online(std::string_view scheme, model::HeadMode head = model::HeadMode::kStored) {
  engine::RunnerOptions out;
  if (!scheme.empty()) out.load.quantize = quant::online_spec(scheme).value();
  out.load.head = head;
  return out;
}

class Checksums : public ::testing::Test {
 protected:
  // Two checkpoints of a shape: odd sizes, so that panels, blocks and pairs have edges.
  void make(test::TinyDecoder shape) {
    ++number_;
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      shape.seed = seed;
      test::CheckpointBuilder builder = test::tiny_chat_model(shape);
      folders[seed - 1] = builder.write(dir / fmt::format("{}-{}", number_, seed));
      tensors[seed - 1] = builder.tensors();
    }
  }
  fs::path fresh(std::size_t version, const quant::QuantSpec& spec) {
    return quantized(folders[version], spec, dir / fmt::format("q{}", ++number_));
  }
  struct Form {
    const char *scheme, *format;
    bool pow2 = false;
    std::optional<quant::ScaleName> scale_name = std::nullopt;
  };
  void folders_of(const std::vector<Form>& forms);

  test::TempDir dir;
  fs::path folders[2];
  std::vector<test::BuiltTensor> tensors[2];

 private:
  int number_ = 0;
};

constexpr test::TinyDecoder kOdd{
    .model_type = "qwen2", .layers = 1, .hidden = 200, .intermediate = 330, .heads = 5, .kv_heads = 1, .head_dim = 40};

TEST_F(Checksums, OnlineSchemes) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    test::TinyDecoder shape = kOdd;
    shape.dtype = dtype;
    make(shape);
    for (const char* scheme : {"", "fp8", "fp8_channel", "fp8_block"}) {
      SCOPED_TRACE(fmt::format("{} {}", dtype_name(dtype), scheme));
      Sums wanted[2];
      for (std::size_t v = 0; v < 2; ++v) {
        wanted[v] = folder_sums(*scheme == 0 ? folders[v] : fresh(v, quant::online_spec(scheme).value()));
        // What is not FP8 runs in BF16, whatever it was.
        for (const test::BuiltTensor& t : tensors[v]) {
          if (t.dtype == DType::kF32 && t.shape.size() == 2 && (*scheme == 0 || t.name.find("layers") == t.name.npos)) {
            std::vector<std::uint16_t> rounded;
            for (std::size_t i = 0; i < t.bytes.size(); i += 4) {
              float value = 0;
              std::memcpy(&value, &t.bytes[i], 4);
              rounded.push_back(fp8::float_to_bf16(value));
            }
            wanted[v][t.name] = ByteHash().add(std::as_bytes(std::span(rounded))).hex();
          }
        }
      }
      Running running(folders[0], online(scheme));
      EXPECT_EQ(running.sums(), wanted[0]);
      running.update(tensors[1], 3000);
      EXPECT_EQ(running.sums(), wanted[1]);
      running.update(tensors[0], 0);
      EXPECT_EQ(running.sums(), wanted[0]);
      ASSERT_NE(wanted[0], wanted[1]);
    }
  }
}

// --lm-head fp8 is the head of `octavo quantize --scheme dynamic --lm-head`.
TEST_F(Checksums, AnFp8Head) {
  for (const bool tied : {false, true}) {
    test::TinyDecoder shape = kOdd;
    shape.tied = tied;
    make(shape);
    quant::QuantSpec with_head = quant::make_spec("dynamic", "").value();
    with_head.lm_head = true;
    for (const char* scheme : {"fp8", "fp8_block"}) {
      SCOPED_TRACE(fmt::format("{} tied {}", scheme, tied));
      Running running(folders[0], online(scheme, model::HeadMode::kFp8));
      running.update(tensors[1], 3000);
      Sums sums = running.sums();
      ASSERT_TRUE(sums.contains("lm_head.weight_scale"));
      if (!tied) {
        const Sums head = folder_sums(fresh(1, with_head));
        EXPECT_EQ(sums["lm_head.weight"], head.at("lm_head.weight"));
        EXPECT_EQ(sums["lm_head.weight_scale"], head.at("lm_head.weight_scale"));
      }
      Sums rest = folder_sums(fresh(1, quant::online_spec(scheme).value()));
      for (Sums* each : {&sums, &rest}) {
        each->erase("lm_head.weight");
        each->erase("lm_head.weight_scale");
      }
      EXPECT_EQ(sums, rest);
    }
  }
}

// Folders of every scheme and format: of values that are sent, and of codes with scales.
void Checksums::folders_of(const std::vector<Form>& forms) {
  make({.layers = 1, .hidden = 192, .intermediate = 320, .heads = 6, .kv_heads = 2, .head_dim = 32});
  for (const Form& form : forms) {
    SCOPED_TRACE(fmt::format("{} {} pow2 {}", form.scheme, form.format, form.pow2));
    quant::QuantSpec spec = quant::make_spec(form.scheme, form.format).value();
    spec.pow2_scales = form.pow2;
    spec.scale_name = form.scale_name;
    ASSERT_TRUE(quant::check_spec(spec).ok()) << quant::check_spec(spec).error().message;
    const fs::path old_folder = fresh(0, spec), new_folder = fresh(1, spec);
    const Sums wanted = folder_sums(new_folder);
    Running values(old_folder), codes(old_folder);
    EXPECT_EQ(values.sums(), folder_sums(old_folder));
    values.update(tensors[1], 3000);
    EXPECT_EQ(values.sums(), wanted);
    codes.update(test::tensors_of(new_folder), 3000);
    EXPECT_EQ(codes.sums(), wanted);
    EXPECT_EQ(Running(new_folder).sums(), wanted);
  }
}

TEST_F(Checksums, FoldersPerTensorAndChannel) {
  folders_of({{"tensor", "compressed-tensors"},
              {"tensor", "fp8"},
              {"dynamic", "compressed-tensors"},
              {"dynamic", "modelopt"},
              {"weight-only", "compressed-tensors"}});
}
TEST_F(Checksums, FoldersOfBlocks) {
  folders_of({{"block", "fp8"}, {"block", "fp8", true}, {"block", "compressed-tensors"}, {"block", "modelopt"}});
}
TEST_F(Checksums, FoldersOfGroups) {
  folders_of({{"mxfp8", "compressed-tensors"},
              {"mxfp8", "modelopt"},
              {"mxfp8", "mxfp8", false, quant::ScaleName::kWeightScale},
              {"mxfp8", "mxfp8", false, quant::ScaleName::kWeightScaleInv}});
}

// One code, one scale, one bit of a norm: another checksum, of that tensor alone.
TEST_F(Checksums, SeeOneBit) {
  make({.layers = 1});
  const quant::QuantSpec spec = quant::make_spec("block", "").value();
  const fs::path folder = fresh(0, spec);
  Running running(folder);
  const Sums before = running.sums();
  for (const test::BuiltTensor& changed : test::tensors_of(folder)) {
    auto sent = test::tensors_of(folder);
    test::BuiltTensor& t =
        *std::find_if(sent.begin(), sent.end(), [&](const auto& other) { return other.name == changed.name; });
    t.bytes[t.bytes.size() / 2] ^= std::byte{1};
    running.update(sent, 0);
    Sums after = running.sums();
    EXPECT_NE(after.at(t.name), before.at(t.name)) << t.name;
    after[t.name] = before.at(t.name);
    EXPECT_EQ(after, before) << t.name;
  }
}

}  // namespace
}  // namespace octavo::rollout
