// What a foreign configuration means here, whatever language it was written in: specs, paths, what is said once to the
// user, and the fate of every key. One file a language (angelslim.h ...); this header is what callers include.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/base/status.h"
#include "octavo/dialect/yaml.h"
#include "octavo/quant/spec.h"

namespace octavo::dialect {

enum class Language : std::uint8_t { kAngelSlim, kLlmCompressor, kRoll, kNemoRl, kVllm };
std::string_view language_name(Language language);  // "AngelSlim", "llm-compressor", "ROLL", "NeMo-RL", "vLLM"

// What became of a key. kMeaningless: it is known and decides nothing here; its whole value was left unread.
enum class KeyUse : std::uint8_t { kUsed, kMeaningless, kRefused };
struct KeyRecord {
  std::string path;  // "compression.quantization.name", "targets[1].name"
  Position at;
  KeyUse use = KeyUse::kUsed;
};

// One model and what happens to it: the only one of an offline language, one a worker in an RL language.
struct Meaning {
  std::string worker;                    // "actor_infer", "rewards.llm_judge"; "" where the language has no workers
  bool online = false;                   // quantized on the way into memory, not into a folder
  std::optional<quant::QuantSpec> spec;  // nullopt: it runs as its folder has it
  std::string online_name;               // online: what `--quantization` calls the scheme, "fp8_block"
  std::string kv_cache_dtype;            // online: "" when not said
  std::string model;                     // folder or hub name; "" when not said
  std::string output;                    // offline: the folder to write; "" when not said
  // What the file decides, by the names of quant::spec_json, and where: "f.yaml:12:11: compression.quantization.name".
  std::map<std::string, std::string> said;
};

struct Config {
  Language language = Language::kAngelSlim;
  std::string origin;
  std::vector<Meaning> meanings;   // empty when there are errors
  std::vector<std::string> notes;  // said once: what is always so here
  std::vector<std::string> warnings;
  std::vector<std::string> errors;  // "f.yaml:3:5: a.b: sentence", by place; all of them
  std::vector<KeyRecord> keys;      // by place

  std::vector<std::string> meaningless() const;  // paths of keys of the file itself, not of its parents
  // The errors as one, a line each; only when there are some.
  Error error() const;
};

// The language of a document by its keys; a usage error that says how each language is recognised.
Result<Language> recognise(const Node& root, std::string_view origin);

// Reads a text. What is wrong in it is in Config::errors, all at once. `origin` is its path as the user knows it: its
// stem names AngelSlim's output.
Config read_config(std::string_view text, std::string_view origin, std::optional<Language> language = std::nullopt);
// The same of a file. An unreadable file is the only Error. What NeMo-RL's `defaults` names is read, too: parents lie
// beside the file, and what they say holds where the file says nothing.
Result<Config> load_config(const std::filesystem::path& path, std::optional<Language> language = std::nullopt);

// `--print-spec`: {"language", "file", "model", "output", "spec"} with the spec as quant::spec_json has it; RL
// languages have {"workers": [{"worker", "model", "quantization", "spec", ...}]}.
Json config_json(const Config& config);
// The octavo command line that does the same; "" where flags cannot say it.
std::string command_line(const Meaning& meaning);

}  // namespace octavo::dialect
