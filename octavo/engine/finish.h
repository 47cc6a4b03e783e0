// Why an output ended.
#pragma once

#include <cstdint>
#include <string_view>

namespace octavo::engine {

// An end token, a stop token or a stop text; max_tokens or the context; cancelled or failed.
enum class FinishReason : std::uint8_t { kStop, kLength, kAbort };

constexpr std::string_view finish_name(FinishReason reason) {
  return reason == FinishReason::kStop ? "stop" : reason == FinishReason::kLength ? "length" : "abort";
}

}  // namespace octavo::engine
