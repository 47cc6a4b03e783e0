// Opening model folders: one file, shards with an index, what loaders leave out, and every way it can fail.
#include "octavo/checkpoint/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>

#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

using test::CheckpointBuilder;
using test::TempDir;
using test::write_file;
namespace fs = std::filesystem;

// Four tensors with different contents; a config.
CheckpointBuilder small() {
  CheckpointBuilder b;
  b.add_random("model.layers.0.q_proj.weight", DType::kBF16, {4, 6}, 1);
  b.add_random("model.layers.1.q_proj.weight", DType::kBF16, {4, 6}, 2);
  b.add_f32("model.norm.weight", {6}, std::vector<float>{1, 2, 3, 4, 5, 6});
  b.add_random("lm_head.weight", DType::kF16, {3, 6}, 3);
  b.config() = {{"model_type", "tiny"}};
  return b;
}

std::vector<std::byte> bytes_of(const Checkpoint& checkpoint, std::string_view name) {
  const CheckpointTensor* tensor = checkpoint.find(name);
  if (tensor == nullptr) return {};
  std::vector<std::byte> out(tensor->bytes);
  EXPECT_TRUE(checkpoint.read(*tensor, 0, out).ok());
  return out;
}

std::string error_of(const fs::path& dir) {
  const auto checkpoint = Checkpoint::open(dir);
  return checkpoint.ok() ? "no error" : checkpoint.error().message;
}

TEST(Checkpoint, OneFile) {
  const TempDir dir;
  CheckpointBuilder b = small();
  const Checkpoint checkpoint = b.open(dir / "m");
  EXPECT_EQ(checkpoint.shards().size(), 1u);
  EXPECT_EQ(checkpoint.shards()[0].name, "model.safetensors");
  EXPECT_EQ(checkpoint.shards()[0].metadata.at("format"), "pt");
  EXPECT_FALSE(checkpoint.has_index());
  EXPECT_EQ(checkpoint.tensors().size(), 4u);
  EXPECT_EQ(checkpoint.data_bytes(), 48u + 48u + 24u + 36u);
  for (const auto& tensor : b.tensors()) EXPECT_EQ(bytes_of(checkpoint, tensor.name), tensor.bytes) << tensor.name;
  EXPECT_EQ(checkpoint.find("nothing"), nullptr);
  EXPECT_EQ(checkpoint.config()["model_type"], "tiny");
  EXPECT_EQ(checkpoint.config_text(), test::read_file(dir / "m/config.json"));
}

TEST(Checkpoint, AnyNumberOfShards) {
  for (const std::size_t shards : {2u, 3u, 4u}) {
    const TempDir dir;
    CheckpointBuilder b = small();
    b.spread(shards);
    const Checkpoint checkpoint = b.open(dir / "m");
    EXPECT_EQ(checkpoint.shards().size(), shards);
    EXPECT_TRUE(checkpoint.has_index());
    EXPECT_EQ(checkpoint.index()->total_size, checkpoint.data_bytes());
    for (const auto& tensor : b.tensors()) EXPECT_EQ(bytes_of(checkpoint, tensor.name), tensor.bytes) << tensor.name;
    for (std::size_t i = 1; i < checkpoint.tensors().size(); ++i) {
      const auto& a = checkpoint.tensors()[i - 1];
      const auto& c = checkpoint.tensors()[i];
      EXPECT_TRUE(a.shard < c.shard || (a.shard == c.shard && a.offset <= c.offset));
    }
  }
}

TEST(Checkpoint, MovingKeepsNames) {
  const TempDir dir;
  Checkpoint first = small().open(dir / "m");
  const Checkpoint second = std::move(first);
  ASSERT_NE(second.find("lm_head.weight"), nullptr);
  EXPECT_EQ(second.find("lm_head.weight")->dtype, DType::kF16);
}

TEST(Checkpoint, ASingleFileMayHaveAnyName) {
  const TempDir dir;
  small().write(dir / "m");
  fs::rename(dir / "m/model.safetensors", dir / "m/consolidated.safetensors");
  const auto checkpoint = Checkpoint::open(dir / "m");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->shards()[0].name, "consolidated.safetensors");
  // model.safetensors comes before others.
  write_file(dir / "m/model.safetensors", test::read_file(dir / "m/consolidated.safetensors"));
  EXPECT_EQ(Checkpoint::open(dir / "m")->shards()[0].name, "model.safetensors");
}

TEST(Checkpoint, TensorsOutsideTheIndexAreLeftOut) {
  const TempDir dir;
  CheckpointBuilder b = small();
  b.spread(2);
  b.index() = b.correct_index();
  // Loaders take a tensor from the shard the index names, and nothing else.
  (*b.index())["weight_map"].erase("lm_head.weight");
  const Checkpoint checkpoint = b.open(dir / "m");
  EXPECT_EQ(checkpoint.tensors().size(), 3u);
  EXPECT_EQ(checkpoint.unindexed(), std::vector<std::string>{"lm_head.weight"});
  EXPECT_EQ(checkpoint.find("lm_head.weight"), nullptr);
  EXPECT_EQ(checkpoint.data_bytes(), 48u + 48u + 24u);
}

TEST(Checkpoint, ATensorInTwoShardsIsTheIndexedOne) {
  const TempDir dir;
  CheckpointBuilder b = small();
  b.spread(2);
  b.write(dir / "m");
  CheckpointBuilder other;  // replaces shard 2, with a second copy of a tensor of shard 1
  other.add_random("model.layers.1.q_proj.weight", DType::kBF16, {4, 6}, 2);
  other.add_random("lm_head.weight", DType::kF16, {3, 6}, 3);
  other.add_f32("model.norm.weight", {6}, std::vector<float>{9, 9, 9, 9, 9, 9});
  other.write(dir / "o");
  fs::rename(dir / "o/model.safetensors", dir / "m/model-00002-of-00002.safetensors");
  const auto checkpoint = Checkpoint::open(dir / "m");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->unindexed(), std::vector<std::string>{"model.norm.weight"});
  EXPECT_EQ(bytes_of(*checkpoint, "model.norm.weight"), b.at("model.norm.weight").bytes);
}

TEST(Checkpoint, FilesThatTheIndexDoesNotNameAreIgnored) {
  const TempDir dir;
  CheckpointBuilder b = small();
  b.spread(2);
  b.add_file("extra.safetensors", "not even safetensors");
  EXPECT_EQ(b.open(dir / "m").shards().size(), 2u);
}

TEST(Checkpoint, LinksAreFollowed) {
  // The cache of huggingface_hub holds links into a folder of blobs.
  const TempDir dir;
  small().write(dir / "blobs");
  fs::create_directories(dir / "m");
  for (const char* name : {"model.safetensors", "config.json"}) {
    fs::create_symlink(dir / "blobs" / name, dir / "m" / name);
  }
  const auto checkpoint = Checkpoint::open(dir / "m");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensors().size(), 4u);
}

TEST(Checkpoint, NoConfigIsNoError) {
  const TempDir dir;
  CheckpointBuilder b = small();
  b.config() = nullptr;
  const Checkpoint checkpoint = b.open(dir / "m");
  EXPECT_FALSE(checkpoint.has_config());
  EXPECT_TRUE(checkpoint.config().is_object());
  EXPECT_EQ(checkpoint.config_text(), "");
}

TEST(Checkpoint, PythonConstantsInTheConfig) {
  const TempDir dir;
  CheckpointBuilder b = small();
  b.config() = nullptr;
  b.add_file("config.json", "{\"model_type\": \"x\", \"rope_theta\": Infinity, \"eps\": NaN}");
  const Checkpoint checkpoint = b.open(dir / "m");
  EXPECT_TRUE(checkpoint.config()["eps"].is_null());
  EXPECT_NE(checkpoint.config_text().find("Infinity"), std::string::npos);
}

TEST(Checkpoint, OtherFiles) {
  const TempDir dir;
  CheckpointBuilder b = small();
  b.spread(2);
  for (const char* name :
       {"tokenizer.json", "merges.txt", "chat_template.jinja", "modeling_x.py", "README.md", "generation_config.json",
        "pytorch_model.bin", "pytorch_model.bin.index.json", "x.gguf", "old.pth", "tf_model.h5", "flax_model.msgpack",
        "model.onnx", ".gitattributes", "extra.safetensors"}) {
    b.add_file(name, "x");
  }
  b.write(dir / "m");
  write_file(dir / "m/sub/file.txt", "x");
  write_file(dir / "m/.cache/file.txt", "x");
  fs::create_directory_symlink("sub", dir / "m/linked");
  fs::create_symlink("nowhere", dir / "m/.hidden");
  const auto checkpoint = Checkpoint::open(dir / "m");
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_EQ(checkpoint->other_files(),
            (std::vector<std::string>{"README.md", "chat_template.jinja", "generation_config.json", "merges.txt",
                                      "modeling_x.py", "tokenizer.json"}));
  EXPECT_EQ(checkpoint->left_out(), (std::vector<std::string>{"linked/", "sub/"}));
}

TEST(Checkpoint, ScalesOfEveryDtype) {
  const TempDir dir;
  CheckpointBuilder b;
  b.add_f32("f32", {2, 2}, std::vector<float>{0.5f, 1.0f, 2.0f, 0.25f});
  b.add_bf16("bf16", {2}, std::vector<std::uint16_t>{0x3F80, 0x4000});
  b.add("f16", DType::kF16, {2}, test::bytes_of(std::vector<std::uint16_t>{0x3C00, 0x3800}));
  b.add("e8m0", DType::kF8E8M0, {3}, test::bytes_of(std::vector<std::uint8_t>{127, 128, 120}));
  b.add("u8", DType::kU8, {1}, test::bytes_of(std::vector<std::uint8_t>{126}));
  b.add("i32", DType::kI32, {1}, test::bytes_of(std::vector<std::int32_t>{1}));
  b.add("none", DType::kF32, {0}, {});
  const Checkpoint c = b.open(dir / "m");
  const auto scales = [&](const char* name) { return c.read_scales(*c.find(name), 1 << 20); };
  EXPECT_EQ(*scales("f32"), (std::vector<float>{0.5f, 1.0f, 2.0f, 0.25f}));
  EXPECT_EQ(*scales("bf16"), (std::vector<float>{1.0f, 2.0f}));
  EXPECT_EQ(*scales("f16"), (std::vector<float>{1.0f, 0.5f}));
  EXPECT_EQ(*scales("e8m0"), (std::vector<float>{1.0f, 2.0f, 0.0078125f}));
  EXPECT_EQ(*scales("u8"), std::vector<float>{0.5f});
  EXPECT_EQ(*scales("none"), std::vector<float>{});
  EXPECT_NE(scales("i32").error().message.find("I32 is not a scale's dtype"), std::string::npos);
  EXPECT_EQ(*c.read_scales(*c.find("f32"), 1, 2), (std::vector<float>{1.0f, 2.0f}));
  EXPECT_FALSE(c.read_scales(*c.find("f32"), 3, 2).ok());
  EXPECT_FALSE(c.read_scales(*c.find("f32"), 5, 0).ok());
  EXPECT_FALSE(c.read_scales(*c.find("f32"), std::uint64_t{1} << 62, 1).ok());
  EXPECT_FALSE(c.read_scales(*c.find("f32"), 0, std::uint64_t{1} << 62).ok());
  EXPECT_FALSE(c.read_scales(*c.find("f32"), 15).ok());  // over the limit in bytes
}

struct BadFolder {
  const char* error;
  std::function<void(const fs::path&)> damage;  // of a good folder with two shards
};

TEST(Checkpoint, FailuresAreOneSentence) {
  const auto index = [](const fs::path& dir) { return dir / "model.safetensors.index.json"; };
  const auto no_index = [index](const fs::path& dir) { fs::remove(index(dir)); };
  const auto no_weights = [](const fs::path& dir) {
    for (const char* name : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}) {
      fs::remove(dir / name);
    }
    fs::remove(dir / "model.safetensors.index.json");
  };
  const BadFolder cases[] = {
      {"no error", [](const fs::path&) {}},
      {"no such folder", [](const fs::path& d) { fs::remove_all(d); }},
      {"is a file, a model folder is needed", [](const fs::path& d) { fs::remove_all(d), write_file(d, "x"); }},
      {"no model.safetensors and no model.safetensors.index.json",
       [](const fs::path& d) { fs::remove_all(d), fs::create_directory(d); }},
      {"2 safetensors files but no model.safetensors.index.json", no_index},
      {"m/pytorch_model.bin: neither a ZIP archive nor a pickle",
       [&](const fs::path& d) { no_weights(d), write_file(d / "pytorch_model.bin", "x"); }},
      {"run `octavo import FILE.gguf -o DIR` first",
       [&](const fs::path& d) { no_weights(d), write_file(d / "m.gguf", "x"); }},
      {"shard model-00002-of-00002.safetensors is missing",
       [](const fs::path& d) { fs::remove(d / "model-00002-of-00002.safetensors"); }},
      {"is a folder, not a file",
       [](const fs::path& d) {
         fs::remove(d / "model-00002-of-00002.safetensors");
         fs::create_directory(d / "model-00002-of-00002.safetensors");
       }},
      {"says tensor \"ghost\" is in model-00001-of-00002.safetensors, which does not hold it",
       [](const fs::path& d) {
         CheckpointBuilder b = small();
         b.spread(2);
         b.index() = b.correct_index();
         (*b.index())["weight_map"]["ghost"] = "model-00001-of-00002.safetensors";
         b.write(d);
       }},
      {"says tensor \"lm_head.weight\" is in model-00001-of-00002.safetensors, which does not hold it",
       [](const fs::path& d) {
         CheckpointBuilder b = small();
         b.spread(2);
         b.index() = b.correct_index();
         (*b.index())["weight_map"]["lm_head.weight"] = "model-00001-of-00002.safetensors";
         b.write(d);
       }},
      {"index.json:1:1: ", [&](const fs::path& d) { write_file(index(d), ""); }},
      {"has no weight_map", [&](const fs::path& d) { write_file(index(d), "{}"); }},
      {"is a folder, not a file", [&](const fs::path& d) { fs::remove(index(d)), fs::create_directory(index(d)); }},
      {"not a regular file",
       [](const fs::path& d) {
         fs::remove(d / "config.json");
         ASSERT_EQ(mkfifo((d / "config.json").c_str(), 0600), 0);
       }},
      {"m/tokenizer.json: a link to nowhere: an incomplete download?",
       [](const fs::path& d) { fs::create_symlink("../blobs/none", d / "tokenizer.json"); }},
      {"m/model.safetensors.index.json: a link to nowhere",
       [&](const fs::path& d) { fs::remove(index(d)), fs::create_symlink("none", index(d)); }},
      {"config.json:1:1: ", [](const fs::path& d) { write_file(d / "config.json", ""); }},
      {"config.json: must be an object, not a list", [](const fs::path& d) { write_file(d / "config.json", "[]"); }},
      {"config.json: 33554433 bytes, at most 33554432 are read",
       [](const fs::path& d) { fs::resize_file(d / "config.json", (32u << 20) + 1); }},
      {"model-00001-of-00002.safetensors: truncated",
       [](const fs::path& d) {
         const fs::path shard = d / "model-00001-of-00002.safetensors";
         fs::resize_file(shard, fs::file_size(shard) - 1);
       }},
      {"model-00002-of-00002.safetensors: 0 bytes are too few",
       [](const fs::path& d) { fs::resize_file(d / "model-00002-of-00002.safetensors", 0); }},
  };
  for (const BadFolder& c : cases) {
    const TempDir dir;
    CheckpointBuilder b = small();
    b.spread(2);
    b.write(dir / "m");
    c.damage(dir / "m");
    const std::string message = error_of(dir / "m");
    EXPECT_NE(message.find(c.error), std::string::npos) << c.error << "\n-> " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  EXPECT_NE(error_of("").find("name is empty"), std::string::npos);
}

}  // namespace
}  // namespace octavo
