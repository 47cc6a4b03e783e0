// Texts that end an output. They may begin in one token and end in another, so text that could yet become a stop text
// is held back until it cannot.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace octavo::engine {

class StopText {
 public:
  // `stops`: none of them empty.
  explicit StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Takes new text of the output, whole characters; returns what can be shown of it and of what was held back. At the
  // earliest stop text (of several that begin there, any) the output ends: nothing from there on is ever returned.
  std::string push(std::string_view text);
  // The output has ended otherwise: what is still held back.
  std::string finish();

  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace octavo::engine
