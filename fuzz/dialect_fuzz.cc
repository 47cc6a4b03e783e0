// Foreign configurations: the YAML reader and every language on any text. What is read has meanings or errors, never
// both, never neither; every key is accounted for once; messages are readable.
#include "fuzz/property.h"
#include "octavo/dialect/config.h"
#include "octavo/dialect/device_mapping.h"
#include "octavo/dialect/vllm.h"

namespace octavo::fuzz {
namespace {

void check(const dialect::Config& config) {
  require(config.errors.empty() != config.meanings.empty(), "meanings or errors", config.origin);
  for (const auto* list : {&config.errors, &config.warnings, &config.notes}) {
    for (const std::string& text : *list) require(is_valid_utf8(text) && text.size() < 20'000, "readable", text);
  }
  for (const std::string& text : config.errors) require(text.find('\n') == text.npos, "one line an error", text);
  if (config.errors.empty()) {
    for (const dialect::KeyRecord& key : config.keys) {
      require(key.use != dialect::KeyUse::kRefused, "a refused key is an error", key.path);
    }
    for (const dialect::Meaning& meaning : config.meanings) {
      if (!meaning.spec) continue;
      require(quant::check_spec(*meaning.spec).ok() || meaning.spec->edge != quant::Edge::kPartial,
              "a spec that can be carried out", dialect::command_line(meaning));
    }
  }
  require(!dialect::config_json(config).dump(-1, ' ', false, Json::error_handler_t::replace).empty(), "printable");
}

}  // namespace
}  // namespace octavo::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  const std::string_view text = fuzz::as_text(data, size);
  fuzz::check(dialect::read_config(text, "f.yaml"));
  // The first byte picks a language that the keys do not: every reader sees every text.
  if (size > 0) fuzz::check(dialect::read_config(text, "f.yaml", static_cast<dialect::Language>(data[0] % 5)));
  fuzz::check(dialect::read_quantization_config(text, size % 2 == 0 ? "" : "fp8", "json"));
  const auto devices = dialect::parse_device_mapping(text);
  if (!devices.ok()) fuzz::require_readable(devices.error().message);
  return 0;
}
