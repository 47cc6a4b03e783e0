// `octavo template` as a user runs it.
#include <gtest/gtest.h>

#include "octavo/base/json.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"

namespace octavo {
namespace {

constexpr char kInput[] = R"({"messages": [{"role": "user", "content": "h\u00e9"}], "z": 1, "a": {"y": 1, "b": 2}})";

test::CommandResult run(std::vector<std::string> args, std::string_view input = kInput) {
  args.insert(args.begin(), "template");
  return test::run_octavo(args, {}, input);
}

TEST(TemplateCommand, FileAndFolder) {
  const test::TempDir dir;
  test::write_file(dir / "t.jinja", "{{ messages[0].content }}{{ a|tojson }}{{ bos_token }}\n");
  const auto raw = run({(dir / "t.jinja").string()});
  EXPECT_EQ(raw.exit_code, 0) << raw.err;
  EXPECT_EQ(raw.out, "hé{\"y\": 1, \"b\": 2}");
  const auto json = run({(dir / "t.jinja").string(), "--json"});
  EXPECT_EQ(Json::parse(json.out), Json({{"text", "hé{\"y\": 1, \"b\": 2}"}}));

  // The folder's special tokens are there unless given.
  std::filesystem::rename(dir / "t.jinja", dir / "chat_template.jinja");
  test::write_file(dir / "tokenizer_config.json", R"({"bos_token": {"content": "<s>"}})");
  EXPECT_EQ(run({dir.path().string()}).out, "hé{\"y\": 1, \"b\": 2}<s>");
  EXPECT_EQ(run({dir.path().string()}, R"({"messages": [{"content": ""}], "a": 1, "bos_token": "!"})").out, "1!");
}

TEST(TemplateCommand, Now) {
  const test::TempDir dir;
  test::write_file(dir / "t.jinja", "{{ strftime_now('%A %d %b %Y %H:%M, day %j') }}");
  const std::string path = (dir / "t.jinja").string();
  EXPECT_EQ(run({path, "--now", "2024-07-26"}, "{}").out, "Friday 26 Jul 2024 00:00, day 208");
  EXPECT_EQ(run({path, "--now", "2024-02-29T23:59:58"}, "{}").out, "Thursday 29 Feb 2024 23:59, day 060");
  EXPECT_EQ(run({path, "--now", "yesterday"}, "{}").exit_code, 2);
}

TEST(TemplateCommand, Errors) {
  const test::TempDir dir;
  const std::string path = (dir / "t.jinja").string();
  test::write_file(path, "\n{{ raise_exception('roles must alternate') }}");
  const auto raised = run({path});
  EXPECT_EQ(raised.exit_code, 1);
  EXPECT_EQ(raised.out, "");
  EXPECT_EQ(raised.err, "octavo template: " + path + ":2: roles must alternate\n");
  test::write_file(path, "{% if %}");
  EXPECT_EQ(run({path}).exit_code, 1);
  EXPECT_EQ(run({(dir / "absent.jinja").string()}).exit_code, 1);
  EXPECT_EQ(run({dir.path().string()}).exit_code, 1);
  test::write_file(path, "x");
  EXPECT_EQ(run({path}, "[1]").exit_code, 1);
  EXPECT_EQ(run({path}, "{\"a\": ").exit_code, 1);
  EXPECT_EQ(run({}, "{}").exit_code, 2);
}

}  // namespace
}  // namespace octavo
