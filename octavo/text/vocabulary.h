// Tokens and their ids, both ways, in one block of memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"

namespace octavo::text {

// Four times the largest vocabulary in use: keeps a hostile id from becoming a huge table.
inline constexpr std::int64_t kMaxTokenId = (1 << 20) - 1;

// Filled while loading, then read from any thread. Views live as long as the vocabulary stays unchanged.
class Vocabulary {
 public:
  // Refuses an id outside 0 .. kMaxTokenId, an id that has a token, a token that has an id.
  Status add(std::string_view token, std::int64_t id) { return insert(token, id, /*added=*/false); }
  // A token that the model does not know of.
  Status add_beyond_model(std::string_view token, std::int64_t id) { return insert(token, id, /*added=*/true); }

  std::optional<std::int32_t> find(std::string_view token) const;
  // Among the model's own tokens: what a model may make of text.
  std::optional<std::int32_t> find_in_model(std::string_view token) const;
  bool has(std::int64_t id) const {
    return id >= 0 && id < size() && tokens_[static_cast<std::size_t>(id)].begin != kAbsent;
  }
  std::string_view token(std::int32_t id) const {  // of an id that is there
    const Entry& e = tokens_[static_cast<std::size_t>(id)];
    return std::string_view(bytes_).substr(e.begin, e.length);
  }
  std::int32_t size() const { return static_cast<std::int32_t>(tokens_.size()); }  // largest id + 1
  std::size_t count() const { return count_; }

 private:
  static constexpr std::uint32_t kAbsent = UINT32_MAX;
  struct Entry {
    std::uint32_t begin = kAbsent;
    std::uint32_t length : 31 = 0;
    std::uint32_t added : 1 = 0;
  };
  Status insert(std::string_view token, std::int64_t id, bool added);
  std::size_t slot_of(std::string_view token) const;  // where the token is, or the free slot where it would be
  void grow();

  std::string bytes_;
  std::vector<Entry> tokens_;        // by id
  std::vector<std::int32_t> slots_;  // open addressing: ids, -1 is free; the size is a power of 2
  std::size_t count_ = 0;
};

}  // namespace octavo::text
