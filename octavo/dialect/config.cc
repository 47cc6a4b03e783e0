// Recognising languages, reading files, and saying what they mean.
#include "octavo/dialect/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "octavo/base/file.h"
#include "octavo/base/text.h"
#include "octavo/dialect/languages.h"

namespace octavo::dialect {
namespace {

constexpr std::uint64_t kLargestFile = 1 << 20;

struct LanguageRow {
  Language language;
  std::string_view name;
  void (*read)(Reader&, Config&);
  bool interpolates;  // goes through OmegaConf
};
constexpr std::array<LanguageRow, 5> kLanguages{{
    {Language::kAngelSlim, "AngelSlim", read_angelslim, false},
    {Language::kLlmCompressor, "llm-compressor", read_llm_compressor, false},
    {Language::kRoll, "ROLL", read_roll, true},
    {Language::kNemoRl, "NeMo-RL", read_nemo_rl, true},
    {Language::kVllm, "vLLM", read_vllm, false},
}};

const LanguageRow& row_of(Language language) {
  return *std::find_if(kLanguages.begin(), kLanguages.end(), [&](const auto& r) { return r.language == language; });
}

// Keys of which one is enough.
bool has_any(const Node& root, std::initializer_list<std::string_view> keys) {
  return std::any_of(keys.begin(), keys.end(), [&](std::string_view key) { return root.find(key) != nullptr; });
}

bool is_recipe(const Node& root) {
  return std::any_of(root.entries.begin(), root.entries.end(), [](const Entry& entry) {
    return entry.key.ends_with("_stage") || entry.key.ends_with("_modifiers") || entry.key.ends_with("Modifier") ||
           entry.key == "modifiers";
  });
}

// A word of a shell's command line.
std::string shell_word(std::string_view word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@%+,";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string_view::npos) return std::string(word);
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// Whether the folder's config.json speaks of experts; false where there is none to read.
bool has_experts(const std::filesystem::path& folder) {
  constexpr std::uint64_t kLargestConfig = 16 << 20;
  const auto text = read_text_file(folder / "config.json", kLargestConfig);
  if (!text.ok()) return false;
  JsonOptions options;
  options.python_constants = true;
  const auto json = parse_json(*text, "config.json", options);
  if (!json.ok() || !json->is_object()) return false;
  for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"}) {
    const auto it = json->find(key);
    if (it != json->end() && it->is_number_integer() && it->get<std::int64_t>() > 1) return true;
  }
  return false;
}

// ROLL has no per-tensor form for experts; only the model's folder shows whether there are any.
void check_experts(Config& config) {
  for (const Meaning& m : config.meanings) {
    if (!m.spec || m.spec->scheme.granularity != quant::Granularity::kTensor || m.model.empty()) continue;
    if (!has_experts(m.model)) continue;
    const auto said = m.said.find("scheme");
    config.errors.push_back(
        fmt::format("{}: {} is a mixture of experts, which needs the block form: hf_overrides.quantization_config with "
                    "weight_block_size: [128, 128]",
                    said == m.said.end() ? printable(config.origin, 500) : said->second, printable(m.model)));
  }
  if (!config.errors.empty()) config.meanings.clear();
}

}  // namespace

std::string_view language_name(Language language) { return row_of(language).name; }

std::string first_line(const Error& error) { return error.message.substr(0, error.message.find('\n')); }

std::vector<std::string> Config::meaningless() const {
  std::vector<std::string> out;
  for (const KeyRecord& key : keys) {
    if (key.use == KeyUse::kMeaningless && key.at.file == 0) out.push_back(key.path);
  }
  return out;
}

Error Config::error() const { return usage_error("{}", fmt::join(errors, "\n")); }

Result<Language> recognise(const Node& root, std::string_view origin) {
  if (root.is_map()) {
    if (is_recipe(root)) return Language::kLlmCompressor;
    if (has_any(root, {"actor_infer", "actor_train", "rewards", "llm_judge", "reward_pretrain"})) {
      return Language::kRoll;
    }
    const Node* policy = root.find("policy");
    if (policy != nullptr && policy->is_map()) return Language::kNemoRl;
    if (has_any(root, {"compression"})) return Language::kAngelSlim;
    if (has_any(root, {"quantization", "quantization-config", "quantization_config", "linear", "moe", "targets"})) {
      return Language::kVllm;
    }
    if (has_any(root, {"global"})) return Language::kAngelSlim;
    if (has_any(root, {"loss_fn", "grpo"})) return Language::kNemoRl;
  }
  std::string near;
  for (const Entry& entry : root.entries) {
    static const std::vector<std::string> kKeys = {
        "compression", "global", "quant_stage",  "actor_infer",         "actor_train", "rewards",
        "llm_judge",   "policy", "quantization", "quantization_config", "targets"};
    if (near.empty()) near = did_you_mean(entry.key, kKeys, 1);
    if (!near.empty())
      return usage_error("{}:{}:{}: {}: unknown key{}", printable(origin, 500), entry.at.line, entry.at.column,
                         printable(entry.key), near);
  }
  return usage_error(
      "{}: is in no language that is read here. One is recognised by its keys: AngelSlim (compression), llm-compressor "
      "(..._stage), ROLL (actor_infer), NeMo-RL (policy), vLLM (quantization, linear, moe, targets)",
      printable(origin, 500));
}

namespace {

Config refused(std::string_view origin, const Error& error) {
  Config config;
  config.origin = std::string(origin);
  config.errors.push_back(error.message);
  return config;
}

Config read_tree(const Node& root, std::vector<std::string> origins, std::optional<Language> language) {
  if (!language) {
    const auto found = recognise(root, origins.front());
    if (!found.ok()) return refused(origins.front(), found.error());
    language = *found;
  }
  Config config;
  config.origin = origins.front();
  config.language = *language;
  const LanguageRow& row = row_of(*language);
  Reader reader(root, std::move(origins), row.interpolates);
  row.read(reader, config);
  reader.finish(config);
  return config;
}

// Puts the parents that `defaults` names under `root`. One that cannot be found stays named, and is warned of.
Status read_parents(Node& root, std::vector<std::string>& origins, std::size_t file) {
  constexpr std::size_t kMostFiles = 16;
  const Node* defaults = root.find("defaults");
  if (defaults == nullptr) return {};
  std::vector<std::string> names;
  if (defaults->is_scalar()) names.push_back(defaults->text);
  for (const Node& item : defaults->items) names.push_back(item.is_scalar() ? item.text : "");
  const std::filesystem::path folder = std::filesystem::path(origins[file]).parent_path();
  Node base;
  base.kind = Node::Kind::kMap;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {  // a later parent wins
    const std::filesystem::path path = folder / *name;
    const auto text = read_text_file(path, kLargestFile);
    if (!text.ok()) return {};
    if (origins.size() == kMostFiles) {
      return usage_error("{}: has more than {} parents, or is one of its own", printable(origins.front(), 500),
                         kMostFiles - 1);
    }
    origins.push_back(path.lexically_normal().string());
    const std::size_t number = origins.size() - 1;
    OCTAVO_ASSIGN(Node parent, parse_yaml(*text, origins.back(), {}, static_cast<int>(number)));
    OCTAVO_TRY(read_parents(parent, origins, number));
    inherit(base, std::move(parent));
  }
  std::erase_if(root.entries, [](const Entry& entry) { return entry.key == "defaults"; });
  inherit(root, std::move(base));
  return {};
}

}  // namespace

Config read_config(std::string_view text, std::string_view origin, std::optional<Language> language) {
  const auto root = parse_yaml(text, origin);
  return root.ok() ? read_tree(*root, {std::string(origin)}, language) : refused(origin, root.error());
}

Result<Config> load_config(const std::filesystem::path& path, std::optional<Language> language) {
  OCTAVO_ASSIGN(const std::string text, read_text_file(path, kLargestFile));
  std::vector<std::string> origins = {path.string()};
  auto root = parse_yaml(text, origins.front());
  if (!root.ok()) return refused(origins.front(), root.error());
  if (!language) {
    const auto found = recognise(*root, origins.front());
    if (found.ok()) language = *found;
  }
  if (language == Language::kNemoRl && root->is_map()) {
    const Status parents = read_parents(*root, origins, 0);
    if (!parents.ok()) return refused(origins.front(), parents.error());
  }
  Config config = read_tree(*root, std::move(origins), language);
  if (config.language == Language::kRoll) check_experts(config);
  return config;
}

Json config_json(const Config& config) {
  Json out = {{"language", language_name(config.language)}, {"file", config.origin}};
  const auto entry = [&](const Meaning& m) {
    Json one = Json::object();
    if (!m.worker.empty()) one["worker"] = m.worker;
    if (!m.model.empty()) one["model"] = m.model;
    if (!m.output.empty()) one["output"] = m.output;
    if (m.online) one["quantization"] = m.spec ? Json(m.online_name) : Json(nullptr);
    if (!m.kv_cache_dtype.empty()) one["kv-cache-dtype"] = m.kv_cache_dtype;
    one["spec"] = m.spec ? quant::spec_json(*m.spec) : Json(nullptr);
    if (std::string command = command_line(m); !command.empty()) one["command"] = std::move(command);
    return one;
  };
  if (config.meanings.size() == 1 && config.meanings.front().worker.empty()) {
    out.update(entry(config.meanings.front()));
  } else {
    Json& workers = out["workers"] = Json::array();
    for (const Meaning& meaning : config.meanings) workers.push_back(entry(meaning));
  }
  out["notes"] = config.notes;
  out["warnings"] = config.warnings;
  out["without_meaning"] = config.meaningless();
  return out;
}

std::string command_line(const Meaning& m) {
  std::vector<std::string> words = {"octavo", m.online ? "generate" : "quantize"};
  const auto add = [&](std::string_view flag, std::string_view value) {
    words.emplace_back(flag);
    words.push_back(shell_word(value));
  };
  words.push_back(m.model.empty() ? "MODEL" : shell_word(m.model));
  if (!m.online) add("-o", m.output.empty() ? "OUT" : m.output);
  if (m.spec) {
    const quant::QuantSpec& spec = *m.spec;
    const auto blocks = fmt::format("{}x{}", spec.scheme.block_n, spec.scheme.block_k);
    const bool odd_blocks = spec.scheme.granularity == quant::Granularity::kBlock && blocks != "128x128";
    if (m.online && (odd_blocks || spec.pow2_scales || !spec.only.empty())) return "";
    if (m.online) {
      add("--quantization", m.online_name);
    } else {
      add("--scheme", spec.scheme.name);
      add("--format", quant::format_name(spec.format));
      if (odd_blocks) add("--block-size", blocks);
    }
    for (const std::string& pattern : spec.ignore) add("--ignore", pattern);
    for (const std::string& pattern : spec.only) add("--only", pattern);
    if (spec.keep_first > 0) add("--keep-first", std::to_string(spec.keep_first));
    if (spec.keep_last > 0) add("--keep-last", std::to_string(spec.keep_last));
    if (spec.lm_head) words.emplace_back("--lm-head");
    if (spec.pow2_scales) words.emplace_back("--pow2-scales");
  }
  if (!m.kv_cache_dtype.empty()) add("--kv-cache-dtype", m.kv_cache_dtype);
  return fmt::format("{}", fmt::join(words, " "));
}

}  // namespace octavo::dialect
