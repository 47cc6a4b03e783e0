// Drawing progress: bytes, rate, ETA, current item.
#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "octavo/base/text.h"

namespace octavo::cli {
namespace {

constexpr std::int64_t kTerminalIntervalMs = 100;
constexpr std::int64_t kPlainIntervalMs = 5000;

std::size_t terminal_width() {
  winsize size{};
  constexpr std::size_t kUsual = 80;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsual;
  return size.ws_col;
}

std::string duration(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

ProgressBar::ProgressBar(std::string verb, std::uint64_t total, bool quiet)
    : verb_(std::move(verb)), total_(total), quiet_(quiet), terminal_(isatty(STDERR_FILENO) != 0) {
  // Work that ends before the first interval prints no plain line at all.
  next_draw_ms_ = terminal_ ? 0 : kPlainIntervalMs;
}

ProgressBar::~ProgressBar() {
  if (drawn_ && terminal_) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::advance(std::uint64_t bytes, std::string_view item) {
  const std::uint64_t done = done_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  if (quiet_) return;
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start_).count();
  std::int64_t due = next_draw_ms_.load(std::memory_order_relaxed);
  if (now < due) return;
  // One thread wins the interval and draws; the others go on working.
  const std::int64_t next = now + (terminal_ ? kTerminalIntervalMs : kPlainIntervalMs);
  if (!next_draw_ms_.compare_exchange_strong(due, next, std::memory_order_relaxed)) return;
  draw(done, item);
}

void ProgressBar::skip(std::uint64_t bytes) {
  skipped_.fetch_add(bytes, std::memory_order_relaxed);
  done_.fetch_add(bytes, std::memory_order_relaxed);
}

void ProgressBar::draw(std::uint64_t done, std::string_view item) {
  const std::lock_guard lock(mutex_);
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const std::uint64_t now = done - std::min(done, skipped_.load(std::memory_order_relaxed));
  const double rate = seconds > 0 ? static_cast<double>(now) / seconds : 0;
  const std::uint64_t total = total_.load(std::memory_order_relaxed);
  const std::uint64_t left = total > done ? total - done : 0;
  const double percent = total > 0 ? 100.0 * static_cast<double>(done) / static_cast<double>(total) : 0;
  // Disks in GB/s, networks in MB/s.
  const std::string speed =
      rate >= 1e8 ? fmt::format("{:.2f} GB/s", rate / 1e9) : fmt::format("{:.1f} MB/s", rate / 1e6);
  const std::string line = fmt::format("{} {:3.0f}%  {} of {}  {}  ETA {}  {}", verb_, std::min(percent, 100.0),
                                       human_bytes(done), human_bytes(total), speed,
                                       rate > 0 ? duration(static_cast<double>(left) / rate) : "?", printable(item));
  if (terminal_) {
    fmt::print(stderr, "\r\x1b[K{}", cut_at_character(line, terminal_width() - 1));
    std::fflush(stderr);
  } else {
    fmt::print(stderr, "{}\n", line);
  }
  drawn_ = true;
}

}  // namespace octavo::cli
