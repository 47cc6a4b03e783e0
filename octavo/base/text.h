// Small text helpers that messages and patterns need.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octavo {

std::string human_bytes(std::uint64_t bytes);  // "256.6 MB": powers of 1000, as disks and rates are quoted

// Shell-style match of the whole name: * any run, ? one character, [abc] [a-z] [!x] one of a set.
bool glob_match(std::string_view pattern, std::string_view name);

// The names nearest to `wanted` by edit distance, best first, at most `count`; far-off names are left out.
std::vector<std::string> nearest(std::string_view wanted, const std::vector<std::string>& names, std::size_t count);

// "; did you mean a or b?" or "" when nothing is near: to be put behind a message.
std::string did_you_mean(std::string_view wanted, const std::vector<std::string>& names, std::size_t count = 2);

std::vector<std::string_view> split(std::string_view text, char separator);
bool is_valid_utf8(std::string_view text);
// Control characters and invalid UTF-8 as \xNN, cut at `longest` bytes: a foreign name, fit for a message.
std::string printable(std::string_view text, std::size_t longest = 120);

}  // namespace octavo
