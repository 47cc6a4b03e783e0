// Plans of published models at full size, from headers alone: every config in ../shared/data/configs through the
// command, and against what the publishers of FP8 releases quantized. Skipped where the configs are not there.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "octavo/checkpoint/checkpoint.h"
#include "octavo/quant/plan.h"
#include "octavo/quant/selection.h"
#include "tests/support/published_model.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::PublishedKind;
using test::PublishedTensor;
using NameSet = std::set<std::string, std::less<>>;

const std::filesystem::path kConfigs = OCTAVO_SOURCE_DIR "/../shared/data/configs";

#define SKIP_WITHOUT_CONFIGS()                                                            \
  if (!std::filesystem::exists(kConfigs)) {                                               \
    GTEST_SKIP() << kConfigs.string() << " is not there: published configs, not shipped"; \
  }

Json config_named(const std::string& name) {
  const std::filesystem::path path = kConfigs / name;
  return parse_json(test::read_file(path), path.string()).value();
}

Json unquantized(Json config) {
  config.erase("quantization_config");
  return config;
}

std::vector<PublishedTensor> tensors_of(const Json& config) {
  auto tensors = test::published_tensors(config);
  if (tensors.ok()) return std::move(*tensors);
  ADD_FAILURE() << tensors.error().message;
  return {};
}

void write(const std::filesystem::path& dir, const Json& config, const std::vector<PublishedTensor>& tensors) {
  const auto status = test::write_header_only(dir, config, tensors, tensors.size() > 10'000 ? 163 : 5);
  ASSERT_TRUE(status.ok()) << status.error().message;
}

bool is_matrix(const PublishedTensor& tensor) {
  return tensor.shape.size() == 2 && tensor.kind != PublishedKind::kEmbedding;
}

// "model.layers.0.mlp.gate" for its weight: what a list of modules calls it.
std::string module_of(const std::string& tensor) { return std::string(quant::module_name(tensor)); }

NameSet missing(const NameSet& from, const NameSet& of) {
  NameSet out;
  std::set_difference(of.begin(), of.end(), from.begin(), from.end(), std::inserter(out, out.end()));
  return out;
}

// A difference has up to 45,000 names: the first few say enough.
void expect_same(const NameSet& ours, const NameSet& theirs, const char* what) {
  const auto few = [](const NameSet& names) {
    std::string text = fmt::format("{}:", names.size());
    for (const std::string& name : names) {
      text += " " + name;
      if (text.size() > 400) return text + " ...";
    }
    return text;
  };
  const NameSet lacking = missing(ours, theirs), extra = missing(theirs, ours);
  EXPECT_TRUE(lacking.empty()) << what << ", Octavo lacks " << few(lacking);
  EXPECT_TRUE(extra.empty()) << what << ", only Octavo has " << few(extra);
}

// The shapes and names are right: numbers that the publishers or the Hub state of the releases.
TEST(Published, SizesAreThoseOfTheReleases) {
  SKIP_WITHOUT_CONFIGS();
  const std::map<std::string, std::uint64_t> parameters = {
      {"Qwen--Qwen3-0.6B_config.json", 751'632'384},  // with the tied head, which its file holds
      {"Qwen--Qwen3-8B_config.json", 8'190'735'360},
      {"Qwen--Qwen3-32B-FP8_config.json", 32'762'123'264},
      {"Qwen--Qwen3-30B-A3B_config.json", 30'532'122'624},
      {"Qwen2.5-7B-Instruct/config.json", 7'615'616'512},
      {"meta-llama--Meta-Llama-3.1-8B_config.json", 8'030'261'248},
      {"meta-llama--Meta-Llama-3.1-70B_config.json", 70'553'706'496},
      {"mistralai--Mixtral-8x7B-v0.1_config.json", 46'702'792'704},
      {"opt-125m/config.json", 125'239'296},
  };
  for (const auto& [name, count] : parameters) {
    std::uint64_t sum = 0;
    for (const PublishedTensor& tensor : tensors_of(config_named(name))) sum += *element_count(tensor.shape);
    EXPECT_EQ(sum, count) << name;
  }
  // DeepSeek's own FP8 release, which lists nothing: its number of tensors and their bytes leave no room for another
  // set of quantized linears.
  const auto release = test::as_block_fp8(tensors_of(config_named("deepseek-ai--DeepSeek-V3_config.json")));
  std::uint64_t bytes = 0;
  for (const PublishedTensor& tensor : release) bytes += *byte_count(tensor.dtype, tensor.shape);
  EXPECT_EQ(release.size(), 91'991u);
  EXPECT_EQ(bytes, 688'574'839'360u);
}

// `octavo quantize --dry-run --json` of the model in BF16: all linears of the layers, nothing else.
TEST(Published, EveryConfigIsPlanned) {
  SKIP_WITHOUT_CONFIGS();
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kConfigs)) {
    const std::string name = std::filesystem::relative(entry.path(), kConfigs).string();
    if (name.ends_with("config.json") && !name.ends_with("hf_quant_config.json")) names.push_back(name);
  }
  ASSERT_GT(names.size(), 10u);
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    const Json config = unquantized(config_named(name));
    const auto tensors = tensors_of(config);
    const test::TempDir dir;
    write(dir / "model", config, tensors);
    const auto run = test::run_octavo({"quantize", dir / "model", "--scheme", "block", "--dry-run", "--json"});
    ASSERT_EQ(run.exit_code, 0) << run.err;
    const auto plan = parse_json(run.out, "plan");
    ASSERT_TRUE(plan.ok());
    NameSet quantized, linears;
    for (const Json& tensor : plan->at("tensors")) {
      if (tensor.at("action") == "quantize") quantized.insert(tensor.at("name").get<std::string>());
    }
    for (const PublishedTensor& tensor : tensors) {
      const bool kept = tensor.name.ends_with("indexer.weights_proj.weight");  // engines run it in BF16
      if (tensor.kind == PublishedKind::kLinear && !kept) linears.insert(tensor.name);
    }
    EXPECT_EQ(plan->at("tensors").size(), tensors.size());
    expect_same(quantized, linears, "quantized");
  }
}

struct Release {
  const char* config;
  const char *scheme, *format;
  std::vector<PublishedKind> unlisted;  // in BF16 without being listed
  const char* listed_in = nullptr;      // hf_quant_config.json, where the list is not in config.json
  bool complete = false;                // the list names everything that is not FP8, norms and biases too
};

std::vector<Release> releases() {
  return {
      {"Qwen--Qwen3-30B-A3B-FP8_config.json", "block", "fp8", {}},
      // Without a list transformers, which made it, leaves the output head.
      {"Qwen--Qwen3-32B-FP8_config.json", "block", "fp8", {PublishedKind::kHead}},
      // No list: SizesAreThoseOfTheReleases shows what is in BF16.
      {"deepseek-ai--DeepSeek-V3_config.json",
       "block",
       "fp8",
       {PublishedKind::kHead, PublishedKind::kRouter, PublishedKind::kMtpLinear}},
      {.config = "zai-org--GLM-5-FP8_config.json",
       .scheme = "block",
       .format = "fp8",
       .unlisted = {},
       .complete = true},
      // Its static scales need calibration; the scheme does not change what is quantized.
      {.config = "nvidia--Llama-3.1-70B-Instruct-FP8_config.json",
       .scheme = "dynamic",
       .format = "modelopt",
       .unlisted = {},
       .listed_in = "nvidia--Llama-3.1-70B-Instruct-FP8_hf_quant_config.json"},
  };
}

NameSet listed_by_publisher(const Release& release) {
  const Json config = config_named(release.listed_in != nullptr ? release.listed_in : release.config);
  const Json& quantization = config.at(release.listed_in != nullptr ? "quantization" : "quantization_config");
  NameSet out;
  for (const char* key : {"modules_to_not_convert", "exclude_modules"}) {
    if (quantization.contains(key)) out.merge(quantization.at(key).get<NameSet>());
  }
  return out;
}

// How a list calls a tensor. GLM-5's was made by cutting every ".weight" out of the tensors' names, so that
// "indexer.weights_proj.weight" reads "indexers_proj".
std::string listed_name(const Release& release, const std::string& tensor) {
  std::string name = module_of(tensor);
  if (!release.complete) return name;
  constexpr std::string_view kCut = ".weight";
  for (std::size_t at = name.find(kCut); at != std::string::npos; at = name.find(kCut)) name.erase(at, kCut.size());
  return name;
}

// The list in the output: written twice, as one loader reads this and another that.
NameSet ignored(const quant::Plan& plan) {
  const Json config = parse_json(plan.config_text, "config.json").value().at("quantization_config");
  if (plan.texts.empty()) {
    EXPECT_EQ(config.at("modules_to_not_convert"), config.at("ignored_layers"));
    return config.at("modules_to_not_convert").get<NameSet>();
  }
  const Json legacy = parse_json(plan.texts[0].text, plan.texts[0].name).value().at("quantization");
  EXPECT_EQ(config.at("ignore"), legacy.at("exclude_modules"));
  return config.at("ignore").get<NameSet>();
}

TEST(Published, QuantizesWhatThePublisherDid) {
  SKIP_WITHOUT_CONFIGS();
  for (const Release& release : releases()) {
    SCOPED_TRACE(release.config);
    const Json config = unquantized(config_named(release.config));
    const auto tensors = tensors_of(config);
    const NameSet listed = listed_by_publisher(release);

    // What the release has in FP8 and in BF16; and every entry of the list is one of the model's tensors.
    NameSet theirs, kept_matrices, others;
    for (const PublishedTensor& tensor : tensors) {
      const std::string name = listed_name(release, tensor.name);
      const bool unlisted =
          std::find(release.unlisted.begin(), release.unlisted.end(), tensor.kind) != release.unlisted.end();
      if (!is_matrix(tensor)) {
        others.insert(name);
      } else if (unlisted || listed.contains(name)) {
        kept_matrices.insert(module_of(tensor.name));
        others.insert(name);
      } else {
        theirs.insert(module_of(tensor.name));
      }
    }
    EXPECT_TRUE(missing(others, listed).empty()) << *missing(others, listed).begin() << " is no tensor of the model";
    if (release.complete) expect_same(listed, others, "the publisher's list");

    const test::TempDir dir;
    write(dir / "model", config, tensors);
    const auto checkpoint = Checkpoint::open(dir / "model");
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    const auto plan = quant::make_plan(*checkpoint, quant::make_spec(release.scheme, release.format).value());
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    NameSet ours;
    for (const quant::PlannedTensor& planned : plan->tensors) {
      if (planned.quantized()) ours.insert(module_of(checkpoint->tensors()[planned.source].name));
    }
    expect_same(ours, theirs, "quantized");

    // The list that Octavo writes names each matrix that stays, and nothing else: loaders ask it about linears only, so
    // the norms, biases and embeddings that some publishers add say nothing.
    expect_same(ignored(*plan), kept_matrices, "ignored");
  }
}

// DeepSeek's own release as a source: all that is FP8 in it stays FP8.
TEST(Published, DeepSeekReleaseIsConverted) {
  SKIP_WITHOUT_CONFIGS();
  const Json config = config_named("deepseek-ai--DeepSeek-V3_config.json");
  const auto tensors = test::as_block_fp8(tensors_of(config));
  const test::TempDir dir;
  write(dir / "model", config, tensors);
  const auto run = test::run_octavo(
      {"convert", dir / "model", "--scheme", "block", "--format", "compressed-tensors", "--dry-run", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json plan = parse_json(run.out, "plan").value();
  EXPECT_EQ(plan.at("relabelled"), 45'808);
  EXPECT_EQ(plan.at("tensors").size(), 91'991u);
}

}  // namespace
}  // namespace octavo
