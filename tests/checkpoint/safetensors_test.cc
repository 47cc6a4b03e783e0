// The safetensors container: every rule of the header, as text and as files, and the writer's layout.
#include "octavo/checkpoint/safetensors.h"

#include <gtest/gtest.h>

#include "octavo/base/text.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

struct HeaderCase {
  const char* json;
  std::uint64_t data_size;
  const char* error;  // part of the message; nullptr: accepted
};

// An entry of `bytes` U8 elements at `begin`.
std::string entry(std::string_view name, std::uint64_t begin, std::uint64_t bytes) {
  return fmt::format("\"{}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{},{}]}}", name, bytes, begin,
                     begin + bytes);
}

void expect(const std::string& json, std::uint64_t data_size, const char* error) {
  const auto header = parse_safetensors_header(json, data_size, "f");
  const std::string message = header.ok() ? "no error" : header.error().message;
  if (error == nullptr) {
    EXPECT_TRUE(header.ok()) << json.substr(0, 500) << "\n-> " << message;
    return;
  }
  EXPECT_FALSE(header.ok()) << json.substr(0, 500);
  EXPECT_NE(message.find(error), std::string::npos) << json.substr(0, 500) << "\n-> " << message;
  EXPECT_TRUE(message.starts_with("f:")) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  EXPECT_LT(message.size(), 500u);
}

TEST(SafetensorsHeader, RulesOfTheJson) {
  const HeaderCase cases[] = {
      {"{}", 0, nullptr},
      {"{}        ", 0, nullptr},
      {R"({"__metadata__":{}})", 0, nullptr},
      {R"({"__metadata__":{"format":"pt","a":""}})", 0, nullptr},
      {"", 0, "does not start with '{'"},
      {" {}", 0, "does not start with '{'"},
      {"[]", 0, "does not start with '{'"},
      {"{}\n", 0, "does not end with '}'"},
      {"{} x", 0, "does not end with '}'"},
      {std::string_view("{}\0", 3).data(), 0, nullptr},  // as a C string: {}
      {"{", 0, "does not end with '}'"},
      {"{\"a\"}", 0, "header:1:"},
      {"{}{}", 0, "header:1:"},
      {R"({"a":1})", 0, "the entry of \"a\" must be an object, not a number"},
      {R"({"a":"x"})", 0, "must be an object, not a string"},
      {R"({"a":null})", 0, "must be an object, not null"},
      {R"({"a":[]})", 0, "must be an object, not a list"},
      {R"({"a":true})", 0, "must be an object, not a boolean"},
      {R"({"a":{}})", 0, "needs dtype, shape and data_offsets"},
      {R"({"a":{"dtype":"U8","shape":[0]}})", 0, "needs dtype, shape and data_offsets"},
      {R"({"a":{"dtype":"U8","data_offsets":[0,0]}})", 0, "needs dtype, shape and data_offsets"},
      {R"({"a":{"shape":[0],"data_offsets":[0,0]}})", 0, "needs dtype, shape and data_offsets"},
      {R"({"a":{"dtype":"U9","shape":[0],"data_offsets":[0,0]}})", 0, "unknown dtype \"U9\""},
      {R"({"a":{"dtype":"bf16","shape":[0],"data_offsets":[0,0]}})", 0, "unknown dtype \"bf16\""},
      {R"({"a":{"dtype":8,"shape":[0],"data_offsets":[0,0]}})", 0, "dtype cannot be a number"},
      {R"({"a":{"dtype":["U8"],"shape":[0],"data_offsets":[0,0]}})", 0, "dtype cannot be a list"},
      {R"({"a":{"dtype":{},"shape":[0],"data_offsets":[0,0]}})", 0, "dtype cannot be an object"},
      {R"({"a":{"dtype":"U8","shape":0,"data_offsets":[0,0]}})", 0, "shape cannot be a number"},
      {R"({"a":{"dtype":"U8","shape":"0","data_offsets":[0,0]}})", 0, "shape cannot be a string"},
      {R"({"a":{"dtype":"U8","shape":null,"data_offsets":[0,0]}})", 0, "shape cannot be null"},
      {R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}})", 0, "shape holds a negative number"},
      {R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1, "shape holds a number that is no integer"},
      {R"({"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})", 1, "shape holds a string"},
      {R"({"a":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}})", 1, "shape holds a boolean"},
      {R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1, "nested deeper"},
      {R"({"a":{"dtype":"U8","shape":[{}],"data_offsets":[0,1]}})", 1, "nested deeper"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}})", 0, "data_offsets must be [begin, end]"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}})", 0, "data_offsets must be [begin, end]"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[]}})", 0, "data_offsets must be [begin, end]"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1, "with begin <= end"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}})", 1, "data_offsets holds a negative number"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551616]}})", 1, "no integer"},
      {R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"extra":1}})", 0, "unknown key \"extra\""},
      {R"({"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0, "\"dtype\" appears twice"},
      {R"({"a":{"dtype":"U8","shape":[0],"shape":[0],"data_offsets":[0,0]}})", 0, "\"shape\" appears twice"},
      {R"({"__metadata__":1})", 0, "must be an object, not a number"},
      {R"({"__metadata__":{"a":1}})", 0, "__metadata__: \"a\" must be a string, not a number"},
      {R"({"__metadata__":{"a":null}})", 0, "__metadata__: \"a\" must be a string, not null"},
      {R"({"__metadata__":{"a":{}}})", 0, "__metadata__: \"a\" must be a string, not an object"},
      {R"({"__metadata__":{"a":[]}})", 0, "__metadata__: \"a\" must be a string, not a list"},
      {R"({"__metadata__":{"a":"x","a":"y"}})", 0, "\"a\" appears twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "appears twice"},
      {"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "UTF-8"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
       "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
       0, "tensor \"a\" appears twice"},
      {"{\"a\\nb\":1}", 0, "\"a\\x0ab\""},
  };
  for (const HeaderCase& c : cases) expect(c.json, c.data_size, c.error);
  expect(std::string("{}\0", 3), 0, "does not end with '}'");
  std::string dims = "{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1],\"shape\":[1";
  for (int i = 1; i < 64; ++i) dims += ",1";
  expect(dims + "]}}", 1, nullptr);
  expect(dims + ",1]}}", 1, "shape holds more than 64 numbers");
}

// A file whose header is one thing again and again, made when it is read.
class LongHeader final : public ByteSource {
 public:
  LongHeader(std::string begin, char repeated, std::string end) : begin_(std::move(begin)), end_(std::move(end)) {
    repeated_ = repeated;
    for (std::size_t i = 0; i < 8; ++i) prefix_ += static_cast<char>((kMaxSafetensorsHeader >> (8 * i)) & 0xFF);
  }
  std::uint64_t size() const override { return 8 + kMaxSafetensorsHeader; }
  Status read_at(std::uint64_t offset, std::span<std::byte> out) const override {
    largest_read = std::max(largest_read, out.size());
    for (std::byte& byte : out) byte = static_cast<std::byte>(at(offset++));
    return {};
  }
  std::string describe() const override { return "long"; }
  mutable std::size_t largest_read = 0;

 private:
  char at(std::uint64_t i) const {
    if (i < 8) return prefix_[i];
    if (i - 8 < begin_.size()) return begin_[i - 8];
    const std::uint64_t left = size() - i;
    return left <= end_.size() ? end_[end_.size() - left] : repeated_;
  }
  std::string prefix_, begin_, end_;
  char repeated_ = ' ';
};

TEST(SafetensorsHeader, AHundredMegabytesOfOneThingTakeNoMemory) {
  const LongHeader spaces("{}", ' ', "");
  const auto padded = read_safetensors_header(spaces);
  EXPECT_TRUE(padded.ok()) << padded.error().message;
  const LongHeader name("{\"", 'a', "\":{}}"), text(R"({"__metadata__":{"a":")", 'a', "\"}}"), gap("{", '\n', "}");
  EXPECT_NE(read_safetensors_header(name).error().message.find("a string of more than 1048576"), std::string::npos);
  EXPECT_NE(read_safetensors_header(text).error().message.find("a string of more than 1048576"), std::string::npos);
  EXPECT_NE(read_safetensors_header(gap).error().message.find("more than 1048576 bytes without"), std::string::npos);
  for (const LongHeader* file : {&spaces, &name, &text, &gap}) EXPECT_LE(file->largest_read, 1u << 20);
}

TEST(SafetensorsHeader, MetadataIsLimited) {
  const auto header = [](std::size_t entries, std::size_t bytes) {
    std::string json = "{\"__metadata__\":{";
    for (std::size_t i = 0; i < entries; ++i) {
      json += fmt::format("{}\"{}\":\"{}\"", i == 0 ? "" : ",", i, std::string(bytes, 'a'));
    }
    return parse_safetensors_header(json + "}}", 0, "f");
  };
  EXPECT_TRUE(header(1, 1'000'000).ok());
  EXPECT_TRUE(header(20'000, 10).ok());
  for (const auto& result : {header(5, 1'000'000), header(50'000, 0)}) {
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.error().message.find("__metadata__ is over Octavo's limit of 4 MiB"), std::string::npos);
  }
}

TEST(SafetensorsHeader, TensorsTileTheBuffer) {
  const auto two = [](std::uint64_t begin_a, std::uint64_t size_a, std::uint64_t begin_b, std::uint64_t size_b) {
    return "{" + entry("a", begin_a, size_a) + "," + entry("b", begin_b, size_b) + "}";
  };
  expect(two(0, 4, 4, 4), 8, nullptr);
  expect(two(4, 4, 0, 4), 8, nullptr);  // the header may name them in any order
  expect(two(0, 4, 4, 0), 4, nullptr);
  expect(two(0, 0, 0, 4), 4, nullptr);
  expect(two(0, 4, 2, 4), 6, "tensors \"a\" and \"b\" overlap");
  expect(two(0, 4, 0, 4), 4, "overlap");
  expect(two(0, 8, 2, 0), 8, "overlap");  // an empty tensor inside another
  expect(two(0, 4, 6, 2), 8, "2 bytes before tensor \"b\" belong to no tensor");
  expect("{" + entry("a", 3, 4) + "}", 7, "3 bytes before tensor \"a\"");
  expect(two(0, 4, 4, 4), 9, "1 bytes behind the last tensor");
  expect("{}", 1, "1 bytes behind the last tensor");
  expect(two(0, 4, 4, 4), 7, "truncated: the header describes 8 bytes of data, the file has 7");
  expect("{" + entry("a", 0, 1) + "}", 0, "truncated");
}

TEST(SafetensorsHeader, SizesAgreeAndNothingOverflows) {
  const auto one = [](std::string_view dtype, std::string_view shape, std::string_view end) {
    return fmt::format("{{\"a\":{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[0,{}]}}}}", dtype, shape, end);
  };
  expect(one("BF16", "[3,5]", "30"), 30, nullptr);
  expect(one("F32", "[]", "4"), 4, nullptr);  // 0-d
  expect(one("F32", "[0]", "0"), 0, nullptr);
  expect(one("F32", "[7,0,3]", "0"), 0, nullptr);
  expect(one("F4", "[3,2]", "3"), 3, nullptr);
  expect(one("F6_E2M3", "[4]", "3"), 3, nullptr);
  expect(one("F32", "[]", "0"), 0, "F32 [] needs 4 bytes, data_offsets give 0");
  expect(one("BF16", "[3,5]", "29"), 29, "BF16 [3, 5] needs 30 bytes, data_offsets give 29");
  expect(one("F4", "[3]", "2"), 2, "does not fill whole bytes");
  expect(one("U8", "[4294967296,4294967296]", "0"), 0, "overflows");
  expect(one("U8", "[18446744073709551615]", "18446744073709551615"), 8, "overflows");
  expect(one("F32", "[4611686018427387905]", "4"), 4, "overflows");  // 2^64 + 4 bytes
  expect(one("U8", "[0,4294967296,4294967296]", "0"), 0, "overflows");
  expect(one("U8", "[18446744073709551616]", "0"), 0, "no integer");
}

TEST(SafetensorsHeader, InDataOrderWithMetadata) {
  const auto header = parse_safetensors_header(
      "{" + entry("z", 0, 2) + "," + entry("b", 6, 1) + "," + entry("m", 2, 4) + R"(,"__metadata__":{"format":"pt"}})",
      7, "f");
  ASSERT_TRUE(header.ok()) << header.error().message;
  ASSERT_EQ(header->tensors.size(), 3u);
  EXPECT_EQ(header->tensors[0].name, "z");
  EXPECT_EQ(header->tensors[1].name, "m");
  EXPECT_EQ(header->tensors[2].name, "b");
  EXPECT_EQ(header->tensors[1].shape, Shape{4});
  EXPECT_EQ(header->tensors[1].bytes(), 4u);
  EXPECT_EQ(header->metadata.at("format"), "pt");
}

std::string with_length(std::uint64_t length, std::string_view rest) {
  std::string out(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) out[i] = static_cast<char>(length >> (8 * i) & 0xFF);
  return out.append(rest);
}

TEST(SafetensorsFile, LengthsAreChecked) {
  struct FileCase {
    std::string bytes;
    const char* error;
  };
  const std::string good = "{" + entry("a", 0, 4) + "}";
  const FileCase cases[] = {
      {with_length(good.size(), good + "1234"), nullptr},
      {with_length(2, "{}"), nullptr},
      {"", "0 bytes are too few"},
      {"1234567", "7 bytes are too few"},
      {with_length(0, ""), "does not start with '{'"},
      {with_length(3, "{}"), "truncated: the header needs 3 bytes, the file has 2"},
      {with_length(good.size(), good + "123"), "truncated: the header describes 4 bytes of data, the file has 3"},
      {with_length(good.size(), good + "12345"), "behind the last tensor"},
      {with_length(100'000'001, "{}"), "over the format's limit of 100000000"},
      {with_length(UINT64_MAX, "{}"), "over the format's limit"},
      {with_length(UINT64_MAX - 7, "{}"), "over the format's limit"},
      {with_length(100'000'000, "{}"), "truncated"},
      {"{\"a\":{\"dtype\"", "over the format's limit"},  // JSON without the length
      {"version https://git-lfs.github.com/spec/v1\n", "over the format's limit"},
  };
  const test::TempDir dir;
  for (const FileCase& c : cases) {
    const MemorySource memory(as_bytes(c.bytes), "memory.safetensors");
    test::write_file(dir / "model.safetensors", c.bytes);
    const auto file = File::open_read(dir / "model.safetensors");
    ASSERT_TRUE(file.ok());
    for (const ByteSource* source : {static_cast<const ByteSource*>(&memory), static_cast<const ByteSource*>(&*file)}) {
      const auto header = read_safetensors_header(*source);
      if (c.error == nullptr) {
        ASSERT_TRUE(header.ok()) << header.error().message;
        EXPECT_EQ(header->data_begin + (header->tensors.empty() ? 0 : 4), c.bytes.size());
      } else {
        ASSERT_FALSE(header.ok()) << printable(c.bytes);
        EXPECT_NE(header.error().message.find(c.error), std::string::npos) << header.error().message;
        EXPECT_TRUE(header.error().message.starts_with(source->describe())) << header.error().message;
      }
    }
  }
}

std::vector<TensorEntry> assorted() {
  return {{"z.bias", DType::kF32, {3}, 0, 0},          {"b.weight", DType::kF8E4M3, {3, 5}, 0, 0},
          {"scalar", DType::kBF16, {}, 0, 0},          {"a.weight", DType::kF8E4M3, {2, 2}, 0, 0},
          {"empty", DType::kI64, {4, 0}, 0, 0},        {"a.scale", DType::kBF16, {3, 1}, 0, 0},
          {"quote\"\n\xC3\xA9", DType::kU8, {1}, 0, 0}};
}

TEST(SafetensorsLayout, RoundTrip) {
  auto tensors = assorted();
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"note", "a \"quoted\"\nline"}};
  const auto prefix = lay_out_safetensors(tensors, metadata);
  ASSERT_TRUE(prefix.ok());
  EXPECT_EQ(prefix->size() % 8, 0u);
  const std::string file = *prefix + std::string(tensors.back().end, '\0');
  const auto header = read_safetensors_header(MemorySource(as_bytes(file)));
  ASSERT_TRUE(header.ok()) << header.error().message;
  EXPECT_EQ(header->metadata, metadata);
  EXPECT_EQ(header->data_begin, prefix->size());
  ASSERT_EQ(header->tensors.size(), tensors.size());
  std::map<std::string, TensorEntry> by_name;
  for (const TensorEntry& t : header->tensors) by_name.emplace(t.name, t);
  for (const TensorEntry& t : tensors) {
    ASSERT_TRUE(by_name.contains(t.name)) << t.name;
    const TensorEntry& read = by_name.at(t.name);
    EXPECT_EQ(read.dtype, t.dtype);
    EXPECT_EQ(read.shape, t.shape);
    EXPECT_EQ(read.begin, t.begin);
    EXPECT_EQ(read.end, t.end);
  }
}

TEST(SafetensorsLayout, WidestAlignmentFirstThenByName) {
  auto tensors = assorted();
  ASSERT_TRUE(lay_out_safetensors(tensors, {}).ok());
  std::vector<std::string> names;
  for (const TensorEntry& t : tensors) names.push_back(t.name);
  EXPECT_EQ(names, (std::vector<std::string>{"empty", "z.bias", "a.scale", "scalar", "a.weight", "b.weight",
                                             "quote\"\n\xC3\xA9"}));
  for (const TensorEntry& t : tensors) {
    EXPECT_EQ(t.begin % dtype_bytes(t.dtype), 0u) << t.name;  // typed pointers into the file are aligned
  }
}

TEST(SafetensorsLayout, NoTensorsAndNoMetadata) {
  std::vector<TensorEntry> none;
  const auto prefix = lay_out_safetensors(none, {});
  ASSERT_TRUE(prefix.ok());
  EXPECT_EQ(*prefix, with_length(8, "{}      "));
  const auto with_metadata = lay_out_safetensors(none, {{"format", "pt"}});
  ASSERT_TRUE(with_metadata.ok());
  EXPECT_TRUE(read_safetensors_header(MemorySource(as_bytes(*with_metadata))).ok());
}

TEST(SafetensorsLayout, RefusesWhatCannotBeWritten) {
  const std::uint64_t half = std::uint64_t{1} << 60;
  std::vector<TensorEntry> huge = {{"a", DType::kF32, {half}, 0, 0}};
  EXPECT_FALSE(lay_out_safetensors(huge, {}).ok());
  std::vector<TensorEntry> sum(20, {"a", DType::kU8, {half}, 0, 0});
  EXPECT_FALSE(lay_out_safetensors(sum, {}).ok());
  std::vector<TensorEntry> odd = {{"a", DType::kF4, {3}, 0, 0}};
  EXPECT_FALSE(lay_out_safetensors(odd, {}).ok());
  std::vector<TensorEntry> name = {{std::string(kMaxSafetensorsHeader, 'a'), DType::kU8, {1}, 0, 0}};
  const auto too_long = lay_out_safetensors(name, {});
  ASSERT_FALSE(too_long.ok());
  EXPECT_NE(too_long.error().message.find("too many tensors in one file"), std::string::npos);
  EXPECT_LT(too_long.error().message.size(), 300u);
}

}  // namespace
}  // namespace octavo
