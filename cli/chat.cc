// octavo chat: a conversation, line by line.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>

#include "cli/command.h"
#include "cli/flag_words.h"
#include "cli/line_editor.h"
#include "cli/model_options.h"
#include "cli/sampling_options.h"
#include "octavo/base/text.h"
#include "octavo/engine/chat_prompt.h"

namespace octavo::cli {
namespace {

struct ChatOptions {
  ModelOptions model;
  SamplingOptions sampling;
  std::optional<std::string> system;
  std::vector<std::string> template_arguments;
  std::uint64_t max_tokens = 0;
};

constexpr const char* kHelp =
    "/system TEXT  set the system message and start anew (without TEXT: none)\n"
    "/reset        forget the conversation\n"
    "/help         this list\n"
    "/quit         end, as does Ctrl-D; Ctrl-C stops an answer\n";
const std::vector<std::string>& command_names() {
  static const std::vector<std::string> names = {"/system", "/reset", "/help", "/quit"};
  return names;
}

volatile sig_atomic_t interrupted = 0;  // written by the handler below, which can see nothing else

// While one lives, Ctrl-C sets `interrupted` instead of ending the program.
class CatchInterrupt {
 public:
  CatchInterrupt() {
    interrupted = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = 1; };
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, &before_);
  }
  ~CatchInterrupt() { sigaction(SIGINT, &before_, nullptr); }
  CatchInterrupt(const CatchInterrupt&) = delete;
  CatchInterrupt& operator=(const CatchInterrupt&) = delete;

 private:
  struct sigaction before_ {};
};

class Conversation {
 public:
  Conversation(engine::Runner& runner, const engine::ChatPrompt& chat, engine::GenerateRequest request, Json arguments,
               bool quiet)
      : runner_(runner), chat_(chat), request_(std::move(request)), arguments_(std::move(arguments)), quiet_(quiet) {}

  void set_system(const std::string& text) {
    system_ = text;
    reset();
  }
  void reset() {
    messages_.clear();
    if (!system_.empty()) messages_.push_back({"system", system_});
  }

  // Prints the answer to `text` as it comes. After a failure the conversation is what it was before.
  Status answer(const std::string& text) {
    OCTAVO_TRY(check_utf8(text, "the message"));
    messages_.push_back({"user", text});
    Result<engine::GenerateResult> result = run();
    if (!result.ok()) {
      messages_.pop_back();
      return std::move(result).error();
    }
    // What was said before an interruption was said.
    messages_.push_back({"assistant", result->completions.front().text});
    fmt::print("\n");
    if (std::fflush(stdout) != 0) return failure("standard output: write failed");
    if (!quiet_) fmt::print(stderr, "({})\n", rates_text(runner_, *result));
    return {};
  }

 private:
  Result<engine::GenerateResult> run() {
    OCTAVO_ASSIGN(request_.prompt, chat_.encode(*runner_.tokenizer, messages_, arguments_));
    if (request_.prompt.size() >= runner_.context) {
      return failure("the conversation has {} tokens, which leaves no room in the context of {}; /reset starts anew",
                     request_.prompt.size(), runner_.context);
    }
    const CatchInterrupt interrupt;
    request_.cancelled = [] { return interrupted != 0; };
    return in_flags(engine::generate(runner_, request_, [](std::uint64_t, std::string_view piece) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    }));
  }

  engine::Runner& runner_;
  const engine::ChatPrompt& chat_;
  engine::GenerateRequest request_;
  const Json arguments_;
  const bool quiet_;
  std::string system_;
  std::vector<engine::ChatMessage> messages_;
};

// Carries out a line that begins with '/'. False: /quit.
Result<bool> run_command(const std::string& line, Conversation& conversation) {
  const std::size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const std::string rest = space == line.npos ? "" : line.substr(line.find_first_not_of(' ', space));
  if (name == "/quit") return false;
  if (name == "/help") {
    fmt::print("{}", kHelp);
  } else if (name == "/reset") {
    conversation.reset();
  } else if (name == "/system") {
    OCTAVO_TRY(check_utf8(rest, "/system"));
    conversation.set_system(rest);
  } else {
    return usage_error("unknown command {} (/help lists them){}", printable(name),
                       did_you_mean(name, command_names(), 1));
  }
  return true;
}

Outcome run(const ChatOptions& o) {
  OCTAVO_ASSIGN(const engine::RunnerOptions options, runner_options(o.model));
  OCTAVO_ASSIGN(const Json arguments, engine::parse_template_arguments(o.template_arguments));
  if (o.system) OCTAVO_TRY(check_utf8(*o.system, "--system"));
  OCTAVO_ASSIGN(engine::RunnerFolder folder, read_model_folder(o.model, "chat"));
  if (!folder.tokenizer) return failure("{}: has no tokenizer.json", o.model.model);
  OCTAVO_ASSIGN(const engine::ChatPrompt chat, engine::ChatPrompt::load(folder.checkpoint.dir()));
  engine::GenerateRequest request;
  OCTAVO_ASSIGN(request.sampling, sampling_params(o.sampling, folder.defaults));
  request.stop = o.sampling.stop;
  request.ignore_eos = o.sampling.ignore_eos;
  request.max_tokens = o.max_tokens;
  OCTAVO_ASSIGN(engine::Runner runner, load_runner(o.model, "chat", std::move(folder), options));

  const bool quiet = o.model.common.quiet;
  LineEditor editor;
  // Between an answer and the next line, before the editor makes Ctrl-C a key, it must not end the program either.
  std::optional<CatchInterrupt> session;
  if (editor.interactive()) session.emplace();
  if (editor.interactive() && !quiet) fmt::print(stderr, "/help lists the commands.\n");
  Conversation conversation(runner, chat, std::move(request), arguments, quiet);
  conversation.set_system(o.system.value_or(""));
  while (const auto line = editor.read("> ")) {
    if (line->find_first_not_of(" \t") == line->npos) continue;
    const bool command = line->starts_with('/');
    Result<bool> more = true;
    if (command) {
      more = run_command(*line, conversation);
    } else if (Status status = conversation.answer(*line); !status.ok()) {
      more = std::move(status).error();
    }
    if (!more.ok()) {
      // A person goes on after a mistake; a script should stop.
      if (!editor.interactive()) return std::move(more).error();
      fmt::print(stderr, "octavo chat: {}\n", more.error().message);
    } else if (!*more) {
      break;
    }
  }
  if (editor.interactive()) fmt::print("\n");
  return 0;
}

}  // namespace

void add_chat(CLI::App& app, Action& action) {
  auto options = std::make_shared<ChatOptions>();
  ChatOptions& o = *options;
  CLI::App* command =
      add_command(app, "chat", "Talk with a model", "octavo chat Qwen3-0.6B-FP8 --system \"Be brief.\"");
  add_model_options(*command, o.model);
  command->add_option("--system", o.system, "system message")->option_text("TEXT")->group("Input");
  command
      ->add_option("--template-arg", o.template_arguments,
                   "variable of the chat template, such as enable_thinking=false; repeatable")
      ->allow_extra_args(false)
      ->option_text("KEY=JSON")
      ->group("Input");
  command->add_option("--max-tokens", o.max_tokens, "longest answer (default: up to the context)")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 32))
      ->option_text("N")
      ->group("Output");
  add_sampling_options(*command, o.sampling);
  add_run_options(*command, o.model.common);
  command->callback([options, &action] { action = [options] { return run(*options); }; });
}

}  // namespace octavo::cli
