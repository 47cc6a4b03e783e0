// How a hub is reached: everything that the environment decides (cli/ reads it), and what tests make small.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "octavo/base/progress.h"

namespace octavo::hub {

// Waiting after a failed attempt: first * 2^n, at most `longest`, times a random number of [0.5, 1].
struct RetryPolicy {
  int attempts = 6;  // that bring nothing, one after another, before it is given up
  std::chrono::milliseconds first{1000};
  std::chrono::milliseconds longest{30'000};
  std::chrono::seconds longest_asked{300};  // a Retry-After beyond it is given up at once
};

struct Options {
  std::string endpoint = "https://huggingface.co";  // no slash at the end
  std::string token;                                // "": none
  std::string token_source;                         // where it came from, for messages: "HF_TOKEN"
  std::filesystem::path token_path;                 // the file that is looked at, for messages
  std::filesystem::path cache;                      // the folder that holds models--ORG--NAME
  bool offline = false;
  std::string ca_file;  // certificates to trust; "": the system's
  int connections = 8;
  std::uint64_t range_bytes = 256ull << 20;  // larger files come in ranges of this, several at once
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::seconds stall_timeout{30};  // without one byte
  RetryPolicy retry;

  const std::atomic<int>* stop = nullptr;  // not 0: end soon
  ProgressSink* progress = nullptr;
  std::function<void(std::uint64_t bytes)> total = [](std::uint64_t) {};  // what progress counts to, as it grows
  std::function<void(std::string_view)> warn = [](std::string_view) {};   // a sentence
  bool stopped() const { return stop != nullptr && stop->load(std::memory_order_relaxed) != 0; }
};

}  // namespace octavo::hub
