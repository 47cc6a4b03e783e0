// How text is split before byte-level BPE, by the names llama.cpp gives the splits.
#pragma once

#include <string>
#include <string_view>

#include "octavo/base/json.h"

namespace octavo {

struct PreTokenizer {
  std::string_view name;       // tokenizer.ggml.pre
  std::string_view pattern;    // Oniguruma pattern of the split; "": GPT-2's, which ByteLevel has built in
  bool split_digits = false;   // every \p{N} stands alone, before the pattern
  bool nfc = false;            // text is normalized to NFC first
  bool ignore_merges = false;  // a piece that is a token is taken whole
  bool add_bos = false;        // default of tokenizer.ggml.add_bos_token
};

const PreTokenizer* find_pre_tokenizer(std::string_view name);  // nullptr when unknown
std::string pre_tokenizer_names();                              // "default, gpt-2, ..." for messages
Json pre_tokenizer_json(const PreTokenizer& pre);               // as tokenizer.json has it

}  // namespace octavo
