// Foreign patterns mean here what they mean there: a regular expression is of a module, whatever its weight is called.
#include "octavo/dialect/patterns.h"

#include <gtest/gtest.h>

#include "octavo/base/name_matcher.h"

namespace octavo::dialect {
namespace {

// What selection does: the module's name, then its weight's.
bool selects(const std::string& pattern, const std::string& module) {
  const auto hit = pattern_matches(pattern, module), weight = pattern_matches(pattern, module + ".weight");
  EXPECT_TRUE(hit.ok() && weight.ok()) << pattern;
  return *hit || *weight;
}

TEST(Patterns, RegularExpressionsAreOfModules) {
  const std::vector<std::string> modules = {"lm_head",
                                            "model.layers.0.self_attn.q_proj",
                                            "model.layers.10.mlp.down_proj",
                                            "model.layers.0.mlp.gate",
                                            "model.layers.0.mlp.gate_proj",
                                            "model.visual.blocks.3.attn.qkv",
                                            "vision_tower.x",
                                            "model.eight",
                                            "a.weigh"};
  const std::vector<std::string> patterns = {"re:.*lm_head",
                                             "re:.*mlp.gate$",
                                             "re:.*visual.*",
                                             "re:vision_tower.*",
                                             "re:.*q_proj",
                                             "re:.*\\.layers\\.0\\..*",
                                             "re:.*self_attn\\.(q|k|v)_proj$",
                                             "re:.*weight",
                                             "re:.*\\.weight$",
                                             "re:.*t",
                                             "re:.*eight$",
                                             "re:.*q_proj.+",
                                             "re:.*q_proj\\..*",
                                             "re:a|.*gate",
                                             "re:(?!.*mlp).*",
                                             "re:.*[qkv]_proj$",
                                             "re:.*layers\\.\\d+\\.mlp.*",
                                             "re:.*\\w",
                                             "re:.*weigh",
                                             "re:(.*)\\.mlp",
                                             "re:",
                                             "re:.{3,}ght$",
                                             "re:(?i).*LM_HEAD"};
  for (const std::string& entry : patterns) {
    const std::string pattern = module_regex(entry);
    for (const std::string& module : modules) {
      EXPECT_EQ(selects(pattern, module), *pattern_matches(entry, module))
          << entry << " as " << pattern << ": " << module;
    }
  }
}

TEST(Patterns, UsualExpressionsStayAsTheyAre) {
  for (const char* entry : {"re:.*lm_head", "re:.*lm_head$", "re:.*mlp.gate$", "re:.*visual.*", "re:vision_tower.*",
                            "re:.*self_attn\\.(q|k|v|o)_proj$", "re:.*\\.layers\\.(0|1)\\.mlp.*"}) {
    EXPECT_EQ(module_regex(entry), entry);
  }
  EXPECT_EQ(module_regex("re:.*q_proj\\..*"), "re:(?!.*\\.weight$)(?:.*q_proj\\..*)");
}

TEST(Patterns, SubstringsAreLiteral) {
  EXPECT_EQ(substring_pattern("down_proj"), "*down_proj*");
  EXPECT_EQ(substring_pattern("lm_head"), "lm_head");
  EXPECT_TRUE(selects(substring_pattern("gate.weight"), "model.layers.0.mlp.gate"));
  EXPECT_FALSE(selects(substring_pattern("a*b"), "axb"));
  EXPECT_TRUE(selects(substring_pattern("a*[b"), "xa*[by"));
}

}  // namespace
}  // namespace octavo::dialect
