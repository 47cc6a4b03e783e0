// Options in JSON by name: serve's FieldReader, and one-of-several values.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>

#include "octavo/base/text.h"
#include "octavo/serve/json_reader.h"

namespace octavo::capi {

using serve::FieldReader;

// A string that is one of `names`.
inline void read_name(FieldReader& f, std::string_view name, std::initializer_list<std::string_view> names,
                      std::string& out) {
  std::string value = out;
  f.read(name, value);
  if (!f.ok() || f.get(name) == nullptr) return;
  if (std::find(names.begin(), names.end(), value) == names.end()) {
    const std::vector<std::string> known(names.begin(), names.end());
    std::string list;
    for (const std::string& one : known) list += (list.empty() ? "" : ", ") + one;
    return f.fail(name, fmt::format("\"{}\" is none of {}{}", printable(value), list, did_you_mean(value, known, 1)));
  }
  out = std::move(value);
}

// 0: one a hardware thread. Read into `out` as worker_count() makes it.
void read_threads(FieldReader& f, int& out);

}  // namespace octavo::capi
