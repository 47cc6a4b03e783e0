// Progress on standard error: one redrawn line on a terminal, a plain line every few seconds otherwise.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "octavo/base/progress.h"

namespace octavo::cli {

// The longest beginning of `text` of at most `bytes` bytes that ends between two characters; `text` is UTF-8.
inline std::string_view cut_at_character(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

class ProgressBar final : public ProgressSink {
 public:
  // `verb` starts the line ("quantize"); `total` is in bytes of the source; quiet draws nothing.
  ProgressBar(std::string verb, std::uint64_t total, bool quiet);
  ~ProgressBar() override;  // clears the redrawn line

  void advance(std::uint64_t bytes, std::string_view item) override;
  void skip(std::uint64_t bytes) override;
  // For work whose size is known only after it has begun.
  void set_total(std::uint64_t total) { total_.store(total, std::memory_order_relaxed); }

 private:
  using Clock = std::chrono::steady_clock;
  void draw(std::uint64_t done, std::string_view item);

  const std::string verb_;
  std::atomic<std::uint64_t> total_;
  const bool quiet_;
  const bool terminal_;
  const Clock::time_point start_ = Clock::now();
  std::atomic<std::uint64_t> done_{0};
  std::atomic<std::uint64_t> skipped_{0};      // of done_: by an earlier run
  std::atomic<std::int64_t> next_draw_ms_{0};  // since start_
  std::mutex mutex_;                           // held while drawing
  bool drawn_ = false;
};

}  // namespace octavo::cli
