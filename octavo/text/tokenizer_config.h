// What stands beside a tokenizer in a model folder: tokenizer_config.json, special_tokens_map.json, added_tokens.json.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/text/added_tokens.h"
#include "octavo/text/json_field.h"

namespace octavo::text {

struct TokenizerConfig {
  std::string tokenizer_class;  // without "Fast"; "" when no file says
  std::optional<std::string> bos_token, eos_token;
  std::optional<bool> add_bos_token, add_eos_token;
  bool add_prefix_space = false;
  bool legacy = false;
  // added_tokens_decoder, then added_tokens.json; by id.
  std::vector<AddedToken> added;
  std::vector<std::string> specials;  // contents of bos, eos, unk, pad, additional_special_tokens ...
  bool present = false;               // tokenizer_config.json or special_tokens_map.json is there
};

// Absent files say nothing. An error names the file and the JSON pointer.
Result<TokenizerConfig> read_tokenizer_config(const std::filesystem::path& folder);

// One entry of added_tokens or added_tokens_decoder, short of its id. Flags that are absent are false, `normalized`
// is then what the library takes: the contrary of `special`.
Result<AddedToken> parse_added_token(const JsonField& field);

}  // namespace octavo::text
