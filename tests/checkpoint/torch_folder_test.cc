// Folders with pytorch_model.bin: which files are opened, under which names outputs stand, tied heads.
#include <gtest/gtest.h>

#include <filesystem>

#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/job_inputs.h"
#include "octavo/checkpoint/weight_files.h"
#include "tests/support/temp_dir.h"
#include "tests/support/torch_builder.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using test::TempDir;
using test::write_file;
const fs::path kData = fs::path(OCTAVO_SOURCE_DIR) / "tests/data/torch";

std::string error_of(const fs::path& dir) {
  const auto checkpoint = Checkpoint::open(dir);
  return checkpoint.ok() ? "no error" : checkpoint.error().message;
}

// Both folders hold the same tensors with the same bytes.
void expect_equal(const Checkpoint& a, const Checkpoint& b) {
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  EXPECT_EQ(a.data_bytes(), b.data_bytes());
  for (const CheckpointTensor& tensor : a.tensors()) {
    const CheckpointTensor* other = b.find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(tensor.dtype, other->dtype);
    EXPECT_EQ(tensor.shape, other->shape);
    std::vector<std::byte> mine(tensor.bytes), theirs(other->bytes);
    ASSERT_TRUE(a.read(tensor, 0, mine).ok());
    ASSERT_TRUE(b.read(*other, 0, theirs).ok());
    EXPECT_EQ(mine, theirs) << tensor.name;
  }
}

TEST(TorchFolder, OneFile) {
  const auto torch = Checkpoint::open(kData / "opt");
  ASSERT_TRUE(torch.ok()) << torch.error().message;
  EXPECT_EQ(torch->shards().at(0).name, "pytorch_model.bin");
  EXPECT_EQ(torch->shards()[0].output_name, "model.safetensors");
  EXPECT_FALSE(torch->has_index());
  const auto plain = Checkpoint::open(kData / "opt/safetensors");
  ASSERT_TRUE(plain.ok()) << plain.error().message;
  expect_equal(*torch, *plain);
}

TEST(TorchFolder, Shards) {
  const auto torch = Checkpoint::open(kData / "sharded");
  ASSERT_TRUE(torch.ok()) << torch.error().message;
  ASSERT_EQ(torch->shards().size(), 3u);
  for (const Shard& shard : torch->shards()) {
    EXPECT_TRUE(shard.name.starts_with("pytorch_model-0000")) << shard.name;
    EXPECT_EQ("pytorch_" + shard.output_name, fs::path(shard.name).replace_extension(".safetensors").string());
  }
  EXPECT_EQ(torch->index_name(), "pytorch_model.bin.index.json");
  const auto plain = Checkpoint::open(kData / "sharded/safetensors");
  ASSERT_TRUE(plain.ok()) << plain.error().message;
  EXPECT_EQ(plain->index_name(), "model.safetensors.index.json");
  expect_equal(*torch, *plain);
  for (std::size_t i = 1; i < torch->tensors().size(); ++i) {
    const auto& a = torch->tensors()[i - 1];
    const auto& b = torch->tensors()[i];
    EXPECT_TRUE(a.shard < b.shard || (a.shard == b.shard && a.offset <= b.offset));
  }
}

TEST(TorchFolder, InputsOfAJob) {
  const Checkpoint torch = std::move(Checkpoint::open(kData / "sharded")).value();
  std::vector<std::string> names;
  for (const InputFile& input : input_files(torch)) {
    names.push_back(input.name);
    EXPECT_TRUE(fs::exists(input.path)) << input.path;
  }
  EXPECT_EQ(names.size(), 5u);
  EXPECT_NE(std::find(names.begin(), names.end(), "pytorch_model.bin.index.json"), names.end());
  EXPECT_EQ(checkpoint_fingerprint(torch), checkpoint_fingerprint(*Checkpoint::open(kData / "sharded")));
  EXPECT_NE(checkpoint_fingerprint(torch), checkpoint_fingerprint(*Checkpoint::open(kData / "opt")));
}

TEST(TorchFolder, SafetensorsComeFirst) {
  const TempDir dir;
  fs::copy(kData / "opt", dir / "m", fs::copy_options::recursive);
  EXPECT_EQ(Checkpoint::open(dir / "m")->shards().at(0).name, "pytorch_model.bin");
  fs::copy(kData / "opt/safetensors/model.safetensors", dir / "m/adapter.safetensors");  // by another name: last
  EXPECT_EQ(Checkpoint::open(dir / "m")->shards().at(0).name, "pytorch_model.bin");
  fs::copy(kData / "opt/safetensors/model.safetensors", dir / "m/model.safetensors");
  EXPECT_EQ(Checkpoint::open(dir / "m")->shards().at(0).name, "model.safetensors");
}

TEST(TorchFolder, ATiedHead) {
  const TempDir dir;
  fs::create_directories(dir / "m");
  fs::copy(kData / "good/tied.bin", dir / "m/pytorch_model.bin");
  for (const char* config : {"", "{}", R"({"tie_word_embeddings": false})"}) {
    if (*config != '\0') write_file(dir / "m/config.json", config);
    const auto both = Checkpoint::open(dir / "m");
    ASSERT_TRUE(both.ok()) << both.error().message;
    ASSERT_NE(both->find("lm_head.weight"), nullptr);
    EXPECT_EQ(both->find("lm_head.weight")->offset, both->find("model.embed_tokens.weight")->offset);
    EXPECT_EQ(both->data_bytes(), 64u + 64u + 8u);
    EXPECT_EQ(both->notes(), std::vector<std::string>{});
  }
  write_file(dir / "m/config.json", R"({"tie_word_embeddings": true})");
  const auto one = Checkpoint::open(dir / "m");
  ASSERT_TRUE(one.ok()) << one.error().message;
  EXPECT_EQ(one->find("lm_head.weight"), nullptr);
  EXPECT_EQ(one->data_bytes(), 64u + 8u);
  EXPECT_EQ(one->notes(), std::vector<std::string>{
                              "\"lm_head.weight\" is the same data as \"model.embed_tokens.weight\" and is left out: "
                              "config.json ties them"});
  // Another head, of the same shape, is kept whatever the config says.
  using namespace test::pickle;
  const auto weight = [](int offset) { return tensor(storage("FloatStorage", "0", 12), offset, {2, 3}, {3, 1}); };
  write_file(dir / "m/pytorch_model.bin",
             test::torch_archive(
                 proto() + dict({{text("embed.weight"), weight(0)}, {text("lm_head.weight"), weight(6)}}) + ".",
                 std::string(48, 'x')));
  const auto other = Checkpoint::open(dir / "m");
  ASSERT_TRUE(other.ok()) << other.error().message;
  EXPECT_NE(other->find("lm_head.weight"), nullptr);
}

TEST(TorchFolder, OutputNames) {
  const auto name = [](std::string_view from) { return output_shard_name(from, WeightFormat::kTorch); };
  EXPECT_EQ(name("pytorch_model.bin"), "model.safetensors");
  EXPECT_EQ(name("pytorch_model-00002-of-00046.bin"), "model-00002-of-00046.safetensors");
  EXPECT_EQ(name("part.bin"), "part.safetensors");
  EXPECT_EQ(output_shard_name("pytorch_model.safetensors", WeightFormat::kSafetensors), "pytorch_model.safetensors");
}

TEST(TorchFolder, FailuresAreOneSentence) {
  const TempDir dir;
  const fs::path m = dir / "m";
  const auto with = [&](const std::vector<std::pair<std::string, std::string>>& files) {
    fs::remove_all(m);
    fs::create_directories(m);
    for (const auto& [name, text] : files) write_file(m / name, text);
    return error_of(m);
  };
  const std::string good = test::torch_archive(test::pickle::small_state());
  const std::string index = "pytorch_model.bin.index.json";
  EXPECT_EQ(with({{"pytorch_model.bin", good}}), "no error");
  EXPECT_NE(with({{"pytorch_model.bin", "x"}}).find("m/pytorch_model.bin: neither a ZIP archive nor a pickle"),
            std::string::npos);
  EXPECT_NE(with({{"consolidated.00.pth", good}}).find("PyTorch weights that are not called pytorch_model.bin"),
            std::string::npos);
  EXPECT_NE(with({{"training_args.bin", good}}).find("not called pytorch_model.bin"), std::string::npos);
  EXPECT_NE(with({{"pytorch_model-00001-of-00002.bin", good}})
                .find("1 of a model's shards but no pytorch_model.bin.index.json: an incomplete download?"),
            std::string::npos);
  EXPECT_NE(with({{index, R"({"weight_map": {"w": "pytorch_model-00001-of-00002.bin"}})"}})
                .find("shard pytorch_model-00001-of-00002.bin is missing, pytorch_model.bin.index.json names it"),
            std::string::npos);
  EXPECT_NE(with({{index, R"({"weight_map": {"w": "model.safetensors"}})"}}).find("is not a .bin file"),
            std::string::npos);
  EXPECT_NE(with({{index, R"({"weight_map": {"w": "../pytorch_model.bin"}})"}}).find("points outside the folder"),
            std::string::npos);
  EXPECT_NE(with({{index, R"({"weight_map": {"w": "a.bin", "v": "a.bin"}})"}, {"a.bin", good}})
                .find("says tensor \"v\" is in a.bin, which does not hold it"),
            std::string::npos);
  EXPECT_NE(with({{index, R"({"weight_map": {"w": "a.bin", "v": "pytorch_a.bin"}})"},
                  {"a.bin", good},
                  {"pytorch_a.bin", good}})
                .find("shards a.bin and pytorch_a.bin would both become a.safetensors"),
            std::string::npos);
}

}  // namespace
}  // namespace octavo
