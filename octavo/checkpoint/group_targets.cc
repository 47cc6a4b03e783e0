// Targets of config groups, compiled once.
#include "octavo/checkpoint/group_targets.h"

namespace octavo {

bool is_class_target(std::string_view target) {
  return !target.starts_with("re:") && target.find('.') == target.npos && !target.empty() && target[0] >= 'A' &&
         target[0] <= 'Z';
}

Result<GroupTargets> GroupTargets::compile(const QuantizationInfo& info) {
  GroupTargets out;
  for (const QuantizationGroup& group : info.groups) {
    Targets targets;
    std::vector<std::string> names;
    for (const std::string& target : group.targets) {
      if (!is_class_target(target)) {
        names.push_back(target);
      } else if (target.find("Linear") != target.npos) {
        targets.linears = true;
      }
    }
    OCTAVO_ASSIGN(targets.names, NameMatcher::compile(names, /*globs=*/false));
    out.groups_.push_back(std::move(targets));
  }
  return out;
}

Result<std::optional<GroupTargets::Match>> GroupTargets::find(std::string_view module, bool linear) const {
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    OCTAVO_ASSIGN(const bool named, groups_[i].names.matches(module));
    if (named) return std::optional(Match{i, true});
  }
  for (std::size_t i = 0; linear && i < groups_.size(); ++i) {
    if (groups_[i].linears) return std::optional(Match{i, false});
  }
  return std::optional<Match>();
}

}  // namespace octavo
