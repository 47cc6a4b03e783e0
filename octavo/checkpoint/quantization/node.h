// A JSON object with its place, so that every message of the parsers of quantization_config can point at the key.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/base/status.h"

namespace octavo::quantization {

struct Node {
  const Json* json;     // an object
  std::string pointer;  // of it: "/quantization_config/config_groups/group_0"
  std::string_view origin;

  // The member, or nullptr when it is absent or null.
  const Json* get(std::string_view key) const;
  bool has(std::string_view key) const { return json->contains(key); }  // null too
  Error wrong(std::string_view key, std::string_view problem) const;    // "config.json: /a/b/key problem"
  // The string at `key`, "" when absent or null.
  Result<std::string> text(std::string_view key) const;
  Result<std::vector<std::string>> strings(std::string_view key) const;
  // A positive whole number; `otherwise` when absent or null.
  Result<std::uint64_t> positive(std::string_view key, std::uint64_t otherwise) const;
  Result<bool> boolean(std::string_view key, bool otherwise) const;
  // [rows, columns] of a block: two positive whole numbers, or "128x128" as old compressed-tensors wrote it; {0, 0}
  // when absent, null or [-1, -1], which AngelSlim writes for "per tensor".
  Result<std::array<std::uint64_t, 2>> block(std::string_view key) const;
  // The object at `key`; a Node with json == nullptr when absent or null.
  Result<Node> object(std::string_view key) const;
};

// `json` as a Node, or an error that says what it is instead of an object.
Result<Node> as_object(const Json& json, std::string pointer, std::string_view origin);

}  // namespace octavo::quantization
