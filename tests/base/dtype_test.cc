// Element types and shapes: names, widths, products that overflow.
#include "octavo/base/dtype.h"

#include <gtest/gtest.h>

namespace octavo {
namespace {

TEST(DType, NamesRoundTrip) {
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(dtype_name(dtype)), dtype) << dtype_name(dtype);
  }
  for (const char* wrong : {"", "bf16", "BFLOAT16", "F8", "F8_E4M3FN", "BF16 ", "F80"}) {
    EXPECT_FALSE(dtype_from_name(wrong)) << wrong;
  }
}

TEST(DType, Widths) {
  EXPECT_EQ(dtype_bits(DType::kF4), 4u);
  EXPECT_EQ(dtype_bits(DType::kF6E2M3), 6u);
  EXPECT_EQ(dtype_bytes(DType::kBool), 1u);
  EXPECT_EQ(dtype_bytes(DType::kF8E4M3), 1u);
  EXPECT_EQ(dtype_bytes(DType::kBF16), 2u);
  EXPECT_EQ(dtype_bytes(DType::kF32), 4u);
  EXPECT_EQ(dtype_bytes(DType::kC64), 8u);
  EXPECT_EQ(dtype_bytes(DType::kF4), 0u);
}

TEST(DType, TheEnumerationIsTheAlignmentOrder) {
  for (int i = 1; i <= static_cast<int>(DType::kU64); ++i) {
    if (static_cast<DType>(i) == DType::kF4) continue;  // BOOL, 8 bits, stands before the sub-byte types
    EXPECT_LE(dtype_bits(static_cast<DType>(i - 1)), dtype_bits(static_cast<DType>(i))) << i;
  }
}

TEST(DType, Kinds) {
  EXPECT_TRUE(is_fp8(DType::kF8E4M3));
  EXPECT_TRUE(is_fp8(DType::kF8E5M2FNUZ));
  EXPECT_FALSE(is_fp8(DType::kF8E8M0));  // a scale, not a weight
  EXPECT_FALSE(is_fp8(DType::kU8));
  EXPECT_TRUE(is_quantizable(DType::kF32));
  EXPECT_FALSE(is_quantizable(DType::kF64));
  EXPECT_FALSE(is_quantizable(DType::kF8E4M3));
}

TEST(Shape, Counts) {
  EXPECT_EQ(element_count({}), 1u);
  EXPECT_EQ(element_count({0}), 0u);
  EXPECT_EQ(element_count({576, 1536}), 884'736u);
  EXPECT_EQ(element_count({3, 0, 5}), 0u);
  EXPECT_EQ(element_count({UINT64_MAX, 1}), UINT64_MAX);
  EXPECT_EQ(shape_string({576, 1536}), "[576, 1536]");
  EXPECT_EQ(shape_string({}), "[]");
}

TEST(Shape, OverflowIsSeen) {
  const std::uint64_t big = std::uint64_t{1} << 32;
  EXPECT_FALSE(element_count({big, big}));
  EXPECT_FALSE(element_count({UINT64_MAX, 2}));
  // An empty tensor's other dimensions must fit all the same, wherever the zero stands.
  EXPECT_FALSE(element_count({0, big, big}));
  EXPECT_FALSE(element_count({big, big, 0}));
  EXPECT_EQ(element_count({big - 1, big}), (big - 1) * big);
}

TEST(Shape, Bytes) {
  EXPECT_EQ(byte_count(DType::kBF16, {3, 5}), 30u);
  EXPECT_EQ(byte_count(DType::kF32, {}), 4u);
  EXPECT_EQ(byte_count(DType::kI64, {0, 7}), 0u);
  EXPECT_EQ(byte_count(DType::kF4, {2}), 1u);
  EXPECT_FALSE(byte_count(DType::kF4, {3}));  // half a byte
  EXPECT_EQ(byte_count(DType::kF6E2M3, {4}), 3u);
  EXPECT_FALSE(byte_count(DType::kF6E3M2, {3}));
  EXPECT_FALSE(byte_count(DType::kF32, {std::uint64_t{1} << 60}));  // bits overflow
  EXPECT_FALSE(byte_count(DType::kU8, {UINT64_MAX}));
}

}  // namespace
}  // namespace octavo
