// Which group of a quantization_config a module belongs to, by the rule of compressed-tensors and vLLM: names and
// "re:" patterns win over class names, whatever the order of the groups; among equals the first group.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "octavo/base/name_matcher.h"
#include "octavo/checkpoint/quantization.h"

namespace octavo {

// A target that names a class of modules ("Linear", "LlamaAttention"), not modules.
bool is_class_target(std::string_view target);

class GroupTargets {
 public:
  // An error when a "re:" pattern is malformed.
  static Result<GroupTargets> compile(const QuantizationInfo& info);

  struct Match {
    std::size_t group = 0;  // index into QuantizationInfo::groups
    bool by_name = false;   // not only as a "Linear"
  };
  // `linear`: the module is a linear layer, which the class "Linear" means. nullopt: no group targets it. An error when
  // a pattern needs too much effort.
  Result<std::optional<Match>> find(std::string_view module, bool linear) const;

 private:
  struct Targets {
    NameMatcher names;
    bool linears = false;
  };
  std::vector<Targets> groups_;
};

}  // namespace octavo
