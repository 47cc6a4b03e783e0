// The `decoder` of a tokenizer.json: from tokens back to text, one token at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/text/json_field.h"

namespace octavo::text {

// One text being decoded. Used by one thread.
class DecodeStream {
 public:
  virtual ~DecodeStream() = default;
  // Takes the next token and appends to `out` what of the text is decided by it: whole characters only.
  virtual void push(std::int32_t id, std::string_view token, std::string& out) = 0;
  virtual void finish(std::string& out) = 0;  // no token follows: the rest
};

// Immutable, usable from any thread; must outlive its streams.
class Decoder {
 public:
  virtual ~Decoder() = default;
  // `eager`: characters made of byte tokens come as soon as they are whole. Without it the bytes of a run are judged
  // together, as the tokenizers library does: one bad byte makes the whole run U+FFFD.
  virtual std::unique_ptr<DecodeStream> start(bool eager) const = 0;
};

// ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, WordPiece, BPEDecoder, Sequence; null joins the tokens with
// spaces. An error names the JSON pointer.
Result<std::unique_ptr<Decoder>> parse_decoder(const JsonField& field);
std::unique_ptr<Decoder> make_byte_level_decoder();

}  // namespace octavo::text
