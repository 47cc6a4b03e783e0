// Reading tokenizer.json, and vocab.json with merges.txt, into a pipeline.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "octavo/base/status.h"
#include "octavo/text/pipeline.h"
#include "octavo/text/tokenizer_config.h"

namespace octavo::text {

// `origin` (a path) starts the messages. truncation and padding are ignored: the ids are those of the whole text.
// An added token keeps the id that the file gives it.
Result<std::unique_ptr<Pipeline>> parse_tokenizer_json(std::string_view text, std::string_view origin);

// A folder with vocab.json and merges.txt: tokenizer_class says which normalizer and pre-tokenizer belong to them.
Result<std::unique_ptr<Pipeline>> load_vocab_and_merges(const std::filesystem::path& folder,
                                                        const TokenizerConfig& config);

}  // namespace octavo::text
