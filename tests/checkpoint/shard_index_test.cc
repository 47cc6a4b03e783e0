// model.safetensors.index.json: what is read, what is refused, and 90,000 tensors.
#include <gtest/gtest.h>

#include "octavo/base/json.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo {
namespace {

std::string error_of(std::string_view json) {
  const auto index = parse_shard_index(json, "index");
  return index.ok() ? "no error" : index.error().message;
}

TEST(ShardIndex, ReadsTheMap) {
  const auto index = parse_shard_index(
      R"({"metadata": {"total_size": 42, "extra": {"a": [1, {"b": 2}]}},
          "weight_map": {"b": "two.safetensors", "a": "one.safetensors", "c": "two.safetensors"}, "more": [null]})",
      "index");
  ASSERT_TRUE(index.ok()) << index.error().message;
  EXPECT_EQ(index->shards, (std::vector<std::string>{"two.safetensors", "one.safetensors"}));
  using Map = std::vector<std::pair<std::string, std::uint32_t>>;
  EXPECT_EQ(index->weight_map, (Map{{"b", 0}, {"a", 1}, {"c", 0}}));
  EXPECT_EQ(index->total_size, 42u);
}

TEST(ShardIndex, TotalSizeMayBeAbsentOrAFloat) {
  const auto total = [](std::string_view metadata) {
    const auto index =
        parse_shard_index(fmt::format("{{{}\"weight_map\": {{\"a\": \"m.safetensors\"}}}}", metadata), "index");
    EXPECT_TRUE(index.ok()) << metadata;
    return index.ok() ? index->total_size : std::nullopt;
  };
  EXPECT_EQ(total(""), std::nullopt);
  EXPECT_EQ(total("\"metadata\": {},"), std::nullopt);  // DeepSeek's own converter
  EXPECT_EQ(total("\"metadata\": null,"), std::nullopt);
  EXPECT_EQ(total("\"metadata\": {\"total_size\": 16060522496.0},"), 16'060'522'496u);
  EXPECT_EQ(total("\"metadata\": {\"total_size\": -1},"), std::nullopt);
  EXPECT_EQ(total("\"metadata\": {\"total_size\": 1e300},"), std::nullopt);
  EXPECT_EQ(total("\"metadata\": {\"total_size\": \"12\"},"), std::nullopt);
  EXPECT_EQ(total("\"metadata\": {\"deeper\": {\"total_size\": 12}},"), std::nullopt);
}

struct BadCase {
  const char* json;
  const char* error;
};

TEST(ShardIndex, RefusesTheRest) {
  const BadCase cases[] = {
      {"", "unexpected end of input"},
      {"[]", "must be an object, not a list"},
      {"1", "must be an object, not a number"},
      {"null", "must be an object, not null"},
      {"\"x\"", "must be an object, not a string"},
      {"{}", "has no weight_map"},
      {R"({"metadata": {"weight_map": {"a": "m.safetensors"}}})", "has no weight_map"},
      {R"({"weight_map": {}})", "weight_map is empty"},
      {R"({"weight_map": []})", "weight_map must be an object, not a list"},
      {R"({"weight_map": null})", "weight_map must be an object, not null"},
      {R"({"weight_map": "m.safetensors"})", "weight_map must be an object, not a string"},
      {R"({"weight_map": {"a": 1}})", "\"a\" must be a file name, not a number"},
      {R"({"weight_map": {"a": -1}})", "\"a\" must be a file name, not a number"},
      {R"({"weight_map": {"a": 1.5}})", "\"a\" must be a file name, not a number"},
      {R"({"weight_map": {"a": null}})", "\"a\" must be a file name, not null"},
      {R"({"weight_map": {"a": true}})", "\"a\" must be a file name, not a boolean"},
      {R"({"weight_map": {"a": ["m.safetensors"]}})", "\"a\" must be a file name, not a list"},
      {R"({"weight_map": {"a": {"b": "m.safetensors"}}})", "\"a\" must be a file name, not an object"},
      {R"({"weight_map": {"a": "m.safetensors", "a": "m.safetensors"}})", "\"a\" appears twice"},
      {R"({"weight_map": {"a": "m.safetensors"}, "weight_map": {"b": "m.safetensors"}})", "weight_map appears twice"},
      {R"({"weight_map": {"a": "../m.safetensors"}})", "points outside the folder"},
      {R"({"weight_map": {"a": "/etc/m.safetensors"}})", "points outside the folder"},
      {R"({"weight_map": {"a": "sub/m.safetensors"}})", "points outside the folder"},
      {R"({"weight_map": {"a": "..\\m.safetensors"}})", "points outside the folder"},
      {R"({"weight_map": {"a": "m.safetensors\u0000.safetensors"}})", "points outside the folder"},
      {R"({"weight_map": {"a": ".."}})", "is not a .safetensors file"},
      {R"({"weight_map": {"a": ""}})", "is not a .safetensors file"},
      {R"({"weight_map": {"a": ".safetensors"}})", "is not a .safetensors file"},
      {R"({"weight_map": {"a": "pytorch_model.bin"}})", "is not a .safetensors file"},
      {R"({"weight_map": {"a\n": "m.bin\u001b"}})", "tensor \"a\\x0a\": \"m.bin\\x1b\""},
      {R"({"weight_map": {"a": "m.safetensors"}} x)", "end of input"},
      {R"({"weight_map": {"a": "m.safetensors"})", "unexpected end of input"},
  };
  for (const BadCase& c : cases) {
    const std::string message = error_of(c.json);
    EXPECT_NE(message.find(c.error), std::string::npos) << c.json << "\n-> " << message;
    EXPECT_TRUE(message.starts_with("index:")) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
  std::string deep = R"({"metadata": )";
  for (int i = 0; i < 1000; ++i) deep += "{\"a\":";
  EXPECT_NE(error_of(deep).find("nested deeper than 16"), std::string::npos);
}

TEST(ShardIndex, NinetyThousandTensors) {
  std::map<std::string, std::string> map;
  for (int i = 0; i < 90'000; ++i) {
    map.emplace(fmt::format("model.layers.{}.mlp.experts.{}.down_proj.weight", i / 1500, i % 1500),
                fmt::format("model-{:05}-of-00163.safetensors", i / 553 + 1));
  }
  const std::string text = format_shard_index(1'000'000'000'000, map);
  const auto index = parse_shard_index(text, "index");
  ASSERT_TRUE(index.ok()) << index.error().message;
  EXPECT_EQ(index->shards.size(), 163u);
  EXPECT_EQ(index->total_size, 1'000'000'000'000u);
  ASSERT_EQ(index->weight_map.size(), map.size());
  for (const auto& [tensor, shard] : index->weight_map) ASSERT_EQ(map.at(tensor), index->shards[shard]);
}

TEST(ShardIndex, IsWrittenSortedWithTwoSpaces) {
  EXPECT_EQ(
      format_shard_index(7, {{"b", "y"}, {"a", "x"}}),
      "{\n  \"metadata\": {\n    \"total_size\": 7\n  },\n  \"weight_map\": {\n    \"a\": \"x\",\n    \"b\": \"y\"\n"
      "  }\n}\n");
}

}  // namespace
}  // namespace octavo
