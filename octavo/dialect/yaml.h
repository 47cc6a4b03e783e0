// A YAML document as a tree whose every value knows its line and column. One document a file; duplicate keys, keys that
// are no plain names, depth and size are errors; aliases and merge keys (<<) are expanded within the same limits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"

namespace octavo::dialect {

// Line and column are counted from 1; `file` tells the files of a document that was put together from several.
struct Position {
  int line = 1, column = 1;
  int file = 0;
};

struct Entry;

struct Node {
  enum class Kind : std::uint8_t { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  bool quoted = false;  // kScalar: a string whatever it looks like
  Position at;
  std::string text;            // kScalar
  std::vector<Node> items;     // kList
  std::vector<Entry> entries;  // kMap, in the file's order

  const Node* find(std::string_view key) const;  // kMap: the value; nullptr when there is none
  bool is_map() const { return kind == Kind::kMap; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_scalar() const { return kind == Kind::kScalar; }
  bool is_null() const { return kind == Kind::kNull; }
};

struct Entry {
  std::string key;
  Position at;  // of the key
  Node value;
};

struct YamlLimits {
  std::uint64_t bytes = 1 << 20;  // of the text, and of all scalars once aliases are expanded
  std::uint64_t nodes = 100'000;  // once aliases are expanded
  int depth = 48;                 // of lists and maps in each other
};

// `origin` (a path) starts the messages: "recipe.yaml:3:17: ...". JSON is YAML. `file` goes into every Position. Usage
// errors.
Result<Node> parse_yaml(std::string_view text, std::string_view origin, const YamlLimits& limits = {}, int file = 0);

// What `base` says and `own` does not, map by map, is added to `own`: as OmegaConf merges a file with its parent.
void inherit(Node& own, Node base);

// "a list", "text" ... for messages.
std::string_view kind_name(const Node& node);
// YAML 1.1 as Python reads it: null, ~ or nothing.
bool is_null_text(std::string_view text);

}  // namespace octavo::dialect
