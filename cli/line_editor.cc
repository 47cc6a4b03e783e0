// Line editing by libedit (BSD licence).
#include "cli/line_editor.h"

#include <histedit.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <iostream>

namespace octavo::cli {
namespace {

constexpr int kHistory = 1000;  // lines

}  // namespace

struct LineEditor::Terminal {
  struct EndEditor {
    void operator()(EditLine* e) const { el_end(e); }
  };
  struct EndHistory {
    void operator()(History* h) const { history_end(h); }
  };
  std::unique_ptr<History, EndHistory> history;
  std::unique_ptr<EditLine, EndEditor> editor;
  std::string prompt;

  static char* show_prompt(EditLine* editor) {
    void* data = nullptr;
    el_get(editor, EL_CLIENTDATA, &data);
    return static_cast<Terminal*>(data)->prompt.data();
  }
};

LineEditor::LineEditor() {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) return;
  // So that libedit knows how wide a character is.
  std::setlocale(LC_CTYPE, "");
  auto terminal = std::make_unique<Terminal>();
  terminal->history.reset(history_init());
  terminal->editor.reset(el_init("octavo", stdin, stdout, stderr));
  if (!terminal->history || !terminal->editor) return;  // an unknown terminal: plain lines
  HistEvent event;
  history(terminal->history.get(), &event, H_SETSIZE, kHistory);
  history(terminal->history.get(), &event, H_SETUNIQUE, 1);
  EditLine* editor = terminal->editor.get();
  el_set(editor, EL_CLIENTDATA, terminal.get());
  el_set(editor, EL_PROMPT, &Terminal::show_prompt);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_HIST, ::history, terminal->history.get());
  // While a line is edited Ctrl-C is a key that clears it, not a signal.
  el_set(editor, EL_SETTY, "-d", "-isig", nullptr);
  el_set(editor, EL_BIND, "^C", "em-kill-line", nullptr);
  el_set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  terminal_ = std::move(terminal);
}

LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::read(const std::string& prompt) {
  std::string line;
  if (!terminal_) {
    if (!std::getline(std::cin, line)) return std::nullopt;
    if (line.ends_with('\r')) line.pop_back();
    return line;
  }
  terminal_->prompt = prompt;
  int length = 0;
  const char* text = el_gets(terminal_->editor.get(), &length);
  if (text == nullptr || length <= 0) return std::nullopt;
  line.assign(text, static_cast<std::size_t>(length));
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  if (!line.empty()) {
    HistEvent event;
    history(terminal_->history.get(), &event, H_ENTER, line.c_str());
  }
  return line;
}

}  // namespace octavo::cli
