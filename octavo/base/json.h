// JSON with limits: duplicate keys, depth and size are errors that say line and column; keys keep their order.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "octavo/base/file.h"
#include "octavo/base/status.h"

namespace octavo {

using Json = nlohmann::ordered_json;

struct JsonOptions {
  int max_depth = 64;
  // Python's json.dump writes NaN, Infinity and -Infinity, and some config.json have them: read as null.
  bool python_constants = false;
};

// Parses a whole document. `origin` (a path) starts the message: "config.json:3:17: ...".
Result<Json> parse_json(std::string_view text, std::string_view origin, const JsonOptions& options = {});

// Receives a document as events, so that a 90,000-entry index never becomes a tree. Every callback returns a
// Status; an error ends the parse and gets the position.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual Status null() = 0;
  virtual Status boolean(bool value) = 0;
  virtual Status integer(std::int64_t value) = 0;   // negative
  virtual Status natural(std::uint64_t value) = 0;  // zero or positive
  virtual Status real(double value) = 0;
  virtual Status string(std::string& value) = 0;  // may be moved from
  virtual Status begin_object() = 0;
  virtual Status key(std::string& name) = 0;  // may be moved from
  virtual Status end_object() = 0;
  virtual Status begin_array() = 0;
  virtual Status end_array() = 0;
};
Status parse_json_events(std::string_view text, std::string_view origin, int max_depth, JsonEvents& events);

// A document that lies in a source and is not held: it is read through a buffer, whatever its length.
struct JsonRange {
  const ByteSource& source;
  std::uint64_t offset = 0, length = 0;
  std::size_t buffer = 64 << 10;
  // Bytes of one string, and of what may stand between one string or number and the next: more is an error, so that
  // no document takes more memory than its events.
  std::size_t longest = 1 << 20;
};
// The same events, errors and positions as those of its text.
Status parse_json_events(const JsonRange& range, std::string_view origin, int max_depth, JsonEvents& events);

// Edits of a JSON object's text that leave every other byte as it stands. `text` must be valid (parse_json).
// Replaces the value of a top-level key, or adds the key last. `value` is JSON, printed with 2-space indent.
std::string set_top_level_key(std::string_view text, std::string_view key, const Json& value);
std::string remove_top_level_key(std::string_view text, std::string_view key);

// Appends `text` as JSON prints it, with quotes; what is not UTF-8 becomes U+FFFD.
void append_json_string(std::string& out, std::string_view text);

// "a string", "an object" ... for messages.
std::string_view json_type_name(const Json& value);

}  // namespace octavo
