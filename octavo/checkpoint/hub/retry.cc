// Exponential backoff with jitter.
#include "octavo/checkpoint/hub/retry.h"

#include <algorithm>
#include <thread>

namespace octavo::hub {

Retrier::Retrier(const RetryPolicy& policy, const std::function<bool()>& cancelled,
                 std::function<void(std::string_view)> warn)
    : policy_(policy), cancelled_(cancelled), warn_(std::move(warn)), random_(std::random_device{}()) {}

Status Retrier::wait(std::string_view problem, std::optional<std::chrono::seconds> asked) {
  using std::chrono::milliseconds;
  if (cancelled_()) return interrupted_error();
  if (++failures_ >= policy_.attempts) {
    return policy_.attempts > 1 ? failure("{} (tried {} times)", problem, policy_.attempts) : failure("{}", problem);
  }
  if (asked && *asked > policy_.longest_asked) {
    return failure("{}; it asks to come again in {} s", problem, asked->count());
  }
  constexpr int kMostDoublings = 20;
  const auto full =
      std::min<milliseconds>(policy_.first * (1LL << std::min(failures_ - 1, kMostDoublings)), policy_.longest);
  std::uniform_real_distribution<double> half_to_one(0.5, 1.0);
  auto left = milliseconds(static_cast<std::int64_t>(static_cast<double>(full.count()) * half_to_one(random_)));
  if (asked) left = std::max<milliseconds>(left, *asked);
  constexpr std::chrono::seconds kLong{5};
  if (warn_ && left >= kLong) warn_(fmt::format("{}; trying again in {} s", problem, left.count() / 1000));
  // In small steps, so that Ctrl-C is answered at once.
  constexpr milliseconds kStep{50};
  for (; left.count() > 0; left -= kStep) {
    if (cancelled_()) return interrupted_error();
    std::this_thread::sleep_for(std::min(left, kStep));
  }
  return {};
}

}  // namespace octavo::hub
