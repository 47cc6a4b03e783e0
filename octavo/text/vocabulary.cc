// A hash table of ids over one string of all tokens.
#include "octavo/text/vocabulary.h"

#include <functional>

#include "octavo/base/text.h"

namespace octavo::text {

std::size_t Vocabulary::slot_of(std::string_view token) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = std::hash<std::string_view>()(token) & mask;
  while (slots_[slot] >= 0 && this->token(slots_[slot]) != token) slot = (slot + 1) & mask;
  return slot;
}

void Vocabulary::grow() {
  constexpr std::size_t kFirst = 1024;
  slots_.assign(slots_.empty() ? kFirst : slots_.size() * 2, -1);
  for (std::int32_t id = 0; id < size(); ++id) {
    if (has(id)) slots_[slot_of(token(id))] = id;
  }
}

Status Vocabulary::insert(std::string_view token, std::int64_t id, bool added) {
  if (id < 0 || id > kMaxTokenId) {
    return failure("token \"{}\" has id {}, outside 0 .. {}", printable(token), id, kMaxTokenId);
  }
  if (has(id)) {
    return failure("id {} belongs to two tokens, \"{}\" and \"{}\"", id,
                   printable(this->token(static_cast<std::int32_t>(id))), printable(token));
  }
  constexpr std::size_t kMostBytes = std::size_t{1} << 31;
  if (bytes_.size() + token.size() >= kMostBytes) return failure("the vocabulary has more than 2 GB of text");
  if (2 * (count_ + 1) > slots_.size()) grow();
  const std::size_t slot = slot_of(token);
  if (slots_[slot] >= 0) return failure("token \"{}\" has two ids, {} and {}", printable(token), slots_[slot], id);
  if (id >= size()) tokens_.resize(static_cast<std::size_t>(id) + 1);
  Entry& entry = tokens_[static_cast<std::size_t>(id)];
  entry.begin = static_cast<std::uint32_t>(bytes_.size());
  entry.length = static_cast<std::uint32_t>(token.size()) & 0x7FFFFFFFu;
  entry.added = added;
  bytes_ += token;
  slots_[slot] = static_cast<std::int32_t>(id);
  ++count_;
  return {};
}

std::optional<std::int32_t> Vocabulary::find(std::string_view token) const {
  if (slots_.empty()) return std::nullopt;
  const std::int32_t id = slots_[slot_of(token)];
  if (id < 0) return std::nullopt;
  return id;
}

std::optional<std::int32_t> Vocabulary::find_in_model(std::string_view token) const {
  const auto id = find(token);
  if (id && tokens_[static_cast<std::size_t>(*id)].added) return std::nullopt;
  return id;
}

}  // namespace octavo::text
