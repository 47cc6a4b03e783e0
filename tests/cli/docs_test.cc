// docs/cli.md names every command and every option that the program has.
#include <gtest/gtest.h>

#include <sstream>

#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

TEST(Docs, CliPageNamesEveryCommandAndOption) {
  const std::string page = test::read_file(std::string(OCTAVO_SOURCE_DIR) + "/docs/cli.md");
  const auto completion = test::run_octavo({"completion", "fish"});
  ASSERT_EQ(completion.exit_code, 0);
  std::istringstream lines(completion.out);
  std::size_t commands = 0, options = 0;
  for (std::string line; std::getline(lines, line);) {
    // complete -c octavo -n __fish_use_subcommand -a NAME -d ... | ... -n '... from NAME' -l OPTION
    if (const auto option = line.find(" -l "); option != std::string::npos) {
      const std::string name = "`--" + line.substr(option + 4, line.find(' ', option + 4) - option - 4);
      EXPECT_NE(page.find(name), std::string::npos) << name;
      ++options;
    } else if (const auto at = line.find(" -a "); at != std::string::npos) {
      const std::string name = line.substr(at + 4, line.find(' ', at + 4) - at - 4);
      EXPECT_NE(page.find("## octavo " + name), std::string::npos) << name;
      ++commands;
    }
  }
  EXPECT_GE(commands, 6u);
  EXPECT_GE(options, 20u);
}

}  // namespace
}  // namespace octavo
