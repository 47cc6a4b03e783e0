// Edits of a JSON object's text: the changed key is right, every other byte stands.
#include <gtest/gtest.h>

#include "octavo/base/json.h"

namespace octavo {
namespace {

const Json kValue = {{"quant_method", "fp8"}, {"list", {1, 2}}, {"empty", Json::object()}};

// Objects in formats that people and tools write.
const char* const kObjects[] = {
    "{}",
    "{ }",
    "{\n}\n",
    "\xEF\xBB\xBF{\"a\": 1}",  // with a byte-order mark
    "{\"a\":1}",
    "{\"a\":1,\"key\":2}",
    "{\"key\":2,\"a\":1}",
    "{\"key\":{\"key\":[1,{\"key\":2}]},\"b\":{\"key\":3}}",
    "{\"b\":{\"key\":3}}",
    "{\n  \"a\": \"x\",\n  \"key\": [\n    1\n  ],\n  \"z\": null\n}\n",
    "{\n\t\"a\" : {\"x\": \"}\"} ,\n\t\"key\"\t:\t\"]\"\n}",
    "{\"a\":\"\\\"key\\\": 1, {\",\"key\":\"\\\\\"}",
    "{\"\\u006bey\": 5, \"c\": 6}",  // "key" with an escape
    "{\"k\\u0065y\": 5}",
    "{\"key \": 5, \" key\": 6, \"KEY\": 7, \"\": 8}",
    "{\"a\":[],\"b\":{},\"c\":\"\"}",
    "{\"a\":[[[]]],\"key\":{}}",
    "  {\"a\":1}  \n",
    "{\"a\":-1.5e+10,\"b\":true,\"c\":false,\"key\":null}",
};

TEST(SetTopLevelKey, OnlyThatKeyChanges) {
  for (const char* text : kObjects) {
    const auto before = parse_json(text, "before");
    ASSERT_TRUE(before.ok()) << before.error().message;
    const std::string edited = set_top_level_key(text, "key", kValue);
    const auto after = parse_json(edited, "after");
    ASSERT_TRUE(after.ok()) << after.error().message << "\n" << text << "\n" << edited;
    Json expected = *before;
    expected["key"] = kValue;
    EXPECT_EQ(*after, expected) << text << "\n" << edited;
  }
}

TEST(RemoveTopLevelKey, OnlyThatKeyGoes) {
  for (const char* text : kObjects) {
    const auto before = parse_json(text, "before");
    ASSERT_TRUE(before.ok());
    const std::string edited = remove_top_level_key(text, "key");
    const auto after = parse_json(edited, "after");
    ASSERT_TRUE(after.ok()) << after.error().message << "\n" << text << "\n" << edited;
    Json expected = *before;
    const bool had = expected.contains("key");
    expected.erase("key");
    EXPECT_EQ(*after, expected) << text << "\n" << edited;
    if (!had) {
      EXPECT_EQ(edited, text);
    }
  }
}

TEST(SetTopLevelKey, IsIdempotentAndUndone) {
  for (const char* text : kObjects) {
    const std::string once = set_top_level_key(text, "key", kValue);
    EXPECT_EQ(set_top_level_key(once, "key", kValue), once) << text;
    EXPECT_EQ(*parse_json(remove_top_level_key(once, "key"), "x"), *parse_json(remove_top_level_key(text, "key"), "x"));
  }
}

TEST(SetTopLevelKey, KeepsEveryOtherByte) {
  const std::string text = "{\n   \"a\":   1.50,\n\"z\" : [1,  2]   \n}\n\n";
  EXPECT_EQ(set_top_level_key(text, "new", Json(3)), "{\n   \"a\":   1.50,\n\"z\" : [1,  2],\n  \"new\": 3   \n}\n\n");
  EXPECT_EQ(set_top_level_key(text, "a", Json("b")), "{\n   \"a\": \"b\",\n\"z\" : [1,  2]   \n}\n\n");
  EXPECT_EQ(remove_top_level_key(text, "a"), "{\n   \"z\" : [1,  2]   \n}\n\n");
  EXPECT_EQ(remove_top_level_key(text, "z"), "{\n   \"a\":   1.50   \n}\n\n");
}

TEST(SetTopLevelKey, IndentsTheValue) {
  EXPECT_EQ(set_top_level_key("{\n  \"a\": 1\n}\n", "key", Json{{"x", {1}}}),
            "{\n  \"a\": 1,\n  \"key\": {\n    \"x\": [\n      1\n    ]\n  }\n}\n");
  EXPECT_EQ(set_top_level_key("{}", "key", Json(1)), "{\n  \"key\": 1\n}\n");
}

TEST(SetTopLevelKey, KeepsPythonConstants) {
  const std::string text = "{\"a\": NaN, \"b\": [-Infinity], \"c\": 1}";
  EXPECT_EQ(set_top_level_key(text, "c", Json(2)), "{\"a\": NaN, \"b\": [-Infinity], \"c\": 2}");
  EXPECT_EQ(remove_top_level_key(text, "a"), "{\"b\": [-Infinity], \"c\": 1}");
}

}  // namespace
}  // namespace octavo
