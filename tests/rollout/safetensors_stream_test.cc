// Safetensors in pieces of any size, whole or broken.
#include "octavo/rollout/safetensors_stream.h"

#include <gtest/gtest.h>

#include <random>

#include "octavo/base/file.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"

namespace octavo::rollout {
namespace {

// Collects what a stream delivers; every byte once.
struct Collector {
  std::vector<TensorInfo> tensors;
  std::vector<std::vector<std::byte>> bytes;
  std::vector<std::vector<int>> seen;

  TensorReceiver receiver() {
    return {[this](std::span<const TensorInfo> infos) -> Result<std::vector<std::size_t>> {
              std::vector<std::size_t> ids;
              for (const TensorInfo& info : infos) {
                ids.push_back(tensors.size());
                tensors.push_back(info);
                bytes.emplace_back(byte_count(info.dtype, info.shape).value());
                seen.emplace_back(bytes.back().size());
              }
              return ids;
            },
            [this](std::size_t id, std::uint64_t offset, std::span<const std::byte> piece) -> Status {
              for (std::size_t i = 0; i < piece.size(); ++i) {
                bytes.at(id).at(offset + i) = piece[i];
                ++seen[id][offset + i];
              }
              return {};
            }};
  }
};

std::vector<std::byte> file_bytes(const std::filesystem::path& path) {
  const File file = File::open_read(path).value();
  std::vector<std::byte> out(file.size());
  EXPECT_TRUE(file.read_at(0, out).ok());
  return out;
}

class SafetensorsStreamTest : public ::testing::Test {
 protected:
  SafetensorsStreamTest() : builder_(test::tiny_decoder({.layers = 1, .hidden = 32, .intermediate = 40})) {
    builder_.add_bf16("nothing", {0, 4}, {});
    builder_.write(dir_ / "m");
    bytes_ = file_bytes(dir_ / "m" / "model.safetensors");
  }
  Status push(std::span<const std::byte> bytes, std::size_t most, Collector& to, std::uint64_t seed = 1) {
    std::mt19937_64 random(seed);
    SafetensorsStream stream(to.receiver(), "body");
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t step = std::min<std::size_t>(bytes.size() - at, 1 + random() % most);
      const std::vector<std::byte> piece(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                                         bytes.begin() + static_cast<std::ptrdiff_t>(at + step));
      OCTAVO_TRY(stream.push(piece));
      at += step;
    }
    return stream.finish();
  }
  void expect_all(const Collector& got) {
    ASSERT_EQ(got.tensors.size(), builder_.tensors().size());
    for (std::size_t i = 0; i < got.tensors.size(); ++i) {
      const test::BuiltTensor& sent = builder_.at(got.tensors[i].name);
      EXPECT_EQ(got.tensors[i].dtype, sent.dtype);
      EXPECT_EQ(got.tensors[i].shape, sent.shape);
      EXPECT_EQ(got.bytes[i], sent.bytes) << sent.name;
      for (const int count : got.seen[i]) ASSERT_EQ(count, 1);
    }
  }
  test::TempDir dir_;
  test::CheckpointBuilder builder_;
  std::vector<std::byte> bytes_;
};

TEST_F(SafetensorsStreamTest, PiecesOfAnySize) {
  for (const std::size_t most : {1ul, 7ul, 1000ul, 100'000ul, bytes_.size()}) {
    SCOPED_TRACE(most);
    Collector got;
    const Status done = push(bytes_, most, got, most);
    ASSERT_TRUE(done.ok()) << done.error().message;
    expect_all(got);
  }
}

TEST_F(SafetensorsStreamTest, FilesAndFolders) {
  for (const char* path : {"m", "m/model.safetensors"}) {
    Collector got;
    const Status done = send_path((dir_ / path).string(), got.receiver());
    ASSERT_TRUE(done.ok()) << done.error().message;
    expect_all(got);
  }
  builder_.spread(3);
  builder_.write(dir_ / "shards");
  Collector got;
  ASSERT_TRUE(send_path((dir_ / "shards").string(), got.receiver()).ok());
  expect_all(got);
  EXPECT_FALSE(send_path((dir_ / "absent").string(), got.receiver()).ok());
}

TEST_F(SafetensorsStreamTest, EveryTruncationIsFound) {
  for (std::size_t size = 0; size < bytes_.size(); size += size < 3000 ? 1 : 997) {
    Collector got;
    const Status done = push(std::span(bytes_).first(size), 5000, got);
    ASSERT_FALSE(done.ok()) << size;
    EXPECT_NE(done.error().message.find("body: ends "), std::string::npos) << done.error().message;
  }
  bytes_.push_back(std::byte{0});
  Collector got;
  EXPECT_EQ(push(bytes_, 5000, got).error().message, "body: more bytes than the header says");
}

TEST_F(SafetensorsStreamTest, BrokenHeaders) {
  const auto with_header = [](std::string header) {
    std::vector<std::byte> out(8 + header.size());
    const std::uint64_t length = header.size();
    std::memcpy(out.data(), &length, 8);
    std::memcpy(out.data() + 8, header.data(), header.size());
    return out;
  };
  for (
      const char* header :
      {"", "[]", "{", "null", R"({"a": 1})", R"({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 3]}})",
       R"({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [4, 8]}})",
       R"({"a": {"dtype": "XX", "shape": [2], "data_offsets": [0, 4]}})",
       R"({"a": {"dtype": "BF16", "shape": [2], "data_offsets": "x"}})",
       R"({"a": {"dtype": "BF16", "shape": [9223372036854775807, 4], "data_offsets": [0, 18446744073709551615]}})",
       R"({"a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}, "a": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}})"}) {
    Collector got;
    const Status done = push(with_header(header), 1000, got);
    EXPECT_FALSE(done.ok()) << header;
    EXPECT_TRUE(got.tensors.empty()) << header;
  }
  std::vector<std::byte> huge(8, std::byte{0xFF});
  Collector got;
  EXPECT_FALSE(push(huge, 8, got).ok());
}

}  // namespace
}  // namespace octavo::rollout
