// Texts that end an output. They may begin in one token and end in another, so text that could yet become a stop text
// is held back until it cannot.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::engine {

class StopText {
 public:
  // `stops`: none of them empty. `include`: the stop text itself is part of the output.
  explicit StopText(std::vector<std::string> stops, bool include = false)
      : stops_(std::move(stops)), include_(include) {}

  // Takes new text of the output, whole characters; returns what can be shown of it and of what was held back. At the
  // earliest stop text (of several that begin there, the first of `stops`) the output ends: nothing from there on, or
  // from its end with `include`, is ever returned.
  std::string push(std::string_view text);
  // The output has ended otherwise: what is still held back.
  std::string finish();

  bool stopped() const { return matched_ < stops_.size(); }
  // The stop text, once stopped().
  const std::string& matched() const { return stops_[matched_]; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool include_ = false;
  std::size_t matched_ = static_cast<std::size_t>(-1);  // in stops_
};

}  // namespace octavo::engine
