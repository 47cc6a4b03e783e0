// Walking the double array; every index is checked, for the blob comes from a file.
#include "octavo/text/charsmap.h"

#include "octavo/text/utf8.h"

namespace octavo::text {
namespace {

// The fields of a unit (darts-clone, darts.h: DoubleArrayUnit).
bool has_leaf(std::uint32_t unit) { return ((unit >> 8) & 1) != 0; }
std::uint32_t value(std::uint32_t unit) { return unit & 0x7FFFFFFFu; }
std::uint32_t label(std::uint32_t unit) { return unit & 0x800000FFu; }
std::uint32_t offset(std::uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }

std::uint32_t little_endian(std::string_view bytes, std::size_t at) {
  std::uint32_t out = 0;
  for (std::size_t i = 0; i < 4; ++i)
    out |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return out;
}

}  // namespace

Result<Charsmap> Charsmap::parse(std::string_view blob) {
  Charsmap out;
  if (blob.empty()) return out;
  if (blob.size() < 4) return failure("the precompiled character map is cut off");
  const std::size_t bytes = little_endian(blob, 0);
  if (bytes % 4 != 0 || bytes == 0 || bytes > blob.size() - 4) {
    return failure("the precompiled character map says its trie has {} bytes of {}", bytes, blob.size() - 4);
  }
  out.units_.reserve(bytes / 4);
  for (std::size_t i = 0; i < bytes; i += 4) out.units_.push_back(little_endian(blob, 4 + i));
  out.replacements_ = blob.substr(4 + bytes);
  if (invalid_utf8_offset(out.replacements_)) {
    return failure("the precompiled character map's replacements are not valid UTF-8");
  }
  return out;
}

std::optional<Charsmap::Rule> Charsmap::find(std::string_view text, bool first) const {
  std::optional<Rule> best;
  if (units_.empty()) return best;
  std::size_t node = offset(units_[0]);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    node ^= byte;
    if (node >= units_.size() || label(units_[node]) != byte) break;
    const std::uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) break;
    const std::size_t begin = value(units_[node]);
    if (begin > replacements_.size()) break;
    const std::string_view rest = std::string_view(replacements_).substr(begin);
    // A rule inside a character would cut it; no sound map has one.
    const bool whole = i + 1 == text.size() || (static_cast<unsigned char>(text[i + 1]) & 0xC0) != 0x80;
    if (whole && (rest.empty() || (static_cast<unsigned char>(rest[0]) & 0xC0) != 0x80)) {
      best = Rule{i + 1, rest.substr(0, rest.find('\0'))};
      if (first) break;
    }
  }
  return best;
}

std::optional<Charsmap::Rule> Charsmap::longest(std::string_view text) const { return find(text, false); }
std::optional<Charsmap::Rule> Charsmap::shortest(std::string_view text) const { return find(text, true); }

}  // namespace octavo::text
