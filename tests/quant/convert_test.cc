// Converting FP8 models: codes untouched where they can be, else the bytes of dequantize and quantize one after the
// other.
#include <gtest/gtest.h>

#include "octavo/quant/dequantize.h"
#include "octavo/quant/execute.h"
#include "octavo/quant/plan.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo::quant {
namespace {

namespace fs = std::filesystem;
using test::CheckpointBuilder;
using test::TempDir;
using test::TinyModel;

struct Form {
  const char* scheme;
  const char* format;
  std::optional<ScaleName> scale_name = std::nullopt;
  bool pow2 = false;
};

QuantSpec spec_of(const Form& form) {
  QuantSpec spec = make_spec(form.scheme, form.format).value();
  spec.scale_name = form.scale_name;
  spec.pow2_scales = form.pow2;
  return spec;
}

std::string name_of(const Form& form) {
  return fmt::format("{}-{}{}{}", form.scheme, form.format, form.pow2 ? "-pow2" : "",
                     !form.scale_name ? "" : "-" + std::string(scale_name_text(*form.scale_name)));
}

const std::vector<Form>& forms() {
  static const std::vector<Form> kForms = {{"dynamic", "compressed-tensors"},
                                           {"dynamic", "modelopt"},
                                           {"block", "fp8"},
                                           {"block", "fp8", std::nullopt, true},
                                           {"block", "compressed-tensors"},
                                           {"block", "modelopt"},
                                           {"tensor", "compressed-tensors"},
                                           {"tensor", "fp8"},
                                           {"weight-only", "compressed-tensors"},
                                           {"mxfp8", "compressed-tensors"},
                                           {"mxfp8", "modelopt"},
                                           {"mxfp8", "mxfp8", ScaleName::kWeightScale},
                                           {"mxfp8", "mxfp8", ScaleName::kWeightScaleInv}};
  return kForms;
}

Checkpoint open(const fs::path& dir) {
  auto opened = Checkpoint::open(dir);
  EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().message);
  return std::move(opened).value();
}

void quantize_to(const Checkpoint& source, const QuantSpec& spec, const fs::path& out) {
  const auto plan = make_plan(source, spec);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  ASSERT_TRUE(execute(source, *plan, out, {}).ok());
}

fs::path dequantize_to(const Checkpoint& source, DType dtype, const fs::path& out) {
  DequantizeOptions options;
  options.dtype = dtype;
  const auto done = dequantize(source, out, options);
  EXPECT_TRUE(done.ok()) << (done.ok() ? "" : done.error().message);
  return out;
}

std::vector<std::byte> bytes_of(const Checkpoint& checkpoint, const CheckpointTensor& tensor) {
  std::vector<std::byte> bytes(tensor.bytes);
  EXPECT_TRUE(checkpoint.read(tensor, 0, bytes).ok());
  return bytes;
}

// Same names, dtypes, shapes and bytes.
void expect_same(const fs::path& a, const fs::path& b) {
  const Checkpoint left = open(a), right = open(b);
  ASSERT_EQ(left.tensors().size(), right.tensors().size());
  for (const CheckpointTensor& tensor : left.tensors()) {
    const CheckpointTensor* other = right.find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(tensor.dtype, other->dtype) << tensor.name;
    EXPECT_EQ(tensor.shape, other->shape) << tensor.name;
    EXPECT_EQ(bytes_of(left, tensor), bytes_of(right, *other)) << tensor.name;
  }
}

// Which rank a granularity has: a scheme's regions lie inside those of all that stand before it.
int rank(std::string_view scheme) { return scheme == "tensor" ? 0 : scheme == "block" ? 1 : scheme == "mxfp8" ? 3 : 2; }

// Blocks and channels are never inside each other, and only powers of two fit an exponent.
bool keeps_codes(const Form& from, const Form& to) {
  if (to.pow2 && !from.pow2 && rank(from.scheme) != 3) return false;
  if (rank(from.scheme) == rank(to.scheme)) return true;
  if (rank(from.scheme) == 0) return rank(to.scheme) < 3 && !to.pow2;
  return rank(from.scheme) == 1 && rank(to.scheme) == 3 && from.pow2;
}

TEST(Convert, BetweenAllWrittenForms) {
  TempDir dir;
  TinyModel model;
  model.layers = 1;
  model.intermediate = 416;  // not whole blocks of 128
  model.seed = 7;
  auto builder = test::tiny_model(model);
  builder.spread(2);
  const Checkpoint source = builder.open(dir / "model");
  for (const Form& from : forms()) {
    const fs::path fp8 = dir / name_of(from);
    quantize_to(source, spec_of(from), fp8);
    const Checkpoint opened = open(fp8);
    const fs::path values = dequantize_to(opened, DType::kF32, fp8.string() + "-f32");
    const fs::path bf16 = dequantize_to(opened, DType::kBF16, fp8.string() + "-bf16");
    for (const Form& to : forms()) {
      SCOPED_TRACE(name_of(from) + " to " + name_of(to));
      const fs::path out = fp8.string() + "-to-" + name_of(to);
      const auto plan = make_convert_plan(opened, spec_of(to));
      ASSERT_TRUE(plan.ok()) << plan.error().message;
      EXPECT_EQ(plan->quantized, 7u);
      ASSERT_EQ(plan->relabelled, keeps_codes(from, to) ? 7u : 0u);
      const auto done = execute(opened, *plan, out, {});
      ASSERT_TRUE(done.ok()) << done.error().message;
      if (plan->relabelled > 0) {
        const Checkpoint converted = open(out);
        for (const CheckpointTensor& tensor : converted.tensors()) {
          if (is_fp8(tensor.dtype)) {
            EXPECT_EQ(bytes_of(opened, *opened.find(tensor.name)), bytes_of(converted, tensor)) << tensor.name;
          }
        }
        expect_same(values, dequantize_to(open(out), DType::kF32, out.string() + "-f32"));
      } else {
        const fs::path again = out.string() + "-by-hand";
        quantize_to(open(bf16), spec_of(to), again);
        expect_same(again, out);
      }
      EXPECT_EQ(open(out).config(), [&] {
        const auto quantized = make_plan(source, spec_of(to));
        return Json::parse(quantized->config_text);
      }());
    }
  }
}

TEST(Convert, ThereAndBackIsTheSameFolder) {
  TempDir dir;
  const Checkpoint source = test::tiny_model().open(dir / "model");
  quantize_to(source, spec_of({"block", "fp8"}), dir / "fp8");
  const Checkpoint fp8 = open(dir / "fp8");
  ASSERT_TRUE(execute(fp8, make_convert_plan(fp8, spec_of({"block", "modelopt"})).value(), dir / "opt", {}).ok());
  EXPECT_TRUE(fs::exists(dir / "opt/hf_quant_config.json"));
  const Checkpoint opt = open(dir / "opt");
  ASSERT_TRUE(execute(opt, make_convert_plan(opt, spec_of({"block", "fp8"})).value(), dir / "back", {}).ok());
  EXPECT_FALSE(fs::exists(dir / "back/hf_quant_config.json"));
  expect_same(dir / "fp8", dir / "back");
}

// A model with static activations, as AutoFP8 writes it.
CheckpointBuilder static_model() {
  CheckpointBuilder builder;
  builder.config() = {{"model_type", "llama"},
                      {"num_hidden_layers", 1},
                      {"quantization_config",
                       {{"quant_method", "fp8"}, {"activation_scheme", "static"}, {"ignored_layers", {"lm_head"}}}}};
  builder.add_random("model.embed_tokens.weight", DType::kBF16, {64, 32}, 1);
  float scale = 0.25f;
  for (const char* leaf : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
    const std::string module = fmt::format("model.layers.0.self_attn.{}", leaf);
    std::vector<std::byte> codes(32 * 32);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(i * 7 % 127);
    builder.add(module + ".weight", DType::kF8E4M3, {32, 32}, codes);
    builder.add_f32(module + ".weight_scale", {}, std::vector<float>{scale});
    builder.add_f32(module + ".input_scale", {}, std::vector<float>{scale / 8});
    scale += 0.125f;
  }
  builder.add_f32("model.layers.0.self_attn.k_scale", {}, std::vector<float>{0.5f});
  builder.add_f32("model.layers.0.self_attn.v_scale", {}, std::vector<float>{0.75f});
  return builder;
}

// Codes that stay keep their scales, and q, k and v one each: said, as engines make them one.
TEST(Convert, WarnsOfFusedLayersWithUnequalScales) {
  TempDir dir;
  const auto warns = [&](const CheckpointBuilder& builder, const char* name) {
    const Checkpoint source = builder.open(dir / name);
    const Plan plan = make_convert_plan(source, spec_of({"static", "modelopt"})).value();
    return std::any_of(plan.warnings.begin(), plan.warnings.end(), [](const std::string& warning) {
      return warning.starts_with("the parts of 1 fused layer have different scales") &&
             warning.find("model.layers.0.self_attn.qkv_proj first") != std::string::npos;
    });
  };
  CheckpointBuilder builder = static_model();
  EXPECT_TRUE(warns(builder, "unequal"));
  for (const char* leaf : {"k_proj", "v_proj"}) {
    const auto same = builder.at("model.layers.0.self_attn.q_proj.weight_scale").bytes;
    builder.at(fmt::format("model.layers.0.self_attn.{}.weight_scale", leaf)).bytes = same;
  }
  EXPECT_FALSE(warns(builder, "equal"));
}

TEST(Convert, StaticScalesAreKeptOrLeftOut) {
  TempDir dir;
  const Checkpoint source = static_model().open(dir / "model");
  const auto info = read_quantization(source).value().value();
  EXPECT_EQ(scheme_of(info, find_quantized_weights(source, info).value()).value().name, "static");

  ASSERT_TRUE(
      execute(source, make_convert_plan(source, spec_of({"static", "modelopt"})).value(), dir / "opt", {}).ok());
  const Checkpoint opt = open(dir / "opt");
  const auto value = [](const Checkpoint& checkpoint, const std::string& name) {
    const CheckpointTensor* tensor = checkpoint.find(name);
    EXPECT_NE(tensor, nullptr) << name;
    return tensor == nullptr ? 0.0f : checkpoint.read_scales(*tensor, 0, 1).value()[0];
  };
  EXPECT_EQ(value(opt, "model.layers.0.self_attn.k_proj.input_scale"), 0.375f / 8);
  EXPECT_EQ(value(opt, "model.layers.0.self_attn.k_proj.weight_scale"), 0.375f);
  EXPECT_EQ(value(opt, "model.layers.0.self_attn.k_proj.k_scale"), 0.5f);
  EXPECT_EQ(value(opt, "model.layers.0.self_attn.v_proj.v_scale"), 0.75f);
  EXPECT_EQ(opt.find("model.layers.0.self_attn.k_scale"), nullptr);
  EXPECT_EQ(opt.config()["quantization_config"]["quant_algo"], "FP8");

  // To compressed-tensors and back.
  const auto ct_plan = make_convert_plan(opt, spec_of({"static", "compressed-tensors"}));
  ASSERT_TRUE(ct_plan.ok()) << ct_plan.error().message;
  ASSERT_TRUE(execute(opt, *ct_plan, dir / "ct", {}).ok());
  const Checkpoint ct = open(dir / "ct");
  EXPECT_EQ(ct.find("model.layers.0.self_attn.q_proj.input_scale")->shape, Shape{1});
  EXPECT_EQ(ct.config()["quantization_config"]["config_groups"]["group_0"]["input_activations"]["dynamic"], false);
  ASSERT_TRUE(execute(ct, make_convert_plan(ct, spec_of({"static", "fp8"})).value(), dir / "back", {}).ok());
  expect_same(dir / "model", dir / "back");

  // Dynamic: the scales of activations go, codes stay.
  const Plan dynamic = make_convert_plan(source, spec_of({"dynamic", "compressed-tensors"})).value();
  EXPECT_EQ(dynamic.relabelled, 4u);
  ASSERT_TRUE(execute(source, dynamic, dir / "dynamic", {}).ok());
  EXPECT_EQ(open(dir / "dynamic").find("model.layers.0.self_attn.q_proj.input_scale"), nullptr);

  // And they cannot be made.
  const auto made = make_convert_plan(open(dir / "dynamic"), spec_of({"static", "fp8"}));
  ASSERT_FALSE(made.ok());
  EXPECT_NE(made.error().message.find("only calibration finds it"), std::string::npos);
  EXPECT_FALSE(make_plan(test::tiny_model().open(dir / "plain"), spec_of({"static", "fp8"})).ok());
}

TEST(Convert, IgnoredModulesBecomeBf16) {
  TempDir dir;
  const Checkpoint source = test::tiny_model().open(dir / "model");
  quantize_to(source, spec_of({"dynamic", ""}), dir / "fp8");
  const Checkpoint fp8 = open(dir / "fp8");
  QuantSpec spec = spec_of({"dynamic", "compressed-tensors"});
  spec.ignore = {"*.o_proj"};
  const Plan plan = make_convert_plan(fp8, spec).value();
  EXPECT_EQ(plan.relabelled, 12u);
  ASSERT_TRUE(execute(fp8, plan, dir / "out", {}).ok());
  const Checkpoint out = open(dir / "out"), values = open(dequantize_to(fp8, DType::kBF16, dir / "bf16"));
  const std::string name = "model.layers.1.self_attn.o_proj.weight";
  EXPECT_EQ(bytes_of(out, *out.find(name)), bytes_of(values, *values.find(name)));
  EXPECT_EQ(out.find(name + "_scale"), nullptr);
  const auto ignored = out.config()["quantization_config"]["ignore"].get<std::vector<std::string>>();
  EXPECT_NE(std::find(ignored.begin(), ignored.end(), "model.layers.1.self_attn.o_proj"), ignored.end());
}

TEST(Convert, AnFp8HeadBecomesBf16WhereNoLoaderTakesIt) {
  TempDir dir;
  const Checkpoint source = test::tiny_model().open(dir / "model");
  QuantSpec spec = spec_of({"dynamic", ""});
  spec.lm_head = true;
  quantize_to(source, spec, dir / "fp8");
  const Checkpoint fp8 = open(dir / "fp8");
  ASSERT_TRUE(is_fp8(fp8.find("lm_head.weight")->dtype));
  const Plan block = make_convert_plan(fp8, spec_of({"block", "fp8"})).value();
  ASSERT_TRUE(execute(fp8, block, dir / "block", {}).ok());
  EXPECT_EQ(open(dir / "block").find("lm_head.weight")->dtype, DType::kBF16);
  const Plan ct = make_convert_plan(fp8, spec_of({"block", "compressed-tensors"})).value();
  ASSERT_TRUE(execute(fp8, ct, dir / "ct", {}).ok());
  EXPECT_EQ(open(dir / "ct").find("lm_head.weight_scale")->shape, (Shape{320, 1}));
}

TEST(Convert, RefusesWhatIsNotFp8) {
  TempDir dir;
  const Checkpoint source = test::tiny_model().open(dir / "model");
  const auto plan = make_convert_plan(source, spec_of({"block", "fp8"}));
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().message.find("octavo quantize"), std::string::npos);
}

TEST(Convert, NanCodesAreAnErrorOrBecomeZero) {
  TempDir dir;
  const Checkpoint source = test::tiny_model().open(dir / "model");
  quantize_to(source, spec_of({"dynamic", ""}), dir / "fp8");
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  {
    const Checkpoint fp8 = open(dir / "fp8");
    const CheckpointTensor& tensor = *fp8.find(name);
    const fs::path file = dir.path() / "fp8" / fp8.shards()[tensor.shard].name;
    std::string bytes = test::read_file(file);
    bytes[tensor.offset + 256 + 3] = '\xFF';
    test::write_file(file, bytes);
  }
  const Checkpoint fp8 = open(dir / "fp8");
  for (const Form& to : {Form{"dynamic", "modelopt"}, Form{"tensor", "fp8"}}) {
    SCOPED_TRACE(to.scheme);
    QuantSpec spec = spec_of(to);
    const auto refused = execute(fp8, make_convert_plan(fp8, spec).value(), dir / fmt::format("no-{}", to.scheme), {});
    ASSERT_FALSE(refused.ok());
    EXPECT_NE(refused.error().message.find(name), std::string::npos) << refused.error().message;
    EXPECT_NE(refused.error().message.find("NaN at [1, 3]"), std::string::npos) << refused.error().message;
    spec.nonfinite = NonFinite::kZero;
    const auto zeroed = execute(fp8, make_convert_plan(fp8, spec).value(), dir / fmt::format("zero-{}", to.scheme), {});
    ASSERT_TRUE(zeroed.ok()) << zeroed.error().message;
    EXPECT_EQ(zeroed->zeroed, 1u);
  }
  const auto values = dequantize(fp8, dir / "bf16", {});
  ASSERT_FALSE(values.ok());
  EXPECT_NE(values.error().message.find("NaN at [1, 3]"), std::string::npos) << values.error().message;
}

TEST(Convert, ScalesOfTheCacheGetTheNamesOfTheFormat) {
  TempDir dir;
  auto builder = static_model();
  builder.rename("model.layers.0.self_attn.k_scale", "model.layers.0.self_attn.k_cache.scale");
  builder.rename("model.layers.0.self_attn.v_scale", "model.layers.0.self_attn.v_proj.output_scale");
  const Checkpoint source = builder.open(dir / "model");
  const auto has = [](const Plan& plan, std::string_view name) {
    return std::any_of(plan.outputs.begin(), plan.outputs.end(), [&](const OutputTensor& o) { return o.name == name; });
  };
  const Plan ct = make_convert_plan(source, spec_of({"static", "compressed-tensors"})).value();
  EXPECT_TRUE(has(ct, "model.layers.0.self_attn.k_scale"));
  EXPECT_TRUE(has(ct, "model.layers.0.self_attn.v_scale"));
  const Plan opt = make_convert_plan(source, spec_of({"static", "modelopt"})).value();
  EXPECT_TRUE(has(opt, "model.layers.0.self_attn.k_proj.k_scale"));
  EXPECT_TRUE(has(opt, "model.layers.0.self_attn.v_proj.v_scale"));
}

}  // namespace
}  // namespace octavo::quant
