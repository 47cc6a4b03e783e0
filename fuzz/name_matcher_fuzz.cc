// Patterns as a foreign config's ignore list may hold them: the first line is a name, every further one an entry. Every
// expression ends, in a match or an error.
#include "fuzz/property.h"
#include "octavo/base/name_matcher.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace octavo;
  const auto lines = split(fuzz::as_text(data, size), '\n');
  const std::string_view name = lines.front();
  if (!is_valid_utf8(name)) return 0;  // names come out of JSON
  const std::vector<std::string> entries(lines.begin() + 1, lines.end());
  for (const bool globs : {false, true}) {
    const auto matcher = NameMatcher::compile(entries, globs);
    if (!matcher.ok()) {
      fuzz::require_readable(matcher.error().message);
      continue;
    }
    const auto found = matcher->first_match(name);
    if (!found.ok()) {
      fuzz::require_readable(found.error().message);
      continue;
    }
    if (found->has_value()) {
      fuzz::require(**found < entries.size(), "the entry exists", name);
      // The same entry alone matches as well.
      const auto alone = NameMatcher::compile({entries[**found]}, globs);
      const auto again = alone->matches(name);
      fuzz::require(again.ok() && *again, "an entry matches alone", name);
    }
  }
  const auto near = nearest(name, entries, 3);
  fuzz::require(near.size() <= 3, "at most as many suggestions as wanted", name);
  return 0;
}
