// Block decoders against values of the Python package gguf (tools/make_gguf_golden.py), bit for bit.
#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "octavo/base/file.h"
#include "octavo/checkpoint/gguf/blocks.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo {
namespace {

struct Golden {
  Shape shape;
  std::vector<std::byte> bytes;
};

Golden golden(const std::string& name) {
  const auto file = File::open_read(OCTAVO_SOURCE_DIR "/tests/data/gguf_blocks.safetensors");
  EXPECT_TRUE(file.ok()) << (file.ok() ? "" : file.error().message);
  const auto header = read_safetensors_header(*file);
  EXPECT_TRUE(header.ok());
  for (const TensorEntry& entry : header->tensors) {
    if (entry.name != name) continue;
    Golden found{entry.shape, std::vector<std::byte>(entry.bytes())};
    EXPECT_TRUE(file->read_at(header->data_begin + entry.begin, found.bytes).ok());
    return found;
  }
  ADD_FAILURE() << name << " is not in the golden file";
  return {};
}

class GgufBlocks : public testing::TestWithParam<std::uint32_t> {};

TEST_P(GgufBlocks, EqualTheReferenceBitForBit) {
  const GgmlType* type = find_ggml_type(GetParam());
  ASSERT_NE(type, nullptr);
  ASSERT_NE(type->decode, nullptr);
  const Golden blocks = golden(std::string(type->name) + ".blocks");
  const Golden values = golden(std::string(type->name) + ".values");
  ASSERT_EQ(blocks.shape[1], type->block_bytes);
  ASSERT_EQ(values.shape[0], blocks.shape[0] * type->block_elements);
  std::vector<float> decoded(values.shape[0], -1.0f);
  type->decode(blocks.bytes.data(), blocks.shape[0], decoded.data());
  std::size_t negative_zeros = 0;
  for (std::size_t i = 0; i < decoded.size(); ++i) {
    std::uint32_t expected = 0;
    std::memcpy(&expected, values.bytes.data() + 4 * i, sizeof expected);
    ASSERT_EQ(std::bit_cast<std::uint32_t>(decoded[i]), expected) << type->name << " element " << i;
    negative_zeros += expected == 0x80000000u;
  }
  EXPECT_GT(negative_zeros, 0u) << "the golden blocks of " << type->name << " no longer try the sign of zero";
}

// The ids of the format: F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16.
INSTANTIATE_TEST_SUITE_P(EveryType, GgufBlocks, testing::Values(0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 30),
                         [](const auto& tested) { return std::string(find_ggml_type(tested.param)->name); });

TEST(GgufBlocks, WriteNothingBehindTheirOutput) {
  for (const std::uint32_t id : {0u, 1u, 2u, 3u, 6u, 7u, 8u, 12u, 13u, 14u, 30u}) {
    const GgmlType& type = *find_ggml_type(id);
    const std::vector<std::byte> block(type.block_bytes, std::byte{0x11});
    std::vector<float> out(type.block_elements + 1, 1e30f);
    type.decode(block.data(), 1, out.data());
    EXPECT_EQ(out.back(), 1e30f) << type.name;
    EXPECT_NE(out[type.block_elements - 1], 1e30f) << type.name;
  }
}

TEST(GgufBlocks, UnknownTypes) {
  EXPECT_EQ(find_ggml_type(4), nullptr);  // Q4_2, removed from ggml
  EXPECT_EQ(find_ggml_type(1000), nullptr);
  ASSERT_NE(find_ggml_type(10), nullptr);
  EXPECT_EQ(find_ggml_type(10)->name, "Q2_K");
  EXPECT_EQ(find_ggml_type(10)->decode, nullptr);
  EXPECT_EQ(decodable_ggml_types(), "F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16");
}

}  // namespace
}  // namespace octavo
