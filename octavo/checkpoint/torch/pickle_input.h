// The bytes of a pickle, read through a buffer from a place in a source; errors say what is wrong; whoever reads says
// where.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "octavo/base/file.h"
#include "octavo/base/status.h"

namespace octavo {

class PickleInput {
 public:
  // Reads [begin, end) of `source`, which outlives it. Positions are counted from `zero`.
  PickleInput(const ByteSource& source, std::uint64_t begin, std::uint64_t end, std::uint64_t zero)
      : source_(source), begin_(begin), end_(end), zero_(zero), next_(begin) {}

  std::uint64_t position() const { return next_ - have_.size() - zero_; }  // of the next byte
  std::uint64_t left() const { return end_ - next_ + have_.size(); }

  Result<std::uint8_t> byte() {
    if (have_.empty()) OCTAVO_TRY(refill(1));
    const auto value = std::to_integer<std::uint8_t>(have_.front());
    have_ = have_.subspan(1);
    return value;
  }
  // An unsigned little-endian number of `width` bytes, at most 8.
  Result<std::uint64_t> little(std::size_t width) {
    if (have_.size() < width) OCTAVO_TRY(refill(width));
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < width; ++i) value |= std::to_integer<std::uint64_t>(have_[i]) << (8 * i);
    have_ = have_.subspan(width);
    return value;
  }
  // Puts the next `bytes` behind `out`. Nothing is allocated for bytes that are not there.
  Status append(std::string& out, std::uint64_t bytes) {
    if (bytes > left()) return failure("says that {} bytes follow, {} are left", bytes, left());
    while (bytes > 0) {
      if (have_.empty()) OCTAVO_TRY(refill(1));
      const std::size_t part = std::min<std::uint64_t>(bytes, have_.size());
      out.append(reinterpret_cast<const char*>(have_.data()), part);
      have_ = have_.subspan(part);
      bytes -= part;
    }
    return {};
  }
  // The text up to the next newline, which is taken as well.
  Result<std::string> line() {
    constexpr std::size_t kLongest = 1024;
    std::string text;
    for (;;) {
      OCTAVO_ASSIGN(const std::uint8_t c, byte());
      if (c == '\n') return text;
      if (text.size() == kLongest) return failure("a name of more than {} bytes", kLongest);
      text += static_cast<char>(c);
    }
  }

 private:
  // Makes at least `bytes` (at most 8) ready.
  Status refill(std::size_t bytes) {
    if (left() < bytes) return failure("the pickle does not end within its {} bytes", end_ - begin_);
    std::copy(have_.begin(), have_.end(), buffer_.begin());
    const std::size_t kept = have_.size();
    const std::size_t more = std::min<std::uint64_t>(buffer_.size() - kept, end_ - next_);
    OCTAVO_TRY(source_.read_at(next_, std::span(buffer_).subspan(kept, more)));
    next_ += more;
    have_ = std::span<const std::byte>(buffer_).first(kept + more);
    return {};
  }

  const ByteSource& source_;
  std::uint64_t begin_, end_, zero_;
  std::uint64_t next_;  // what is read next from the source
  std::vector<std::byte> buffer_ = std::vector<std::byte>(16 << 10);
  std::span<const std::byte> have_;  // of buffer_, not yet taken
};

}  // namespace octavo
