// SentencePiece models (BPE and Unigram), equal to the sentencepiece library.
#pragma once

#include <memory>
#include <string_view>

#include "octavo/base/status.h"
#include "octavo/text/pipeline.h"
#include "octavo/text/tokenizer_config.h"

namespace octavo::text {

// `bytes` is a ModelProto. BOS goes first where the model has one and the config does not forbid it; EOS goes last
// where the config asks for it. A bare model (config.present is false) decodes control symbols to nothing and does not
// find them in text, as the library; with a config they are special tokens as in transformers.
Result<std::unique_ptr<Pipeline>> parse_sentencepiece(std::string_view bytes, const TokenizerConfig& config);

}  // namespace octavo::text
