// Hostile templates end in an error: no crash, no endless loop, no overflow of the stack, no giant allocation.
#include <gtest/gtest.h>

#include <string>

#include "tests/text/template_testing.h"

namespace octavo::text {
namespace {

std::string times(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

// The error, or "text: ..." where there is none.
constexpr std::uint64_t kWork = std::uint64_t{1} << 26;  // an eighth of the default keeps the tests short

std::string error_of(const std::string& source, const Json& variables = Json::object(), std::uint64_t work = kWork) {
  const auto compiled = ChatTemplate::parse(source, "t");
  if (!compiled.ok()) return compiled.error().message;
  RenderOptions options = template_options();
  options.limits.work = work;
  const auto rendered = compiled->render(variables, options);
  return rendered.ok() ? "text: " + rendered->substr(0, 100) : rendered.error().message;
}

constexpr int kDeep = 20'000;

TEST(JinjaLimits, DeepNestingInTheSource) {
  for (const auto& [open, close] : {std::pair<std::string, std::string>{"(", ")"},
                                    {"[", "]"},
                                    {"{1:", "}"},
                                    {"f(", ")"},
                                    {"a[", "]"},
                                    {"not ", ""},
                                    {"-", ""},
                                    {"1 if 1 else ", ""},
                                    {"x|f(", ")"},
                                    {"[1][", "]"},
                                    {"(1,", ")"},
                                    {"1 is eq(", ")"}}) {
    const std::string message = error_of("{{ " + times(open, kDeep) + "1" + times(close, kDeep) + " }}");
    EXPECT_NE(message.find("nested"), std::string::npos) << open << ": " << message;
  }
  for (const std::string link : {"+ 1 ", "|abs ", ".a", "[0]", "and 1 ", "or 0 ", "* 2 ", "** 1 ", "()", "is odd "}) {
    const std::string message = error_of("{{ 1 " + times(link, kDeep) + " }}");
    EXPECT_TRUE(message.find("nested") != message.npos || message.find("chain") != message.npos)
        << link << ": " << message;
  }
  for (const std::string tag : {"if 1", "for x in y", "filter upper", "set x", "with a=1", "macro m()", "call m()",
                                "generation", "autoescape false"}) {
    EXPECT_NE(error_of(times("{% " + tag + " %}", kDeep)).find("nested blocks"), std::string::npos) << tag;
  }
  EXPECT_EQ(error_of("{{ 0 " + times("~ 1 ", kDeep) + " }}").substr(0, 8), "text: 01");  // one flat node
  EXPECT_EQ(error_of("{% if 0 %}" + times("{% elif 0 %}", kDeep) + "{% endif %}x"), "text: x");
}

TEST(JinjaLimits, DeepRecursionAtRunTime) {
  EXPECT_NE(error_of("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").find("nested too deeply"), std::string::npos);
  EXPECT_NE(error_of("{% macro m(f) %}{% call f(f) %}{% endcall %}{% endmacro %}{{ m(m) }}").find(":1: "),
            std::string::npos);
  EXPECT_NE(error_of("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}").find("nested too deeply"),
            std::string::npos);
  // An expression as deep as the parser lets through, in a macro that calls itself.
  const std::string deep = times("(1 + ", 60) + "m()|int" + times(")", 60);
  EXPECT_NE(error_of("{% macro m() %}{{ " + deep + " }}{% endmacro %}{{ m() }}").find("nested too deeply"),
            std::string::npos);
  // jinja2 reaches about 190 nested calls before Python's recursion limit: so many must work.
  EXPECT_EQ(error_of("{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{% else %}end{% endif %}{% endmacro %}{{ m(190) }}"),
            "text: end");
}

TEST(JinjaLimits, DeepValues) {
  const std::string grow = "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = ";
  for (const std::string step :
       {"[ns.x]", "(ns.x,)", "{'a': ns.x}", "{1: 2, 3: [ns.x]}", "ns.x|map('string')", "ns.x|select", "ns.x|items",
        "[ns.x]|reverse", "cycler(ns.x)", "joiner(ns.x)", "namespace(x=[ns.x]).x", "dict(a=ns.x)",
        "[ns.x]|batch(1)|list", "[ns.x].copy", "[loop, ns.x]", "[ns.x]|groupby(0)"}) {
    const std::string message = error_of(grow + step + " %}{% endfor %}done");
    EXPECT_TRUE(message.starts_with("t:1: ") || message == "text: done") << step << ": " << message;
  }
  // A chain of namespaces, built from its head, and rings: freed without recursion and without leaks.
  EXPECT_EQ(error_of("{% set head = namespace() %}{% set ns = namespace(t=head) %}{% for i in range(50000) %}"
                     "{% set n = namespace(i=i) %}{% set t = ns.t %}{% set t.next = n %}{% set ns.t = n %}{% endfor %}"
                     "{% set head.x = head %}{% set ns.l = [ns, head] %}{% set ns.g = [ns]|map('string') %}done"),
            "text: done");
  EXPECT_EQ(
      error_of("{% set ns = namespace() %}{% macro m() %}{% endmacro %}{% set ns.m = m %}{% set ns.f = ns %}"
               "{% for i in [1] %}{% macro k() %}{{ i }}{% endmacro %}{% set ns.k = k %}{% set ns.l = loop %}"
               "{% if loop.changed(loop, ns) %}{% endif %}{% endfor %}{{ ns.k() }}{{ ns.l.index }}{{ ns.l.last }}"),
      "text: 11True");
  EXPECT_NE(error_of("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}").find("nested"), std::string::npos);
  Json deep = 1;
  for (int i = 0; i < 1000; ++i) deep = Json::array({std::move(deep)});
  EXPECT_NE(error_of("{{ x }}", {{"x", deep}}).find("variable \"x\": a variable is nested deeper"), std::string::npos);
}

// [x, x] doubles what printing, comparing and hashing walk through.
TEST(JinjaLimits, WideValues) {
  const std::string twice =
      "{% set ns = namespace(a=(1,), b=(1,)) %}{% for i in range(60) %}{% set ns.a = (ns.a, ns.a) %}"
      "{% set ns.b = (ns.b, ns.b) %}{% endfor %}";
  for (const std::string use : {"{{ ns.a }}", "{{ ns.a == ns.b }}", "{{ {ns.a: 1} }}", "{{ ns.a|tojson }}", "{{ 1 }}",
                                "{{ ns.a < ns.b }}", "{{ [ns.a]|unique|list }}", "{{ ns.a|sum }}"}) {
    EXPECT_TRUE(error_of(twice + use).starts_with("t:1: ")) << use;
  }
}

TEST(JinjaLimits, MuchWork) {
  const std::string nested = times("{% for i in range(99999) %}", 4) + "{{ i }}" + times("{% endfor %}", 4);
  EXPECT_NE(error_of(nested).find("too much work"), std::string::npos);
  EXPECT_NE(error_of(times("{% for i in range(99999) %}", 4) + times("{% endfor %}", 4)).find("too much work"),
            std::string::npos);
  // Searching a text for one that almost matches everywhere is quadratic with a plain search.
  EXPECT_TRUE(error_of("{% set a = 'a' * 4000000 %}{% set b = 'a' * 2000000 ~ 'b' %}"
                       "{{ b in a }}{{ a.find(b) }}{{ a.rfind('b' ~ b) }}{{ a.count(b) }}")
                  .starts_with("text: False-1-10"));
}

TEST(JinjaLimits, GiantValues) {
  for (const std::string expression : {"'a' * 10 ** 12",
                                       "[1] * 10 ** 12",
                                       "(1, 2) * 10 ** 15",
                                       "'%1000000000d' % 1",
                                       "'%.1000000000f' % 1",
                                       "'%*d' % (1000000000, 1)",
                                       "'{:1000000000}'.format(1)",
                                       "'{:.1000000000f}'.format(1.5)",
                                       "'a'.center(10 ** 12)",
                                       "'a'.zfill(10 ** 12)",
                                       "'a'.ljust(10 ** 12)",
                                       "'\\t'.expandtabs(10 ** 12)",
                                       "('a\\n' * 1000000)|indent(10 ** 9)",
                                       "[1]|tojson(indent=10 ** 9)",
                                       "[1]|batch(10 ** 12, 0)|list",
                                       "[1]|slice(10 ** 12)|list",
                                       "range(10 ** 9)",
                                       "('a' * 100000).replace('a', 'b' * 100000)",
                                       "('a' * 100000)|replace('', 'b' * 100000)",
                                       "(['x' * 100000] * 100000)|join",
                                       "('x' * 10000000).split('x')",
                                       "('x' * 50000000)|list",
                                       "'a'|center(10 ** 12)",
                                       "(' ' * 10000000)|urlencode|urlencode|urlencode",
                                       "('\\n' * 30000000).splitlines()",
                                       "('a ' * 10000000)|wordwrap(1)",
                                       "('<' * 30000000)|e",
                                       "'{:0>9999999}'.format(1) * 99",
                                       "('x' * 60000000) ~ ('x' * 60000000)",
                                       "('a' * 30000000)|tojson|tojson|list",
                                       "('%s' * 50) % ((('x' * 9000000),) * 50)"}) {
    const std::string message = error_of("{{ " + expression + " }}", Json::object(), kWork / 4);
    EXPECT_TRUE(message.starts_with("t:1: ")) << expression << ": " << message;
  }
  EXPECT_NE(error_of("{% set x = 'x' * 30000000 %}{{ x }}{{ x }}{{ x }}", Json::object(), 8 * kWork).find("64 MiB"),
            std::string::npos);
  EXPECT_NE(error_of(times("x", 5 << 20)).find("too long for a chat template"), std::string::npos);
}

TEST(JinjaLimits, StrangeInput) {
  EXPECT_NE(error_of("a\xff{{ 1 }}").find("not UTF-8 at byte 1"), std::string::npos);
  EXPECT_NE(error_of("{{ x }}", {{"x", "\xc3"}}).find("variable \"x\""), std::string::npos);
  EXPECT_NE(error_of("{{ '\\ud83d' }}").find("surrogate"), std::string::npos);
  EXPECT_EQ(error_of(std::string("a\0b", 3)), std::string("text: a\0b", 9));
  const auto compiled = ChatTemplate::parse("x", "t");
  ASSERT_TRUE(compiled.ok());
  EXPECT_EQ(compiled->render(Json::array()).error().message,
            "t: the variables of a template must be an object, not a list");
}

}  // namespace
}  // namespace octavo::text
