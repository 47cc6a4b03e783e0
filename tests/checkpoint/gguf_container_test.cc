// The GGUF head: every value type, versions 2 and 3, and every way to be broken.
#include <gtest/gtest.h>

#include "octavo/checkpoint/gguf/container.h"
#include "tests/support/gguf_builder.h"

namespace octavo {
namespace {

using test::GgufBuilder;

Result<GgufFile> parse(const std::string& bytes) { return parse_gguf(MemorySource(as_bytes(bytes), "x.gguf")); }
Result<GgufFile> parse(const GgufBuilder& builder) { return parse(builder.build()); }

std::string error_of(const std::string& bytes) {
  const auto result = parse(bytes);
  if (result.ok()) return "no error";
  EXPECT_EQ(result.error().message.rfind("x.gguf: ", 0), 0u) << result.error().message;
  return result.error().message;
}
std::string error_of(const GgufBuilder& builder) { return error_of(builder.build()); }

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

GgufBuilder one_tensor() {
  GgufBuilder builder;
  builder.tensor_f32("t", {2, 3}, {1, 2, 3, 4, 5, 6});
  return builder;
}

TEST(GgufContainer, ReadsEveryValueType) {
  for (const std::uint32_t version : {2u, 3u}) {
    GgufBuilder b;
    b.version = version;
    b.key("u8", GgufBuilder::kU8, GgufBuilder::raw<std::uint8_t>(200));
    b.key("i8", GgufBuilder::kI8, GgufBuilder::raw<std::int8_t>(-3));
    b.key("u16", GgufBuilder::kU16, GgufBuilder::raw<std::uint16_t>(60000));
    b.key("i16", GgufBuilder::kI16, GgufBuilder::raw<std::int16_t>(300));
    b.key("u32", GgufBuilder::kU32, GgufBuilder::raw<std::uint32_t>(4000000000u));
    b.key("i32", GgufBuilder::kI32, GgufBuilder::raw<std::int32_t>(-70000));
    b.key("f32", GgufBuilder::kF32, GgufBuilder::raw(1.5f));
    b.boolean("yes", true).boolean("no", false).string("text", "hé");
    b.key("u64", GgufBuilder::kU64, GgufBuilder::raw<std::uint64_t>(1ull << 63));
    b.key("i64", GgufBuilder::kI64, GgufBuilder::raw<std::int64_t>(1ll << 40));
    b.key("f64", GgufBuilder::kF64, GgufBuilder::raw(0.1));
    b.strings("words", {"a", "", "ccc"});
    b.numbers<float>("floats", GgufBuilder::kF32, {0.5f, -2.0f});
    b.numbers<std::int32_t>("ints", GgufBuilder::kI32, {-1, 7});
    b.numbers<std::uint8_t>("bools", GgufBuilder::kBool, {1, 0});
    const auto file = parse(b);
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->version, version);
    EXPECT_EQ(file->natural("u8").value(), 200u);
    EXPECT_EQ(file->natural("u16").value(), 60000u);
    EXPECT_EQ(file->natural("i16").value(), 300u);
    EXPECT_EQ(file->natural("u32").value(), 4000000000u);
    EXPECT_EQ(file->natural("u64").value(), 1ull << 63);
    EXPECT_EQ(file->natural("i64").value(), 1ull << 40);
    EXPECT_EQ(file->real("f32").value(), 1.5);
    EXPECT_EQ(file->real("f64").value(), 0.1);
    EXPECT_EQ(file->real("i32").value(), -70000.0);
    EXPECT_EQ(file->real("i8").value(), -3.0);
    EXPECT_EQ(file->boolean("yes").value(), true);
    EXPECT_EQ(file->boolean("no").value(), false);
    EXPECT_EQ(file->string("text").value(), "hé");
    const GgufArray* words = file->strings("words").value();
    ASSERT_EQ(words->size(), 3u);
    EXPECT_EQ(words->string(0), "a");
    EXPECT_EQ(words->string(1), "");
    EXPECT_EQ(words->string(2), "ccc");
    EXPECT_EQ(file->numbers("floats").value()->number(1), -2.0);
    EXPECT_EQ(file->numbers("ints").value()->number(0), -1.0);
    EXPECT_EQ(file->numbers("bools").value()->number(0), 1.0);
    // Absent keys are no error; other types and negative counts are.
    EXPECT_FALSE(file->natural("none").value().has_value());
    EXPECT_EQ(file->strings("none").value(), nullptr);
    EXPECT_SAYS(file->natural("text").error().message, "key 'text' is of type string, an integer is wanted");
    EXPECT_SAYS(file->natural("i8").error().message, "negative");
    EXPECT_SAYS(file->strings("floats").error().message, "an array of strings is wanted");
    EXPECT_SAYS(file->numbers("words").error().message, "an array of numbers is wanted");
    EXPECT_SAYS(file->boolean("u8").error().message, "a bool is wanted");
  }
}

TEST(GgufContainer, PlacesTensors) {
  GgufBuilder b = one_tensor();
  b.alignment = 128;
  b.tensor("q", 2, {4, 64}, std::string(4 * 2 * 18, 'x'));
  const std::string bytes = b.build();
  const auto file = parse(bytes);
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors.size(), 2u);
  EXPECT_EQ(file->tensors[0].shape, (Shape{2, 3}));
  EXPECT_EQ(file->tensors[0].offset % 128, 0u);
  EXPECT_EQ(bytes.substr(file->tensors[0].offset, 4), GgufBuilder::raw(1.0f));
  EXPECT_EQ(file->tensors[1].offset, file->tensors[0].offset + 128);
  EXPECT_EQ(file->tensors[1].bytes, 4u * 2 * 18);
  EXPECT_EQ(file->tensors[1].type->name, "Q4_0");
  EXPECT_EQ(file->find_tensor("q"), &file->tensors[1]);
  EXPECT_EQ(file->find_tensor("r"), nullptr);
}

TEST(GgufContainer, EveryTruncationIsAnError) {
  GgufBuilder b = one_tensor();
  b.string("name", "value").strings("list", {"one", "two"}).u32("n", 1);
  const std::string bytes = b.build();
  ASSERT_TRUE(parse(bytes).ok());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_NE(error_of(bytes.substr(0, size)), "no error") << size;
  }
  EXPECT_SAYS(error_of(bytes.substr(0, bytes.size() - 1)), "tensor 't' ends beyond the end of the file");
}

TEST(GgufContainer, RefusesOtherFilesAndVersions) {
  GgufBuilder b = one_tensor();
  b.magic = "GGML";
  EXPECT_SAYS(error_of(b), "does not begin with the letters GGUF");
  b.magic = "GGUF";
  b.version = 1;
  EXPECT_SAYS(error_of(b), "version 1");
  b.version = 4;
  EXPECT_SAYS(error_of(b), "GGUF version 4; Octavo reads versions 2 and 3");
  b.version = 0x03000000;  // 3 in big-endian order
  EXPECT_SAYS(error_of(b), "big-endian");
  b.magic = "FUGG";
  b.version = 3;
  EXPECT_SAYS(error_of(b), "big-endian");
}

TEST(GgufContainer, RefusesAbsurdCountsBeforeAllocating) {
  GgufBuilder b = one_tensor();
  b.tensor_count = 1ull << 60;
  EXPECT_SAYS(error_of(b), "claims 1152921504606846976 tensors");
  b.tensor_count.reset();
  b.key_count = 1ull << 60;
  EXPECT_SAYS(error_of(b), "claims 1152921504606846976 metadata keys");
  b.key_count.reset();

  b.key("s", GgufBuilder::kString, GgufBuilder::raw(std::uint64_t{1} << 60));
  EXPECT_SAYS(error_of(b), "the value of 's' at byte");
  b.remove_key("s");
  for (const std::uint32_t element : {0u, 6u, 8u, 9u, 12u}) {
    b.key("a", GgufBuilder::kArray, GgufBuilder::raw(element) + GgufBuilder::raw(std::uint64_t{1} << 60));
    EXPECT_SAYS(error_of(b), "the value of 'a' claims 1152921504606846976 elements");
  }
  // A key's own length.
  const std::string head =
      "GGUF" + GgufBuilder::raw(3u) + GgufBuilder::raw(std::uint64_t{0}) + GgufBuilder::raw(std::uint64_t{1});
  EXPECT_SAYS(error_of(head + GgufBuilder::raw(std::uint64_t{1} << 60) + std::string(64, 'k')),
              "a metadata key at byte 32 claims 1152921504606846976 bytes");
}

TEST(GgufContainer, ArraysOfArrays) {
  // Depth 4 is read and dropped, depth 5 is refused.
  const auto nested = [](int depth) {
    std::string value = GgufBuilder::raw(std::uint32_t{GgufBuilder::kU8}) + GgufBuilder::raw(std::uint64_t{2}) + "ab";
    for (int i = 1; i < depth; ++i) {
      value = GgufBuilder::raw(std::uint32_t{GgufBuilder::kArray}) + GgufBuilder::raw(std::uint64_t{1}) + value;
    }
    return value;
  };
  GgufBuilder b = one_tensor();
  b.key("a", GgufBuilder::kArray, nested(4)).u32("behind", 7);
  const auto file = parse(b);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->natural("behind").value(), 7u);
  EXPECT_FALSE(file->strings("a").ok());
  b.key("a", GgufBuilder::kArray, nested(5));
  EXPECT_SAYS(error_of(b), "the value of 'a' nests arrays deeper than 4");
}

TEST(GgufContainer, RefusesBadMetadata) {
  GgufBuilder b = one_tensor();
  b.u32("n", 1).twice("n");
  EXPECT_SAYS(error_of(b), "metadata key 'n' stands twice");
  b.remove_key("n").key("k", 13, "xxxx");
  EXPECT_SAYS(error_of(b), "metadata key 'k' has the unknown value type 13");
  b.key("k", GgufBuilder::kBool, "\x02");
  EXPECT_SAYS(error_of(b), "the byte 2, which is no bool");
  b.remove_key("k").u32("general.alignment", 48);
  EXPECT_SAYS(error_of(b), "general.alignment is 48");
  b.u32("general.alignment", 0);
  EXPECT_SAYS(error_of(b), "general.alignment is 0");
  b.string("general.alignment", "x");
  EXPECT_SAYS(error_of(b), "an integer is wanted");
}

TEST(GgufContainer, RefusesBadTensors) {
  GgufBuilder b = one_tensor();
  b.tensors().push_back(b.tensors().front());
  EXPECT_SAYS(error_of(b), "tensor 't' stands twice");

  b = one_tensor();
  b.at("t").offset = 1ull << 40;
  EXPECT_SAYS(error_of(b), "tensor 't' ends beyond the end of the file");
  b.at("t").offset = ~31ull;
  EXPECT_SAYS(error_of(b), "tensor 't' ends beyond the end of the file");
  b.at("t").offset = 4;
  EXPECT_SAYS(error_of(b), "tensor 't' begins at 4, which is not aligned to 32");

  b = one_tensor();
  b.tensor_f32("u", {8}, {1, 2, 3, 4, 5, 6, 7, 8}).offset = 0;
  EXPECT_SAYS(error_of(b), "overlap");

  b = one_tensor();
  b.at("t").dims = {1ull << 32, 1ull << 32, 4};
  EXPECT_SAYS(error_of(b), "tensor 't' has the impossible shape");
  b.at("t").dims = {1ull << 61};
  EXPECT_SAYS(error_of(b), "impossible shape");
  b.at("t").dims = {0, 3};
  EXPECT_SAYS(error_of(b), "impossible shape");
  b.at("t").dims = {};
  EXPECT_SAYS(error_of(b), "has 0 dimensions");
  b.at("t").dims = {1, 1, 1, 1, 1};
  EXPECT_SAYS(error_of(b), "has 5 dimensions");

  b = one_tensor();
  b.at("t").type = 77;
  EXPECT_SAYS(error_of(b), "tensor 't' has the unknown ggml type 77; Octavo decodes F32, F16, Q4_0");
  b.at("t").type = 2;
  EXPECT_SAYS(error_of(b), "tensor 't' has rows of 3 elements, which blocks of 32 (Q4_0) do not fill");
}

}  // namespace
}  // namespace octavo
