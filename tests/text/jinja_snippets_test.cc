// A table of small templates against jinja2 (tools/make_template_golden.py): one line, one corner of the language.
#include <gtest/gtest.h>

#include <charconv>

#include "octavo/base/json.h"
#include "octavo/text/chat_template.h"
#include "tests/support/temp_dir.h"
#include "tests/text/template_testing.h"

namespace octavo::text {
namespace {

// The line in "NAME:LINE: ...", -1 where there is none.
int line_of(const std::string& message) {
  int line = -1;
  const std::size_t colon = message.find(':');
  std::from_chars(message.data() + colon + 1, message.data() + message.size(), line);
  return line;
}

TEST(Jinja, SnippetsEqualJinja2) {
  const Json golden = read_template_data("snippets.json");
  const Json& variables = golden["variables"];
  const RenderOptions options = template_options();
  std::size_t texts = 0, errors = 0;
  for (const Json& entry : golden["cases"]) {
    const auto source = entry["template"].get<std::string>();
    SCOPED_TRACE(source);
    const auto compiled = ChatTemplate::parse(source, "t");
    if (entry.contains("line")) {
      ++errors;
      ASSERT_FALSE(compiled.ok());
      EXPECT_EQ(line_of(compiled.error().message), entry["line"].get<int>()) << compiled.error().message;
      continue;
    }
    const Result<std::string> rendered =
        compiled.ok() ? compiled->render(variables, options) : Result<std::string>(compiled.error());
    if (entry.contains("error")) {
      ++errors;
      EXPECT_FALSE(rendered.ok()) << *rendered;
      if (rendered.ok()) continue;
      EXPECT_GE(line_of(rendered.error().message), 1) << rendered.error().message;
      continue;
    }
    ++texts;
    ASSERT_TRUE(rendered.ok()) << rendered.error().message;
    EXPECT_EQ(*rendered, entry["text"].get<std::string>());
  }
  EXPECT_GT(texts, 220u);
  EXPECT_GT(errors, 100u);
}

std::string render(const std::string& source, const Json& variables = Json::object()) {
  const auto compiled = ChatTemplate::parse(source, "t");
  if (!compiled.ok()) return "error: " + compiled.error().message;
  const auto rendered = compiled->render(variables, template_options());
  return rendered.ok() ? *rendered : "error: " + rendered.error().message;
}

TEST(Jinja, MessagesSayTheLineAndWhatIsWrong) {
  EXPECT_EQ(render("a\nb\n{{ foo.bar }}"), "error: t:3: 'foo' is undefined");
  EXPECT_EQ(render("{% set d = {'a': 1} %}\n\n{{ d.b.c }}"), "error: t:3: 'dict object' has no attribute 'b'");
  EXPECT_EQ(render("{% if x %}\n{{ 1 +\n 'a' }}\n{% endif %}", {{"x", 1}}),
            "error: t:2: unsupported operand type(s) for +: 'int' and 'str'");
  EXPECT_EQ(render("\n{{ raise_exception('Only 50% of {roles}\nare known') }}"),
            "error: t:2: Only 50% of {roles}\\x0aare known");
  EXPECT_EQ(render("{{ 'a'|uper }}"), "error: t:1: No filter named 'uper'; did you mean upper?.");
  EXPECT_EQ(render("{{ 'a'|urlize }}"), "error: t:1: The filter 'urlize' of jinja2 is not supported.");
  EXPECT_EQ(render("\n{% include 'other' %}"),
            "error: t:2: {% include %} needs other templates; a chat template stands alone");
  EXPECT_EQ(render("{% if 1 %}\n{% for x in y %}"),
            "error: t:2: Unexpected end of template. Jinja was looking for the following tags: 'endfor' or 'else'. The "
            "innermost block that needs to be closed is 'for'.");
  // The line is that of the macro's body, where it fails.
  EXPECT_EQ(render("{% macro m(x) %}\n{{ x.y.z }}{% endmacro %}\n\n{{ m({}) }}"),
            "error: t:2: 'dict object' has no attribute 'y'");
  EXPECT_EQ(render("{{ [].append(1) }}"), "error: t:1: access to attribute 'append' of 'list' object is unsafe.");
}

// What Python's integers of any length would make is an error here, never a wrong number.
TEST(Jinja, IntegersBeyond64BitsAreErrors) {
  for (const char* source : {"{{ 9223372036854775807 + 1 }}", "{{ 2 ** 63 }}", "{{ -9223372036854775807 - 2 }}",
                             "{{ 4611686018427387904 * 2 }}", "{{ 9223372036854775808 }}", "{{ '9' * 30 | int }}",
                             "{{ 1e30 | int }}", "{{ big + 1 }}"}) {
    const std::string text = render(source, {{"big", 18446744073709551615u}});
    EXPECT_TRUE(text.starts_with("error: ") || text.find("999") != text.npos) << source << " gave " << text;
  }
  EXPECT_EQ(render("{{ x }} {{ x|tojson }}", {{"x", 18446744073709551615u}}),
            "18446744073709551615 18446744073709551615");
  EXPECT_EQ(render("{{ -9223372036854775807 - 1 }}"), "-9223372036854775808");
  EXPECT_TRUE(render("{{ (-9223372036854775807 - 1) // -1 }}").starts_with("error: "));
}

}  // namespace
}  // namespace octavo::text
