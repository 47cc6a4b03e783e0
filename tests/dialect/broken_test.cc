// tests/data/dialect/broken.txt: a hundred mistakes in sound samples, and the whole of what is said of each.
#include <set>
#include <sstream>

#include "tests/dialect/dialect_support.h"

namespace octavo::dialect {
namespace {

struct Variant {
  std::string file, find, with;
  std::vector<std::string> says;
};

std::string unescaped(std::string text) {
  for (std::size_t at = 0; (at = text.find("\\n", at)) != std::string::npos; ++at) text.replace(at, 2, "\n");
  return text;
}

std::vector<Variant> variants() {
  std::vector<Variant> out;
  std::istringstream lines(test::read_file(samples_dir() / "broken.txt"));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (line.starts_with("#") || colon == std::string::npos) continue;
    const std::string key = line.substr(0, colon), value = line.size() > colon + 2 ? line.substr(colon + 2) : "";
    if (key == "file") out.push_back({value, "", "", {}});
    if (key == "find") out.back().find = unescaped(value);
    if (key == "with") out.back().with = unescaped(value);
    if (key == "says") out.back().says.push_back(value);
  }
  return out;
}

TEST(BrokenVariants, SayWhatIsWrongAndWhere) {
  const auto all = variants();
  EXPECT_GE(all.size(), 100u);
  std::set<std::string> files;
  for (const Variant& v : all) {
    SCOPED_TRACE(v.file + ": " + v.find + " -> " + v.with);
    files.insert(v.file.substr(0, v.file.find('/')));
    std::string text = sample_text(v.file);
    const std::size_t at = text.find(v.find);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, v.find.size(), v.with);
    const std::string name = std::filesystem::path(v.file).filename().string();
    const Config config = read_config(text, name);
    std::vector<std::string> expected;
    for (const std::string& says : v.says) {
      expected.push_back(name + (std::isdigit(static_cast<unsigned char>(says.front())) != 0 ? ":" : ": ") + says);
    }
    EXPECT_EQ(config.errors, expected);
    EXPECT_TRUE(config.meanings.empty());
  }
  EXPECT_EQ(files.size(), 5u);  // every language has its share
}

}  // namespace
}  // namespace octavo::dialect
