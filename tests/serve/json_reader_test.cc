// Fields of a request: what is known, refused, ignored, misspelt.
#include "octavo/serve/json_reader.h"

#include <gtest/gtest.h>

namespace octavo::serve {
namespace {

std::string error_of(const char* text) {
  const Json body = Json::parse(text);
  FieldReader f(body);
  double temperature = 1;
  int k = 0;
  std::uint64_t n = 1;
  std::optional<std::int64_t> seed;
  bool stream = false;
  std::string name;
  std::vector<std::string> stop;
  std::vector<std::int32_t> ids;
  std::vector<std::pair<std::int32_t, double>> bias;
  f.read("temperature", temperature);
  f.read("top_k", k);
  f.read("n", n);
  f.read("seed", seed);
  f.read("stream", stream);
  f.read("name", name);
  f.strings("stop", stop);
  f.tokens("ids", ids);
  f.biases("bias", bias);
  f.refuse("suffix", "is not offered");
  f.only("best_of", 1, "is not offered");
  f.ignore({"user"});
  const Status status = f.finish();
  return status.ok() ? "" : status.error().message;
}

TEST(FieldReader, Sentences) {
  EXPECT_EQ(error_of("{}"), "");
  EXPECT_EQ(error_of(R"({"temperature": null, "n": 2.0, "stop": null, "suffix": "", "best_of": 1, "user": {}})"), "");
  EXPECT_EQ(error_of(R"({"suffix": null, "stop": ["a"], "ids": [1, 2.0], "bias": {"7": -1.5}})"), "");
  EXPECT_EQ(error_of(R"({"temperature": "hot"})"), "temperature: must be a number, and is a string");
  EXPECT_EQ(error_of(R"({"top_k": 1.5})"), "top_k: must be an integer, and is 1.5");
  EXPECT_EQ(error_of(R"({"top_k": 3000000000})"), "top_k: 3000000000 is out of range");
  EXPECT_EQ(error_of(R"({"seed": 18446744073709551615})"), "seed: must be an integer, and is 18446744073709551615");
  EXPECT_EQ(error_of(R"({"seed": 1e300})"), "seed: must be an integer, and is 1e+300");
  EXPECT_EQ(error_of(R"({"n": -1})"), "n: must be an integer of 0 or more, and is -1");
  EXPECT_EQ(error_of(R"({"stream": 1})"), "stream: must be true or false, and is 1");
  EXPECT_EQ(error_of(R"({"stop": [1]})"), "stop: must be a list of strings, and is 1");
  EXPECT_EQ(error_of(R"({"ids": [1, "a"]})"), "ids: must be a list of token ids, and is a list");
  EXPECT_EQ(error_of(R"({"ids": [4294967296]})"), "ids: must be a list of token ids, and is a list");
  EXPECT_EQ(error_of(R"({"bias": {"x": 1}})"), "bias: \"x\" is no token id");
  EXPECT_EQ(error_of(R"({"suffix": "x"})"), "suffix: is not offered");
  EXPECT_EQ(error_of(R"({"best_of": 2})"), "best_of: is not offered");
  // A misspelt name is told before what is wrong with others.
  EXPECT_EQ(error_of(R"({"top_k": 1.5, "steam": true})"), "unknown field \"steam\"; did you mean stream?");
  EXPECT_EQ(error_of(R"({"temprature": 0})"), "unknown field \"temprature\"; did you mean temperature?");
}

}  // namespace
}  // namespace octavo::serve
