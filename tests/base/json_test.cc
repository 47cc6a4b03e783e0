// Parsing: positions, duplicates, depth, Python's constants.
#include "octavo/base/json.h"

#include <gtest/gtest.h>

#include "octavo/base/text.h"

namespace octavo {
namespace {

std::string error_of(std::string_view text, const JsonOptions& options = {}) {
  const auto result = parse_json(text, "config.json", options);
  return result.ok() ? "no error" : result.error().message;
}

Json parsed(std::string_view text, const JsonOptions& options = {}) {
  auto result = parse_json(text, "config.json", options);
  EXPECT_TRUE(result.ok()) << error_of(text, options);
  return result.ok() ? std::move(result).value() : Json();
}

TEST(ParseJson, KeepsValuesAndOrder) {
  const Json json = parsed(R"({"b": 1, "a": [true, null, -2, 3.5, "x\u00e9"], "c": {}})");
  EXPECT_EQ(json.dump(), "{\"b\":1,\"a\":[true,null,-2,3.5,\"x\xC3\xA9\"],\"c\":{}}");
  EXPECT_EQ(parsed("18446744073709551615").get<std::uint64_t>(), UINT64_MAX);
  EXPECT_EQ(parsed(" \"text\" "), Json("text"));
}

struct BadCase {
  const char* text;
  const char* begin;  // of the message
  const char* part;
};

TEST(ParseJson, ErrorsSayLineAndColumn) {
  const BadCase cases[] = {
      {"", "config.json:1:1: ", "unexpected end of input"},
      {"{", "config.json:1:", "unexpected end of input"},
      {"{\"a\": 1,}", "config.json:1:9: ", "expected string literal"},
      {"{\n  \"a\": 1\n  \"b\": 2\n}", "config.json:3:5: ", "expected '}'"},
      {"[1, 2", "config.json:1:", "unexpected end of input"},
      {"{\"a\": 1} x", "config.json:1:10: ", "expected end of input"},
      {"{'a': 1}", "config.json:1:2: ", "invalid literal"},
      {"{\"a\": tru}", "config.json:1:", "invalid literal"},
      {"{\"a\": \"b\nc\"}", "config.json:", "control character"},
      {"{\"a\": \"\xff\"}", "config.json:1:", "ill-formed UTF-8 byte"},
      {"{\"a\": \"\\ud800\"}", "config.json:1:", "surrogate"},
      {"{\"a\": 1e999}", "config.json:1:", "number overflow"},
      {"{\"a\": 01}", "config.json:1:", ""},
      {"{\"a\": NaN}", "config.json:1:", "invalid literal"},
      {"// comment\n{}", "config.json:1:", "invalid literal"},
      {"{\"a\": 1,\n\"a\": 2}", "config.json:2:3: ", "key \"a\" appears twice"},
      {"{\"x\": {\"a\": 1, \"b\": 2, \"a\": 3}}", "config.json:1:", "key \"a\" appears twice"},
      {"{\"a\": 1, \"\\u0061\": 2}", "config.json:1:", "key \"a\" appears twice"},
      {"{\"a\\nb\": 1, \"a\\nb\": 2}", "config.json:1:", "key \"a\\x0ab\" appears twice"},
  };
  for (const BadCase& c : cases) {
    const std::string message = error_of(c.text);
    EXPECT_TRUE(message.starts_with(c.begin)) << c.text << "\n-> " << message;
    EXPECT_NE(message.find(c.part), std::string::npos) << c.text << "\n-> " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    EXPECT_EQ(message.find("json.exception"), std::string::npos) << message;
    EXPECT_TRUE(is_valid_utf8(message)) << printable(message, 1000);
    EXPECT_LT(message.size(), 300u);
  }
}

TEST(ParseJson, AZeroByteIsNotTheEnd) {
  using namespace std::string_view_literals;
  for (const std::string_view text : {"{}\0"sv, "{}\0 trailing"sv, "{\"a\":1}\n\0\0"sv}) {
    EXPECT_NE(error_of(text).find("a zero byte"), std::string::npos) << printable(text);
  }
  EXPECT_NE(error_of("{\"a\0\": 1}"sv), "no error");
  EXPECT_NE(error_of("\0{}"sv), "no error");
}

TEST(ParseJson, TheSameKeyInTwoObjectsIsFine) {
  EXPECT_EQ(parsed(R"({"a": {"k": 1}, "b": {"k": 2}, "c": [{"k": 3}, {"k": 4}]})")["c"][1]["k"], 4);
}

TEST(ParseJson, DepthIsLimited) {
  const auto nested = [](std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(error_of(nested(64)), "no error");
  EXPECT_NE(error_of(nested(65)).find("nested deeper than 64 levels"), std::string::npos);
  EXPECT_NE(error_of(std::string(5'000'000, '[')).find("nested deeper than 64 levels"), std::string::npos);
  JsonOptions shallow;
  shallow.max_depth = 1;
  EXPECT_EQ(error_of("{}", shallow), "no error");
  EXPECT_NE(error_of("{\"a\": {}}", shallow).find("deeper than 1"), std::string::npos);
}

TEST(ParseJson, ManyKeysTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += fmt::format("{}\"key{}\": {}", i == 0 ? "" : ",", i, i);
  EXPECT_EQ(parsed(text + "}").size(), 200'000u);
}

TEST(ParseJson, PythonConstantsAreNull) {
  JsonOptions python;
  python.python_constants = true;
  const Json json = parsed(R"({"a": NaN, "b":[Infinity,-Infinity], "c": "NaN, \"Infinity\"", "NaN": 1})", python);
  EXPECT_TRUE(json["a"].is_null());
  EXPECT_TRUE(json["b"][0].is_null());
  EXPECT_TRUE(json["b"][1].is_null());
  EXPECT_EQ(json["c"], "NaN, \"Infinity\"");
  EXPECT_EQ(json["NaN"], 1);
  EXPECT_TRUE(parsed("NaN", python).is_null());
  for (const char* bad : {"[1NaN]", "[NaN1]", "[-NaN]", "[+Infinity]", "[NaNNaN]", "[InfinityInfinity]", "{NaN: 1}"}) {
    EXPECT_NE(error_of(bad, python), "no error") << bad;
  }
}

TEST(ParseJson, PythonConstantsDoNotMovePositions) {
  JsonOptions python;
  python.python_constants = true;
  for (const char* token : {"null", "NaN", "Infinity", "-Infinity"}) {
    const std::string text = fmt::format("{{\"a\": [{0}, {0}],\n \"b\": [{0}, {0}] x}}", token);
    EXPECT_TRUE(error_of(text, python).starts_with(fmt::format("config.json:2:{}: ", text.find('x') - text.find('\n'))))
        << error_of(text, python);
  }
}

TEST(ParseJson, TypeNamesAreForPeople) {
  EXPECT_EQ(json_type_name(parsed("{}")), "an object");
  EXPECT_EQ(json_type_name(parsed("[]")), "a list");
  EXPECT_EQ(json_type_name(parsed("\"\"")), "a string");
  EXPECT_EQ(json_type_name(parsed("true")), "a boolean");
  EXPECT_EQ(json_type_name(parsed("-1")), "an integer");
  EXPECT_EQ(json_type_name(parsed("1")), "an integer");
  EXPECT_EQ(json_type_name(parsed("1.5")), "a number");
  EXPECT_EQ(json_type_name(parsed("null")), "null");
}

// Writes events down; fails at the event it is told to.
class Recorder final : public JsonEvents {
 public:
  std::string log;
  std::string fail_at;
  Status null() override { return note("null"); }
  Status boolean(bool v) override { return note(v ? "true" : "false"); }
  Status integer(std::int64_t v) override { return note(fmt::format("i{}", v)); }
  Status natural(std::uint64_t v) override { return note(fmt::format("n{}", v)); }
  Status real(double v) override { return note(fmt::format("r{}", v)); }
  Status string(std::string& v) override { return note("s:" + v); }
  Status begin_object() override { return note("{"); }
  Status key(std::string& v) override { return note("k:" + v); }
  Status end_object() override { return note("}"); }
  Status begin_array() override { return note("["); }
  Status end_array() override { return note("]"); }

 private:
  Status note(const std::string& event) {
    if (event == fail_at) return failure("stopped at {}", event);
    log += event + " ";
    return {};
  }
};

TEST(JsonEvents, ComeInOrder) {
  Recorder events;
  ASSERT_TRUE(parse_json_events(R"({"a":[1,-2,0.5,"t"],"b":null,"c":{"d":false}})", "x", 8, events).ok());
  EXPECT_EQ(events.log, "{ k:a [ n1 i-2 r0.5 s:t ] k:b null k:c { k:d false } } ");
}

TEST(JsonEvents, AnErrorOfTheCallbackEndsTheParseAndGetsThePosition) {
  Recorder events;
  events.fail_at = "s:bad";
  const Status status = parse_json_events("{\n \"a\": 1,\n \"b\": \"bad\", \"c\": 2}", "file", 8, events);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().message, "file:3:11: stopped at s:bad");
  EXPECT_EQ(events.log.find("k:c"), std::string::npos);
}

}  // namespace
}  // namespace octavo
