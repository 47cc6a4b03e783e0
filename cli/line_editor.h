// Lines from a person: with editing and history on a terminal, plainly otherwise.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace octavo::cli {

class LineEditor {
 public:
  LineEditor();
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  bool interactive() const { return terminal_ != nullptr; }

  // The next line without its end; nullopt at the end of input (Ctrl-D). On a terminal `prompt` stands before it,
  // Ctrl-C clears it, and it becomes part of the history.
  std::optional<std::string> read(const std::string& prompt);

 private:
  struct Terminal;
  std::unique_ptr<Terminal> terminal_;  // null: standard input or output is no terminal
};

}  // namespace octavo::cli
