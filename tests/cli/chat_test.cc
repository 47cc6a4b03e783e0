// chat through a pipe and through a pseudo-terminal.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>

#include "octavo/base/json.h"
#include "tests/support/run_command.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_decoder.h"
#include "tests/support/tiny_tokenizer.h"

namespace octavo::test {
namespace {

using Args = std::vector<std::string>;

std::string write_model(const TempDir& dir) {
  CheckpointBuilder model = tiny_decoder({.max_positions = 1 << 16});
  add_tiny_tokenizer(model);
  return model.write(dir / "m");
}

std::string answer(const std::string& folder, const std::string& text, Args more = {}) {
  more.insert(more.begin(), {"generate", folder, "--chat", text, "--max-tokens", "12", "-q"});
  const auto run = run_octavo(more);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  return run.out;
}

CommandResult chat(const std::string& folder, const std::string& input, Args more = {}) {
  more.insert(more.begin(), {"chat", folder, "--max-tokens", "12"});
  return run_octavo(more, {}, input);
}

TEST(Chat, AnswersLineByLine) {
  const TempDir dir;
  const std::string folder = write_model(dir);
  const auto two = chat(folder, "Hello\nAnd then?\n", {"-q"});
  EXPECT_EQ(two.exit_code, 0) << two.err;
  EXPECT_EQ(two.err, "");
  const std::string first = answer(folder, "Hello");
  ASSERT_TRUE(two.out.starts_with(first)) << two.out;
  const std::string second = two.out.substr(first.size());
  // The second answer knows the first turn.
  EXPECT_NE(second, answer(folder, "And then?"));
  EXPECT_GT(second.size(), 1u);
}

TEST(Chat, ResetAndSystem) {
  const TempDir dir;
  const std::string folder = write_model(dir);
  const std::string hello = answer(folder, "Hello"), with_system = answer(folder, "Hello", {"--system", "Be brief."});
  EXPECT_NE(hello, with_system);
  const auto run =
      chat(folder, "Hello\n/reset\nHello\n\n/system Be brief.\nHello\n/system\nHello\n/quit\nHello\n", {"-q"});
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_EQ(run.out, hello + hello + with_system + hello);
  EXPECT_EQ(chat(folder, "Hello\n", {"-q", "--system", "Be brief."}).out, with_system);
  EXPECT_NE(chat(folder, "/help\n", {"-q"}).out.find("/reset"), std::string::npos);
  EXPECT_EQ(chat(folder, "", {"-q"}).out, "");
}

TEST(Chat, KeepsTheKeysAndValuesOfEarlierTurns) {
  const TempDir dir;
  const std::string folder = write_model(dir);
  // ASCII answers come back as the tokens they were; others from where they differ. The first message is kept either
  // way.
  const auto run = chat(folder, "Hello\nAnd then?\n");
  EXPECT_EQ(run.exit_code, 0) << run.err;
  EXPECT_NE(run.err.find("prompt 8 tokens, "), std::string::npos) << run.err;
  EXPECT_NE(run.err.find(" of them kept"), std::string::npos) << run.err;
}

// A command on a terminal of its own.
class Terminal {
 public:
  explicit Terminal(Args args) {
    args.insert(args.begin(), OCTAVO_BINARY);
    std::vector<char*> argv;
    for (std::string& arg : args) argv.push_back(arg.data());
    argv.push_back(nullptr);
    child_ = forkpty(&fd_, nullptr, nullptr, nullptr);
    if (child_ == 0) {
      setenv("TERM", "xterm", 1);
      alarm(60);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  ~Terminal() {
    close(fd_);
    if (child_ > 0) kill(child_, SIGKILL), waitpid(child_, nullptr, 0);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // Waits until the editor has the terminal: what is typed before it, right behind the prompt, the system edits itself.
  void type_line(std::string_view text) {
    constexpr int kTries = 20'000;
    for (int i = 0; i < kTries; ++i) {
      termios state{};
      if (tcgetattr(fd_, &state) != 0 || (state.c_lflag & ICANON) == 0) break;
      usleep(500);
    }
    type(text);
  }
  void type(std::string_view keys) {
    EXPECT_EQ(write(fd_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  // Reads on until `text` has come since the last call; false when it does not come or the command ends.
  bool wait_for(std::string_view text) {
    constexpr auto kPatience = std::chrono::seconds(30);
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (screen_.find(text, seen_) == std::string::npos) {
      pollfd waiting{fd_, POLLIN, 0};
      if (std::chrono::steady_clock::now() > end) return false;
      if (poll(&waiting, 1, 200) <= 0) continue;
      char bytes[4096];
      const ssize_t count = read(fd_, bytes, sizeof bytes);
      if (count <= 0) return screen_.find(text, seen_) != std::string::npos;
      screen_.append(bytes, static_cast<std::size_t>(count));
    }
    seen_ = screen_.find(text, seen_) + text.size();
    return true;
  }
  // The exit code, once the command has ended.
  int wait() {
    wait_for("no such text: until the end");
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  const std::string& screen() const { return screen_; }

 private:
  int fd_ = -1;
  pid_t child_ = -1;
  std::string screen_;
  std::size_t seen_ = 0;
};

TEST(Chat, OnATerminal) {
  const TempDir dir;
  const std::string folder = write_model(dir);
  Terminal terminal({"chat", folder, "--max-tokens", "12"});
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.screen();
  terminal.type_line("Hello\r");
  ASSERT_TRUE(terminal.wait_for("tok/s, ")) << terminal.screen();
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.screen();
  // A mistake does not end it.
  terminal.type_line("/rest\r");
  ASSERT_TRUE(terminal.wait_for("unknown command /rest (/help lists them); did you mean /reset?")) << terminal.screen();
  ASSERT_TRUE(terminal.wait_for("> "));
  // Editing: two characters too many are taken back. History: the line before.
  terminal.type_line("/helpxx\x7f\x7f\r");
  ASSERT_TRUE(terminal.wait_for("end, as does Ctrl-D")) << terminal.screen();
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.type_line("\x1b[A\r");
  ASSERT_TRUE(terminal.wait_for("end, as does Ctrl-D")) << terminal.screen();
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.type_line("\x04");
  EXPECT_EQ(terminal.wait(), 0) << terminal.screen();
}

TEST(Chat, InterruptStopsTheAnswerNotTheProgram) {
  const TempDir dir;
  const std::string folder = write_model(dir);
  Terminal terminal({"chat", folder, "--ignore-eos", "--context", "60000"});
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.screen();
  // A line that is being typed is cleared.
  terminal.type_line("rubbish\x03/help\r");
  ASSERT_TRUE(terminal.wait_for("end, as does Ctrl-D")) << terminal.screen();
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.type_line("Talk for hours\r");
  ASSERT_TRUE(terminal.wait_for("\n")) << terminal.screen();
  usleep(300'000);
  terminal.type("\x03");
  ASSERT_TRUE(terminal.wait_for("tok/s, ")) << "the answer should have been cut";
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.type_line("/quit\r");
  EXPECT_EQ(terminal.wait(), 0);
}

}  // namespace
}  // namespace octavo::test
