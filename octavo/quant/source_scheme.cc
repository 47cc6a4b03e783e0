// What an FP8 checkpoint's scheme is called.
#include "octavo/base/text.h"
#include "octavo/quant/module_kinds.h"
#include "octavo/quant/plan.h"
#include "octavo/quant/selection.h"

namespace octavo::quant {
namespace {

std::string_view preset_name(const QuantizationGroup& group) {
  const auto kind = scheme_kind(group);
  return kind ? scheme_kind_name(*kind) : std::string_view();
}

}  // namespace

Result<Scheme> scheme_of(const QuantizationInfo& info, const std::vector<QuantizedWeight>& weights) {
  const QuantizedWeight* first = nullptr;
  const auto group_of = [&](const QuantizedWeight& weight) -> const QuantizationGroup& {
    return info.groups[weight.group.value_or(0)];
  };
  for (const QuantizedWeight& weight : weights) {
    if (is_head(module_leaf(weight.module))) continue;  // per channel wherever it is quantized
    if (first == nullptr) first = &weight;
    if (weight.granularity == first->granularity && group_of(weight).activation == group_of(*first).activation)
      continue;
    return usage_error("the FP8 weights have several schemes ({} is per {}, {} per {}): say which with --scheme",
                       printable(first->module), granularity_name(first->granularity), printable(weight.module),
                       granularity_name(weight.granularity));
  }
  if (first == nullptr) return failure("holds no FP8 weight");
  const auto granularity = static_cast<Granularity>(first->granularity);
  const QuantizationGroup& group = group_of(*first);
  QuantizationGroup named = group;  // as the weights are, where the config says less
  named.granularity = first->granularity;
  if (first->granularity == octavo::Granularity::kGroup) named.block_k = first->block_k;
  auto scheme = find_scheme(preset_name(named));
  if (!scheme) {
    return usage_error("the source is per {} with {}, which no --scheme is: say which it shall become",
                       granularity_name(first->granularity), activation_name(group.activation));
  }
  if (granularity == Granularity::kBlock) scheme->block_n = group.block_n, scheme->block_k = group.block_k;
  return *scheme;
}

}  // namespace octavo::quant
