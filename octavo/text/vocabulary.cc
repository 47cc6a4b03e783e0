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

Status Vocabulary::add(std::string_view token, std::int64_t id) {
  if (id < 0 || id > kMaxTokenId) {
    return failure("token \"{}\" has id {}, outside 0 .. {}", printable(token), id, kMaxTokenId);
  }
  if (has(id)) {
    return failure("id {} belongs to two tokens, \"{}\" and \"{}\"", id,
                   printable(this->token(static_cast<std::int32_t>(id))), printable(token));
  }
  if (bytes_.size() + token.size() >= kAbsent) return failure("the vocabulary has more than 4 GB of text");
  if (2 * (count_ + 1) > slots_.size()) grow();
  const std::size_t slot = slot_of(token);
  if (slots_[slot] >= 0) return failure("token \"{}\" has two ids, {} and {}", printable(token), slots_[slot], id);
  if (id >= size()) tokens_.resize(static_cast<std::size_t>(id) + 1);
  tokens_[static_cast<std::size_t>(id)] = {static_cast<std::uint32_t>(bytes_.size()),
                                           static_cast<std::uint32_t>(token.size())};
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

}  // namespace octavo::text
