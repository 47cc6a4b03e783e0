// Seeded corruptions: a sound checkpoint, one thing broken, and the words of the violation that must follow. The place
// of random damage comes from a seed, three of them for each corruption.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "tests/support/random_tensor.h"
#include "tests/verify/plain_quantizer.h"
#include "tests/verify/verify_testing.h"

namespace octavo::test {
namespace {

constexpr const char* kQ = "model.layers.0.self_attn.q_proj";
constexpr const char* kK = "model.layers.0.self_attn.k_proj";
constexpr const char* kO = "model.layers.1.self_attn.o_proj";
constexpr const char* kDown = "model.layers.1.mlp.down_proj";

struct Corruption {
  const char* name;
  const char* scheme;
  bool fp8_dialect;
  bool with_source;  // only the source shows it
  std::function<void(CheckpointBuilder&, Random&)> damage;
  const char* where;
  const char* what;
};

std::string weight(const char* module) { return std::string(module) + ".weight"; }
std::string scale(const char* module) { return std::string(module) + ".weight_scale"; }
std::string inverse(const char* module) { return std::string(module) + ".weight_scale_inv"; }

Json& quantization(CheckpointBuilder& b) { return b.config()["quantization_config"]; }
Json& group(CheckpointBuilder& b) { return quantization(b)["config_groups"]["group_0"]; }

void drop(Json& list, std::string_view name) {
  Json kept = Json::array();
  for (const Json& item : list) {
    if (item != Json(name)) kept.push_back(item);
  }
  list = kept;
}

// Replaces the tensor's content by another dtype and shape.
void replace(CheckpointBuilder& b, const std::string& name, DType dtype, Shape shape, std::vector<std::byte> bytes) {
  auto& tensor = b.at(name);
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  tensor.bytes = std::move(bytes);
}

void set_bf16(CheckpointBuilder& b, const std::string& name, std::size_t index, std::uint16_t bits) {
  std::memcpy(b.at(name).bytes.data() + 2 * index, &bits, 2);
}

void set_f32(CheckpointBuilder& b, const std::string& name, std::size_t index, float value) {
  std::memcpy(b.at(name).bytes.data() + 4 * index, &value, 4);
}

std::size_t any_byte(CheckpointBuilder& b, const std::string& name, Random& random) {
  return static_cast<std::size_t>(random.below(b.at(name).bytes.size()));
}

const std::vector<Corruption>& corruptions() {
  using B = CheckpointBuilder;
  using R = Random;
  static const std::vector<Corruption> kAll = {
      // Bytes of weights and scales.
      {"LowBitOfACode", "dynamic", false, true,
       [](B& b, R& r) { b.at(weight(kQ)).bytes[any_byte(b, weight(kQ), r)] ^= std::byte{1}; }, kQ,
       "1 of 65536 codes are not what any known rule gives"},
      {"FlippedByte", "block", true, true,
       [](B& b, R& r) { b.at(weight(kDown)).bytes[any_byte(b, weight(kDown), r)] ^= std::byte{0xFF}; }, kDown, ""},
      {"SignOfACode", "tensor", true, true,
       [](B& b, R& r) { b.at(weight(kO)).bytes[any_byte(b, weight(kO), r)] ^= std::byte{0x80}; }, kO,
       "codes are not what any known rule gives"},
      {"NanCode", "dynamic", false, false,
       [](B& b, R& r) { b.at(weight(kQ)).bytes[any_byte(b, weight(kQ), r)] = std::byte{0x7F}; }, kQ,
       "codes are NaN or infinity"},
      {"SwappedScalesOfTwoTensors", "tensor", true, true,
       [](B& b, R&) { std::swap(b.at(scale(kO)).bytes, b.at(scale(kDown)).bytes); }, kO, "another tensor's"},
      {"SwappedScalesOfTwoRows", "dynamic", false, true,
       [](B& b, R& r) {
         auto& bytes = b.at(scale(kDown)).bytes;
         std::size_t i = 0, j = 0;
         do {
           i = 2 * r.below(bytes.size() / 2), j = 2 * r.below(bytes.size() / 2);
         } while (std::memcmp(&bytes[i], &bytes[j], 2) == 0);
         std::swap_ranges(&bytes[i], &bytes[i] + 2, &bytes[j]);
       },
       kDown, "codes are not what any known rule gives"},
      {"SwappedScalesOfTwoBlocks", "block", true, true,
       [](B& b, R&) { std::swap_ranges(&b.at(inverse(kDown)).bytes[0], &b.at(inverse(kDown)).bytes[4], &b.at(inverse(kDown)).bytes[8]); },
       kDown, "codes are not what any known rule gives"},
      {"LowBitOfAScale", "block", true, true,
       [](B& b, R& r) { b.at(inverse(kDown)).bytes[4 * r.below(6)] ^= std::byte{1}; }, kDown,
       "scales are not what the weights under them give"},
      {"LowBitOfASingleScale", "tensor", true, true,
       [](B& b, R&) { b.at(scale(kDown)).bytes[0] ^= std::byte{1}; }, kDown,
       "scales are not what the weights under them give"},
      {"ZeroScale", "dynamic", false, false,
       [](B& b, R& r) { set_bf16(b, scale(kQ), r.below(256), 0); }, kQ, "not finite positive numbers, the first is 0"},
      {"NanScale", "dynamic", false, false,
       [](B& b, R& r) { set_bf16(b, scale(kQ), r.below(256), 0x7FC0); }, kQ, "not finite positive"},
      {"InfiniteScale", "block", true, false,
       [](B& b, R& r) { set_f32(b, inverse(kDown), r.below(6), std::numeric_limits<float>::infinity()); }, kDown,
       "not finite positive"},
      {"NegativeScale", "tensor", true, false,
       [](B& b, R&) { b.at(scale(kO)).bytes[3] ^= std::byte{0x80}; }, kO, "not finite positive"},
      {"UnequalSharedScale", "tensor", true, false,
       [](B& b, R&) { b.at(scale(kK)).bytes[0] ^= std::byte{1}; }, "qkv_proj", "different scales"},
      {"UnequalSharedScaleGateUp", "tensor", false, false,
       [](B& b, R&) { b.at(scale("model.layers.1.mlp.up_proj")).bytes[0] ^= std::byte{1}; }, "gate_up_proj",
       "different scales"},
      {"UnequalInputScale", "static", true, false,
       [](B& b, R&) { set_f32(b, std::string(kK) + ".input_scale", 0, 0.5f); }, "qkv_proj", "different scales"},
      {"ScalesNoPowersOfTwo", "block", true, false,
       [](B& b, R&) { quantization(b)["scale_fmt"] = "ue8m0"; }, kQ, "no powers of two"},

      // Tensors: names, dtypes, shapes.
      {"MissingScale", "dynamic", false, false, [](B& b, R&) { b.remove(scale(kQ)); }, kQ, "has no scale"},
      {"ScaleOfTheOtherDialect", "block", true, false, [](B& b, R&) { b.rename(inverse(kQ), scale(kQ)); }, kQ,
       "under the name"},
      {"TwoScales", "block", true, false,
       [](B& b, R&) { b.add_f32(scale(kQ), {}, std::vector{1.0f}); }, kQ, "has two scales"},
      {"OrphanScale", "dynamic", false, false,
       [](B& b, R&) { b.add_f32(scale("model.layers.0.self_attn.nobody"), {4, 1}, std::vector<float>(4, 1.0f)); },
       "nobody", "is the scale of no FP8 weight"},
      {"FlatChannelScale", "dynamic", false, false, [](B& b, R&) { b.at(scale(kQ)).shape = {256}; }, kQ,
       "has shape [256]"},
      {"GridTooSmall", "block", true, false,
       [](B& b, R&) { replace(b, inverse(kDown), DType::kF32, {2, 2}, std::vector<std::byte>(16, std::byte{0x3F})); },
       kDown, "has shape [2, 2]"},
      {"TransposedGrid", "block", true, false, [](B& b, R&) { b.at(inverse(kDown)).shape = {3, 2}; }, kDown,
       "has shape [3, 2]"},
      {"ScaleInFp8", "dynamic", false, false,
       [](B& b, R&) { replace(b, scale(kQ), DType::kU8, {256, 1}, std::vector<std::byte>(256, std::byte{120})); }, kQ,
       "is U8"},
      {"WeightOfTheOtherFormat", "dynamic", false, false, [](B& b, R&) { b.at(weight(kQ)).dtype = DType::kF8E5M2; }, kQ,
       "is F8_E5M2, but the config means e4m3"},
      {"WeightInBytes", "dynamic", false, false, [](B& b, R&) { b.at(weight(kQ)).dtype = DType::kU8; }, kQ, "is U8"},
      {"WeightLeftInBf16", "block", true, false,
       [](B& b, R& r) {
         b.remove(inverse(kO));
         replace(b, weight(kO), DType::kBF16, {256, 256}, random_tensor(DType::kBF16, 65536, r.next()));
       },
       kO, "no ignore list names it"},
      {"OneOfFusedLeftInBf16", "dynamic", false, false,
       [](B& b, R& r) {
         b.remove(scale(kK));
         replace(b, weight(kK), DType::kBF16, {128, 256}, random_tensor(DType::kBF16, 32768, r.next()));
         quantization(b)["ignore"].push_back(kK);
       },
       "qkv_proj", "some are FP8"},
      {"MissingInputScale", "static", false, false,
       [](B& b, R&) { b.remove(std::string(kQ) + ".input_scale"); }, kQ, "static activations need"},
      {"LostTensor", "dynamic", false, true, [](B& b, R&) { b.remove("model.norm.weight"); }, "model.norm",
       "is missing; the source has it"},
      {"ExtraTensor", "dynamic", false, true,
       [](B& b, R&) { b.add_f32("model.layers.0.spare.bias", {1}, std::vector{1.0f}); }, "spare",
       "is not in the source"},
      {"KeptTensorChanged", "dynamic", false, true,
       [](B& b, R& r) {
         b.at("model.embed_tokens.weight").bytes[any_byte(b, "model.embed_tokens.weight", r)] ^= std::byte{1};
       },
       "model.embed_tokens", "differs from the source"},
      {"KeptTensorRounded", "dynamic", false, true,
       [](B& b, R&) { b.at("model.norm.weight").dtype = DType::kF16; }, "model.norm", "is F16 [256], the source has BF16"},
      {"SwappedWeights", "dynamic", false, true,
       [](B& b, R&) {
         std::swap(b.at(weight("model.layers.0.mlp.up_proj")).bytes, b.at(weight("model.layers.0.mlp.gate_proj")).bytes);
       },
       "up_proj", "another tensor's"},

      {"FusedPartsOfDifferentColumns", "dynamic", false, false,
       [](B& b, R&) {
         const char* up = "model.layers.1.mlp.up_proj";
         b.at(weight(up)).shape = {256, 384};
         b.at(scale(up)).shape = {256, 1};
         b.at(scale(up)).bytes.resize(512);
       },
       "gate_up_proj", "different columns, gate_proj [384, 256] and up_proj [256, 384]"},
      {"FlatWeight", "dynamic", false, false, [](B& b, R&) { b.at(weight(kQ)).shape = {65536}; }, kQ,
       "is F8_E4M3 with 1 dimension;"},
      {"QuantizedHeadThatIsTied", "dynamic", false, false,
       [](B& b, R& r) {
         b.at("lm_head.weight").dtype = DType::kF8E4M3;
         b.at("lm_head.weight").bytes.assign(320 * 256, static_cast<std::byte>(r.below(0x7F)));
         b.add_bf16("lm_head.weight_scale", {320, 1}, std::vector<std::uint16_t>(320, 0x3F80));
         drop(quantization(b)["ignore"], "lm_head");
         b.config()["tie_word_embeddings"] = true;
       },
       "lm_head", "tie_word_embeddings is true"},

      // The config.
      {"MoreLayersInTheConfig", "dynamic", false, false, [](B& b, R&) { b.config()["num_hidden_layers"] = 3; },
       "config.json", "/num_hidden_layers is 3, but the tensors have 2 layers"},
      {"NeoXHeadNotIgnored", "dynamic", false, false,
       [](B& b, R&) {
         b.rename("lm_head.weight", "embed_out.weight");
         drop(quantization(b)["ignore"], "lm_head");
       },
       "embed_out", "no ignore list names it"},
      {"DtypeInTheConfig", "block", true, false, [](B& b, R&) { quantization(b)["fmt"] = "e5m2"; }, kQ,
       "but the config means e5m2"},
      {"Int8InTheConfig", "dynamic", false, false, [](B& b, R&) { group(b)["weights"]["type"] = "int"; },
       "config.json", "not FP8"},
      {"BitsInTheConfig", "dynamic", false, false, [](B& b, R&) { group(b)["weights"]["num_bits"] = 4; },
       "config.json", "not FP8"},
      {"GranularityInTheConfig", "dynamic", false, false,
       [](B& b, R&) { group(b)["weights"]["strategy"] = "tensor"; }, kQ, "the tensor scale of a weight"},
      {"BlockSizeInTheConfig", "block", true, false,
       [](B& b, R&) { quantization(b)["weight_block_size"] = {64, 128}; }, kQ, "has shape [2, 2]"},
      {"BlockSizeGone", "block", true, false, [](B& b, R&) { quantization(b).erase("weight_block_size"); },
       "weight_block_size", "only transformers assumes"},
      {"StaticBlocks", "block", true, false,
       [](B& b, R&) { quantization(b)["activation_scheme"] = "static"; }, "activation_scheme", "must be \"dynamic\""},
      {"HeadNotIgnored", "dynamic", false, false, [](B& b, R&) { drop(quantization(b)["ignore"], "lm_head"); }, "lm_head",
       "no ignore list names it"},
      {"HeadNotIgnoredFp8", "block", true, false,
       [](B& b, R&) {
         for (const char* key : {"ignored_layers", "modules_to_not_convert"}) quantization(b)[key] = {"model.embed_tokens"};
       },
       "lm_head", "no ignore list names it"},
      {"IgnoredThoughQuantized", "dynamic", false, false,
       [](B& b, R&) { quantization(b)["ignore"].push_back(kO); }, kO, "the ignore list names it"},
      {"PatternIgnoresQuantized", "dynamic", false, false,
       [](B& b, R&) { quantization(b)["ignore"].push_back("re:.*mlp.*"); }, kDown, "the ignore list names it"},
      {"ParentIgnoredFp8", "block", true, false,
       [](B& b, R&) {
         for (const char* key : {"ignored_layers", "modules_to_not_convert"}) {
           quantization(b)[key].push_back("model.layers.1.mlp");
         }
       },
       kDown, "the ignore list names it"},
      {"ListsDiffer", "block", true, false,
       [](B& b, R&) { quantization(b)["ignored_layers"].push_back("model.embed_tokens"); }, "quantization_config",
       "differ in 1 entry ("},
      {"EmptyList", "block", true, false, [](B& b, R&) { quantization(b)["ignored_layers"] = Json::array(); },
       "ignored_layers", "is an empty list"},
      {"PatternInPlainList", "block", true, false,
       [](B& b, R&) {
         for (const char* key : {"ignored_layers", "modules_to_not_convert"}) quantization(b)[key] = {"re:.*lm_head"};
       },
       "ignored_layers", "no patterns"},
      {"NothingTargeted", "dynamic", false, false, [](B& b, R&) { group(b)["targets"] = {"re:.*conv$"}; }, kQ,
       "no target of the config matches it"},
      {"MalformedPattern", "dynamic", false, false, [](B& b, R&) { group(b)["targets"] = {"re:("}; }, "config.json",
       "pattern"},
      {"UnknownKey", "dynamic", false, false, [](B& b, R&) { group(b)["weights"]["groupsize"] = 128; },
       "weights/groupsize", "did you mean group_size?"},
      {"NotCompressed", "dynamic", false, false,
       [](B& b, R&) { quantization(b)["quantization_status"] = "frozen"; }, "quantization_status", "\"compressed\""},
      {"FormatOfIntegers", "dynamic", false, false, [](B& b, R&) { group(b)["format"] = "pack-quantized"; }, "format",
       "no format of FP8 weights"},
      {"FloatQuantizedWithoutActivations", "weight-only", false, false,
       [](B& b, R&) { group(b)["format"] = "float-quantized"; }, "format", "needs input_activations"},
      {"ConfigGone", "dynamic", false, false, [](B& b, R&) { b.config() = nullptr; }, "config.json", "is missing"},
      {"QuantizationConfigGone", "dynamic", false, false,
       [](B& b, R&) { b.config().erase("quantization_config"); }, "config.json", "has no quantization_config"},
      {"UnknownMethod", "dynamic", false, false,
       [](B& b, R&) { quantization(b)["quant_method"] = "magic"; }, "config.json", "magic"},
      {"ModelConfigChanged", "dynamic", false, true, [](B& b, R&) { b.config()["num_attention_heads"] = 8; },
       "/num_attention_heads", "the source has 4"},

      // The index.
      {"TotalSize", "dynamic", false, false,
       [](B& b, R&) {
         b.spread(2);
         b.index() = b.correct_index();
         (*b.index())["metadata"]["total_size"] = 12345;
       },
       "index", "says total_size 12345"},
      {"NotInTheIndex", "dynamic", false, false,
       [](B& b, R&) {
         b.spread(2);
         b.index() = b.correct_index();
         (*b.index())["weight_map"].erase("model.norm.weight");
         (*b.index())["metadata"] = Json::object();
       },
       "model.norm", "not at that place in the index"},
      {"StrayWholeModel", "dynamic", false, false,
       [](B& b, R&) {
         b.spread(2);
         b.add_file("model.safetensors", std::string(1, '\2') + std::string(7, '\0') + "{}");
       },
       "model.safetensors", "transformers would load it"},
  };
  return kAll;
}

class Corrupted : public testing::TestWithParam<std::size_t> {};

TEST_P(Corrupted, IsCaught) {
  const Corruption& corruption = corruptions()[GetParam()];
  const CheckpointBuilder source = tiny_model();
  PlainOptions options;
  options.scheme = corruption.scheme;
  options.fp8_dialect = corruption.fp8_dialect;
  const CheckpointBuilder sound = quantize_plainly(source, options);
  ASSERT_TRUE(no_violation(verify_built(sound, &source)));
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    CheckpointBuilder broken = sound;
    corruption.damage(broken, random);
    EXPECT_TRUE(has_violation(verify_built(broken, &source), corruption.where, corruption.what));
    const auto alone = verify_built(broken);
    if (!corruption.with_source) {
      EXPECT_TRUE(has_violation(alone, corruption.where, corruption.what));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Corrupted, testing::Range<std::size_t>(0, corruptions().size()),
                         [](const auto& param) { return corruptions()[param.param].name; });

TEST(Corruption, OneBitAnywhereInEveryQuantizedTensor) {
  const CheckpointBuilder source = tiny_model();
  for (const bool fp8_dialect : {false, true}) {
    PlainOptions options;
    options.scheme = fp8_dialect ? "block" : "dynamic";
    options.fp8_dialect = fp8_dialect;
    CheckpointBuilder quantized = quantize_plainly(source, options);
    Random random(7);
    const CheckpointBuilder sound = quantized;
    for (const BuiltTensor& tensor : sound.tensors()) {
      auto& bytes = quantized.at(tensor.name).bytes;
      const auto at = static_cast<std::size_t>(random.below(bytes.size()));
      const auto bit = static_cast<std::byte>(1u << random.below(8));
      bytes[at] ^= bit;
      EXPECT_FALSE(verify_built(quantized, &source).ok()) << tensor.name << " byte " << at;
      bytes[at] ^= bit;
    }
    EXPECT_TRUE(no_violation(verify_built(quantized, &source)));
  }
}

TEST(Corruption, AnUnquantizedFolderIsNotQuantized) {
  EXPECT_TRUE(has_violation(verify_built(tiny_model()), "config.json", "not quantized"));
  // A config without tensors to go with it is no better.
  const CheckpointBuilder source = tiny_model();
  CheckpointBuilder only_config = source;
  only_config.config() = quantize_plainly(source).config();
  EXPECT_TRUE(has_violation(verify_built(only_config), "", "not quantized: no tensor is FP8"));
}

TEST(Corruption, AQuantizedSourceIsNoSource) {
  const CheckpointBuilder quantized = quantize_plainly(tiny_model());
  CheckpointBuilder silent = quantized;  // FP8, though its config does not say so
  silent.config().erase("quantization_config");
  for (const CheckpointBuilder* source : {&quantized, static_cast<const CheckpointBuilder*>(&silent)}) {
    const auto report = verify_built(quantized, source);
    EXPECT_TRUE(has_violation(report, "source", "the source is itself quantized"));
    EXPECT_EQ(verify::format_report(report).find("0.00 dB"), std::string::npos);
    const Json json = verify::report_json(report);
    ASSERT_FALSE(json["kinds"].empty());
    EXPECT_TRUE(json["kinds"][0]["worst_sqnr_db"].is_null());
    EXPECT_TRUE(json["kinds"][0]["median_sqnr_db"].is_null());
  }
}

TEST(Corruption, ZeroCodesUnderAScaleAreAWarning) {
  CheckpointBuilder b = quantize_plainly(tiny_model());
  auto& codes = b.at(weight(kO)).bytes;
  codes.assign(codes.size(), std::byte{0});
  auto report = verify_built(b);
  EXPECT_TRUE(no_violation(report));
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_NE(report.warnings[0].find("every code is zero"), std::string::npos);
  for (std::size_t i = 0; i < 256; ++i) set_bf16(b, scale(kO), i, 0x3F80);
  EXPECT_TRUE(verify_built(b).warnings.empty());
  codes.back() = std::byte{1};
  set_bf16(b, scale(kO), 0, 0x3F00);
  EXPECT_TRUE(verify_built(b).warnings.empty());
}

TEST(Corruption, MessagesNameTheFileOnce) {
  CheckpointBuilder b = quantize_plainly(tiny_model());
  group(b)["weights"]["num_bits"] = 4;
  const auto report = verify_built(b);
  ASSERT_EQ(report.violations.size(), 1u);
  EXPECT_EQ(report.violations[0].where, "config.json");
  EXPECT_TRUE(report.violations[0].what.starts_with("/quantization_config/")) << report.violations[0].what;
}

TEST(Corruption, WarningsNameWhatIsNearlyRight) {
  const CheckpointBuilder source = tiny_model();
  CheckpointBuilder b = quantize_plainly(source);
  b.config()["quantization_config"]["ignore"].push_back("model.layers.0.mlp.down_prj");
  auto report = verify_built(b);
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_NE(report.warnings[0].find("did you mean model.layers.0.mlp.down_proj?"), std::string::npos);

  PlainOptions options;
  options.scheme = "block";
  options.fp8_dialect = true;
  b = quantize_plainly(source, options);
  b.config()["quantization_config"]["ignored_layer"] = {"lm_head"};
  report = verify_built(b);
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_NE(report.warnings[0].find("did you mean ignored_layers?"), std::string::npos);

  CheckpointBuilder with_files = tiny_model();
  with_files.add_file("tokenizer.json", "{}").add_file("notes.txt", "a");
  b = quantize_plainly(source);
  b.add_file("notes.txt", "b");
  report = verify_built(b, &with_files);
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.warnings, (std::vector<std::string>{"notes.txt differs from the source's",
                                                       "tokenizer.json of the source is missing"}));
}

TEST(Corruption, SaturationIsAWarning) {
  CheckpointBuilder source = tiny_model();
  CheckpointBuilder b = quantize_plainly(source);
  // Half the scale, and codes that follow it: nothing is wrong but the scale's size.
  const std::string name = weight(kDown);
  auto& scales = b.at(scale(kDown));
  const auto values = floats_of(source.at(name));
  auto bits = floats_of(scales);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    bits[i] /= 2;
    set_bf16(b, scale(kDown), i, fp8::float_to_bf16(bits[i]));
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    b.at(name).bytes[i] = std::byte{fp8::encode(fp8::Format::kE4M3, values[i] / bits[i / 384])};
  }
  const auto report = verify_built(b, &source);
  EXPECT_TRUE(no_violation(report));
  ASSERT_EQ(report.warnings.size(), 1u);
  EXPECT_NE(report.warnings[0].find("saturate"), std::string::npos);
}

TEST(Corruption, HostileBlockSizes) {
  const CheckpointBuilder source = tiny_model();
  PlainOptions options;
  options.scheme = "block";
  options.fp8_dialect = true;
  options.block_n = options.block_k = 1'000'000;  // one block a weight
  CheckpointBuilder b = quantize_plainly(source, options);
  EXPECT_TRUE(no_violation(verify_built(b, &source)));
  const std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t n : {largest, largest / 2 + 1, std::uint64_t{1} << 56}) {
    quantization(b)["weight_block_size"] = {n, n};
    EXPECT_TRUE(no_violation(verify_built(b, &source)));
    quantization(b)["weight_block_size"] = {n, 1};
    EXPECT_TRUE(has_violation(verify_built(b, &source), kQ, "has shape [1, 1]"));
  }
}

// Deep names, many dots, names that are no names: an answer, soon.
TEST(Corruption, HostileNames) {
  CheckpointBuilder b = quantize_plainly(tiny_model());
  std::string dots;
  for (int i = 0; i < 50'000; ++i) dots += ".a";
  b.add_f32(dots + ".weight", {1, 1}, std::vector{1.0f});
  b.add_f32(".weight", {2, 2}, std::vector<float>(4, 1.0f));
  b.add_f32("\x01.experts.99999999999999999999999.w1.weight", {1, 1}, std::vector{1.0f});
  b.add_f32("x.weight_scale", {0, 5}, {});
  for (const bool fp8_dialect : {false, true}) {
    PlainOptions options;
    options.scheme = "block";
    options.fp8_dialect = fp8_dialect;
    b.config() = quantize_plainly(tiny_model(), options).config();
    EXPECT_FALSE(
        verify_built(b, nullptr, {verify::Loader::kVllm, verify::Loader::kSglang, verify::Loader::kTransformers}).ok());
  }
}

}  // namespace
}  // namespace octavo::test
