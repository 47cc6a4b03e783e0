// Whole chat templates against transformers, where they are found in a model folder, and the special tokens.
#include "octavo/text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>
#include <thread>

#include "tests/support/temp_dir.h"
#include "tests/text/template_testing.h"

namespace octavo::text {
namespace {

namespace fs = std::filesystem;

const fs::path kData = OCTAVO_SOURCE_DIR "/../shared/data";

std::string fnv1a(const std::string& text) {
  std::uint64_t value = 0xCBF29CE484222325u;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return fmt::format("{:016x}", value);
}

TEST(ChatTemplate, OwnFixturesEqualTransformers) {
  const Json golden = read_template_data("own.json");
  const std::vector<Json> contexts = template_contexts();
  ASSERT_EQ(golden.size(), 3u);
  for (const auto& [name, outputs] : golden.items()) {
    const auto chat = ChatTemplate::load(template_data(name));
    ASSERT_TRUE(chat.ok()) << chat.error().message;
    ASSERT_EQ(outputs.size(), contexts.size());
    std::size_t texts = 0;
    for (std::size_t i = 0; i < contexts.size(); ++i) {
      SCOPED_TRACE(name + ": " + contexts[i].dump());
      const auto rendered = chat->render(contexts[i], template_options());
      ASSERT_EQ(rendered.ok(), !outputs[i].is_null()) << (rendered.ok() ? *rendered : rendered.error().message);
      if (!rendered.ok()) continue;
      EXPECT_EQ(*rendered, outputs[i].get<std::string>());
      ++texts;
    }
    EXPECT_GT(texts, 30u) << name;
  }
}

// "tokenizers/qwen3" is a model folder, "chat_templates/x.jinja" a file.
TEST(ChatTemplate, SharedTemplatesEqualTransformers) {
  if (!fs::exists(kData / "chat_templates")) GTEST_SKIP() << "../shared/data/chat_templates is absent";
  const Json golden = read_template_data("shared.json");
  const std::vector<Json> contexts = template_contexts();
  for (const auto& [name, hashes] : golden.items()) {
    fs::path path = kData / name;
    if (path.filename() == "chat_template.jinja") path = path.parent_path();
    if (!fs::exists(path)) continue;
    const auto chat = ChatTemplate::load(path);
    ASSERT_TRUE(chat.ok()) << chat.error().message;
    const auto check = [&](const Json& context, const std::string& wanted) {
      const auto rendered = chat->render(context, template_options());
      EXPECT_EQ(rendered.ok() ? fnv1a(*rendered) : "error", wanted)
          << name << " with " << context.dump() << "\ngave " << (rendered.ok() ? *rendered : rendered.error().message);
    };
    std::istringstream ours(hashes["ours"].get<std::string>());
    for (const Json& context : contexts) {
      std::string wanted;
      ASSERT_TRUE(ours >> wanted);
      check(context, wanted);
    }
    for (const auto& [context_name, wanted] : hashes["theirs"].items()) {
      const auto context = parse_json(test::read_file(kData / context_name), context_name);
      ASSERT_TRUE(context.ok());
      check(*context, wanted.is_null() ? "error" : wanted.get<std::string>());
    }
  }
}

std::string loaded(const fs::path& path, const Json& variables = Json::object(), std::string_view which = "") {
  const auto chat = ChatTemplate::load(path, which);
  if (!chat.ok()) return "error: " + chat.error().message;
  const auto rendered = chat->render(variables);
  return rendered.ok() ? *rendered : "error: " + rendered.error().message;
}

TEST(ChatTemplate, FoundInAFolder) {
  const test::TempDir dir;
  EXPECT_NE(loaded(dir.path()).find("no chat template"), std::string::npos);
  EXPECT_NE(loaded(dir / "absent.jinja").find("absent.jinja"), std::string::npos);
  test::write_file(dir / "chat_template.json", R"({"chat_template": "processor"})");
  EXPECT_EQ(loaded(dir.path()), "processor");
  test::write_file(dir / "tokenizer_config.json", R"({"chat_template": "config {{ 1 + 1 }}", "x": NaN})");
  EXPECT_EQ(loaded(dir.path()), "config 2");
  test::write_file(dir / "chat_template.jinja", "file\n");
  EXPECT_EQ(loaded(dir.path()), "file");
  EXPECT_EQ(loaded(dir / "chat_template.jinja"), "file");
  test::write_file(dir / "chat_template.jinja", "\n{{ x.y }}");
  EXPECT_EQ(loaded(dir.path()), fmt::format("error: {}:2: 'x' is undefined", (dir / "chat_template.jinja").string()));
}

TEST(ChatTemplate, OneOfSeveral) {
  const test::TempDir dir;
  const Json tools = {{"tools", Json::array({1})}};
  test::write_file(dir / "tokenizer_config.json",
                   R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"},
                       {"name": "rag", "template": "{% broken"}]})");
  EXPECT_EQ(loaded(dir.path()), "d");
  EXPECT_EQ(loaded(dir.path(), tools), "t");
  EXPECT_EQ(loaded(dir.path(), {{"tools", nullptr}}), "d");
  EXPECT_EQ(loaded(dir.path(), tools, "default"), "d");
  EXPECT_NE(loaded(dir.path(), {}, "rag").find("tokenizer_config.json#/chat_template/2:1: "), std::string::npos);
  EXPECT_NE(loaded(dir.path(), {}, "other").find("there are: default, tool_use, rag"), std::string::npos);
  test::write_file(dir / "chat_template.jinja", "main");
  test::write_file(dir / "additional_chat_templates/tool_use.jinja", "more");
  EXPECT_EQ(loaded(dir.path()), "main");
  EXPECT_EQ(loaded(dir.path(), tools), "more");
  fs::remove(dir / "chat_template.jinja");
  EXPECT_EQ(loaded(dir.path(), tools), "more");
  EXPECT_NE(loaded(dir.path()).find("none named \"default\""), std::string::npos);
}

TEST(ChatTemplate, MalformedFilesAreNamed) {
  const test::TempDir dir;
  for (const auto& [config, message] :
       {std::pair<std::string, std::string>{"[]", "must hold an object"},
        {R"({"chat_template": 1})", "a string or a list"},
        {R"({"chat_template": ["x"]})", "#/chat_template/0: must be an object"},
        {R"({"chat_template": [{"name": "a"}]})", "#/chat_template/0: must be an object"},
        {R"({"chat_template": {"a": 1}})", "#/chat_template/a: must be a string"},
        {"{", "tokenizer_config.json:1:"}}) {
    test::write_file(dir / "tokenizer_config.json", config);
    EXPECT_NE(loaded(dir.path()).find(message), std::string::npos) << loaded(dir.path());
  }
}

TEST(ChatTemplate, SpecialTokensAreVariables) {
  const test::TempDir dir;
  EXPECT_EQ(special_token_variables(dir.path())->dump(), "{}");
  test::write_file(
      dir / "tokenizer_config.json",
      R"({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}, "pad_token": null, "a": 1})");
  test::write_file(dir / "special_tokens_map.json", R"({"bos_token": "other", "pad_token": {"content": "<pad>"}})");
  EXPECT_EQ(special_token_variables(dir.path())->dump(),
            R"({"bos_token":"<s>","eos_token":"</s>","pad_token":"<pad>"})");
  test::write_file(dir / "tokenizer_config.json", R"({"bos_token": 1})");
  EXPECT_NE(special_token_variables(dir.path()).error().message.find("tokenizer_config.json#/bos_token: must be"),
            std::string::npos);
}

// Immutable: the same template on several threads at once.
TEST(ChatTemplate, RendersOnManyThreads) {
  const auto chat = ChatTemplate::load(template_data("chatml_tools.jinja"));
  ASSERT_TRUE(chat.ok());
  const std::vector<Json> contexts = template_contexts();
  const Json golden = read_template_data("own.json")["chatml_tools.jinja"];
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      for (std::size_t i = 0; i < contexts.size(); ++i) {
        const auto rendered = chat->render(contexts[i], template_options());
        const bool right = rendered.ok() ? golden[i] == *rendered : golden[i].is_null();
        if (!right) ++count;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace octavo::text
