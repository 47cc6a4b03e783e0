// How long work says where it is. The library reports; cli/ draws.
#pragma once

#include <cstdint>
#include <string_view>

namespace octavo {

class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  // `bytes` of the source are done since the last call; `item` is what is being worked on (a tensor's name).
  // Called from any thread, often; must be cheap.
  virtual void advance(std::uint64_t bytes, std::string_view item) = 0;
  // `bytes` of the source were done by an earlier run: part of the whole, not of the rate.
  virtual void skip(std::uint64_t bytes) { static_cast<void>(bytes); }
};

}  // namespace octavo
