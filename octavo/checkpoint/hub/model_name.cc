// Checks of names that come from a command line or a server.
#include "octavo/checkpoint/hub/model_name.h"

#include <fmt/format.h>

#include <algorithm>

#include "octavo/base/text.h"

namespace octavo::hub {
namespace {

// Not <cctype>: that asks the locale.
bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

bool is_repo_part(std::string_view part) {
  constexpr std::size_t kLongest = 96;
  if (part.empty() || part.size() > kLongest || !is_word(part.front()) || !is_word(part.back())) return false;
  return std::all_of(part.begin(), part.end(), [](char c) { return is_word(c) || c == '-' || c == '.'; });
}

}  // namespace

bool is_repo_id(std::string_view text) {
  const auto parts = split(text, '/');
  if (parts.empty() || parts.size() > 2 || !std::all_of(parts.begin(), parts.end(), is_repo_part)) return false;
  return text.find("--") == text.npos && text.find("..") == text.npos && !text.ends_with(".git");
}

bool is_revision(std::string_view text) {
  constexpr std::size_t kLongest = 200;
  if (text.empty() || text.size() > kLongest || text.find("..") != text.npos) return false;
  const auto fits = [](char c) {
    return c > ' ' && c < 0x7f && std::string_view("\\~^:?*[").find(c) == std::string_view::npos;
  };
  if (!std::all_of(text.begin(), text.end(), fits)) return false;
  const auto parts = split(text, '/');
  return std::none_of(parts.begin(), parts.end(), [](std::string_view part) { return part.empty() || part == "."; });
}

bool is_commit(std::string_view text) {
  constexpr std::size_t kDigits = 40;
  return text.size() == kDigits && text.find_first_not_of("0123456789abcdef") == text.npos;
}

bool is_plain_file_name(std::string_view text) {
  constexpr std::size_t kLongest = 255;  // NAME_MAX
  if (text.empty() || text.size() > kLongest || text == "." || text == ".." || !is_valid_utf8(text)) return false;
  return std::none_of(text.begin(), text.end(), [](char c) {
    return c == '/' || c == '\\' || c == 0x7f || (static_cast<unsigned char>(c) < 0x20);
  });
}

std::optional<ModelName> parse_model_name(std::string_view text) {
  ModelName out;
  const std::size_t at = text.find('@');
  out.repo = text.substr(0, at);
  if (at != text.npos) out.revision = text.substr(at + 1);
  if (!is_repo_id(out.repo) || !is_revision(out.revision)) return std::nullopt;
  return out;
}

std::string url_encode(std::string_view text, bool slashes) {
  std::string out;
  for (const char c : text) {
    if (is_word(c) || c == '-' || c == '.' || c == '~' || (c == '/' && !slashes)) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace octavo::hub
