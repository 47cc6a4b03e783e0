// Manifests: written and read, and the sentence that says in what two differ.
#include "octavo/checkpoint/manifest.h"

#include <gtest/gtest.h>

namespace octavo {
namespace {

Manifest example() {
  Manifest out;
  out.record = {"0.1.0", "quantize", {{"scheme", "block"}, {"ignore", {"a", "b"}}}, "aa", "bb"};
  out.parts = 3;
  out.units = 77;
  out.files = {{"model.safetensors", {1000, 1'700'000'000'123'456'789}}, {"config.json", {10, -5}}};
  return out;
}

TEST(Manifest, IsReadAsItWasWritten) {
  const std::string text = format_manifest(example());
  const auto read = parse_manifest(text, "manifest.json");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(format_manifest(*read), text);
  EXPECT_FALSE(manifest_difference(*read, example()).has_value());
  const auto record = parse_record(format_record(example().record), "octavo.json");
  ASSERT_TRUE(record.ok());
  EXPECT_FALSE(record_difference(*record, example().record, true).has_value());
  EXPECT_EQ(format_record(*record).find("modified"), std::string::npos);  // outputs hold no times
}

TEST(Manifest, TheFirstDifferenceIsNamed) {
  const auto difference = [](const std::function<void(Manifest&)>& change) {
    Manifest now = example();
    change(now);
    return manifest_difference(example(), now).value_or("none");
  };
  EXPECT_EQ(difference([](Manifest&) {}), "none");
  EXPECT_EQ(difference([](Manifest& m) { m.record.command = "import"; }), "command quantize, not import");
  EXPECT_EQ(difference([](Manifest& m) { m.record.options["scheme"] = "dynamic"; }),
            "scheme \"block\", not \"dynamic\"");
  EXPECT_EQ(difference([](Manifest& m) { m.record.options["new"] = 1; }), "new none, not 1");
  EXPECT_EQ(difference([](Manifest& m) { m.record.options.erase("ignore"); }), "ignore [\"a\",\"b\"], not none");
  EXPECT_EQ(difference([](Manifest& m) { m.record.version = "9"; }), "octavo 0.1.0, not 9");
  EXPECT_EQ(difference([](Manifest& m) { m.record.source = "ab"; }),
            "another source: its tensors or its config.json differ");
  EXPECT_EQ(difference([](Manifest& m) { m.record.output = "ab"; }), "another layout of the output");
  EXPECT_EQ(difference([](Manifest& m) { m.units = 78; }), "another layout of the output");
  EXPECT_EQ(difference([](Manifest& m) { m.parts = 2; }), "3 part(s), not 2");
  EXPECT_EQ(difference([](Manifest& m) { m.files[0].state.bytes = 999; }),
            "another source: model.safetensors had 1000 bytes, not 999");
  EXPECT_EQ(difference([](Manifest& m) { ++m.files[1].state.modified_ns; }),
            "another source: config.json was modified since");
  EXPECT_EQ(difference([](Manifest& m) { m.files[1].name = "x"; }), "a source without x");
  EXPECT_EQ(difference([](Manifest& m) { m.files.pop_back(); }), "a source with more files");
}

TEST(Manifest, ADamagedOneIsAnErrorThatSaysWhere) {
  const auto error = [](const std::string& text) {
    const auto read = parse_manifest(text, "manifest.json");
    return read.ok() ? "none" : read.error().message;
  };
  const std::string good = format_manifest(example());
  const auto changed = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    return error(text.replace(text.find(from), from.size(), to));
  };
  EXPECT_EQ(error("[]"), "manifest.json: must be an object, not a list");
  EXPECT_EQ(changed("\"command\"", "\"commend\""), "manifest.json: /command is missing");
  EXPECT_EQ(changed("\"units\": 77", "\"units\": -1"), "manifest.json: /units must be a natural number, not an integer");
  EXPECT_EQ(changed("\"parts\": 3", "\"parts\": 4294967296"),
            "manifest.json: /parts is 4294967296, at most 4294967295 can be");
  EXPECT_EQ(changed("\"bytes\": 1000", "\"bytes\": \"x\""),
            "manifest.json: /files/0/bytes must be a natural number, not a string");
  for (std::size_t size = 0; size + 2 < good.size(); ++size) EXPECT_NE(error(good.substr(0, size)), "none") << size;
}

}  // namespace
}  // namespace octavo
