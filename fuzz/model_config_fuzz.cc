// config.json: parse_json, parse_model_config, parse_quantization, and the edits of its text, which must change one key
// and nothing else.
#include <array>

#include "fuzz/property.h"
#include "octavo/checkpoint/group_targets.h"
#include "octavo/checkpoint/loader_table.h"
#include "octavo/checkpoint/model_config.h"
#include "octavo/checkpoint/quantization.h"

namespace octavo::fuzz {
namespace {

Json parse_again(const std::string& text, const JsonOptions& options) {
  auto json = parse_json(text, "edited", options);
  require(json.ok(), "edited text is JSON", text);
  return std::move(json).value();
}

void check_edits(std::string_view text, const Json& config, const JsonOptions& options) {
  const Json value = {{"quant_method", "fp8"}, {"list", {1, "two"}}};
  // One key an input: each edit is parsed again, and a run has many inputs.
  static constexpr std::array kKeys = {"quantization_config", "a", ""};
  const char* key = kKeys[text.size() % kKeys.size()];
  Json expected = config;
  expected[key] = value;
  const std::string edited = set_top_level_key(text, key, value);
  require(parse_again(edited, options) == expected, "set changes one key", edited);
  require(set_top_level_key(edited, key, value) == edited, "set is idempotent", edited);
  expected.erase(key);
  require(parse_again(remove_top_level_key(edited, key), options) == expected, "remove takes one key away", edited);
  if (!config.contains(key))
    require(remove_top_level_key(text, key) == text, "remove of nothing changes nothing", text);
}

class Ignored final : public JsonEvents {
 public:
  Status null() override { return {}; }
  Status boolean(bool) override { return {}; }
  Status integer(std::int64_t) override { return {}; }
  Status natural(std::uint64_t) override { return {}; }
  Status real(double) override { return {}; }
  Status string(std::string&) override { return {}; }
  Status begin_object() override { return {}; }
  Status key(std::string&) override { return {}; }
  Status end_object() override { return {}; }
  Status begin_array() override { return {}; }
  Status end_array() override { return {}; }
};

// A text and the same bytes through a small buffer: the same verdict at the same place.
void check_parts(std::string_view text) {
  constexpr int kDepth = 8;
  Ignored events;
  const MemorySource source(as_bytes(text));
  JsonRange range{source, 0, text.size()};
  range.buffer = 1 + text.size() % 13;
  const Status whole = parse_json_events(text, "config.json", kDepth, events);
  const Status parts = parse_json_events(range, "config.json", kDepth, events);
  require(whole.ok() == parts.ok(), "the buffer changes nothing", text);
  if (!whole.ok()) {
    require(whole.error().message == parts.error().message, "the buffer changes no message", parts.error().message);
  }
}

// What every reader of a QuantizationInfo relies on.
void check_quantization(const QuantizationInfo& info, std::string_view text) {
  require(!info.groups.empty(), "at least one group", text);
  require(!info.describe().empty(), "a description", text);
  for (const QuantizationGroup& group : info.groups) {
    const bool blocks = group.granularity == Granularity::kBlock || group.granularity == Granularity::kGroup;
    require(!blocks || (group.block_n != 0 && group.block_k != 0), "a block has a size", text);
    const bool groups = group.activation == ActivationScheme::kDynamicGroup;
    require(!groups || group.activation_group != 0, "a group of activations has a size", text);
  }
  for (const Loader loader : kLoaders) {
    for (const QuantizationGroup& group : info.groups) {
      const auto kind = scheme_kind(group);
      const LoaderRow* row = kind ? find_loader_row(*kind, info.dialect) : nullptr;
      if (row != nullptr) require(!describe((*row)[loader]).empty(), "an answer of each loader", text);
    }
  }
  const auto targets = GroupTargets::compile(info);
  if (!targets.ok()) return require_readable(targets.error().message);
  const auto match = targets->find("model.layers.0.self_attn.q_proj", true);
  if (match.ok() && *match) require((**match).group < info.groups.size(), "a group that is there", text);
}

}  // namespace
}  // namespace octavo::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  const std::string_view text = fuzz::as_text(data, size);
  fuzz::check_parts(text);
  JsonOptions options;
  options.python_constants = true;
  const auto json = parse_json(text, "config.json", options);
  if (!json.ok()) {
    fuzz::require_readable(json.error().message);
    fuzz::require(!parse_json(text, "config.json").ok(), "Python's constants only add to JSON", text);
    return 0;
  }
  const auto config = parse_model_config(*json, "config.json");
  if (!config.ok()) fuzz::require_readable(config.error().message);
  if (!json->is_object()) return 0;
  const auto quantization = parse_quantization(*json, "config.json");
  if (!quantization.ok()) {
    fuzz::require_readable(quantization.error().message);
  } else if (*quantization) {
    fuzz::check_quantization(**quantization, text);
  }
  // The same text as ModelOpt's own file.
  const auto beside = parse_hf_quant_config(*json, "hf_quant_config.json");
  if (!beside.ok()) {
    fuzz::require_readable(beside.error().message);
  } else {
    fuzz::check_quantization(*beside, text);
  }
  fuzz::check_edits(text, *json, options);
  return 0;
}
