// Names of requests, and the gate for new ones.
#include "octavo/serve/serve_context.h"

namespace octavo::serve {

void RequestNames::add(std::string_view name, engine::RequestId id) {
  const std::lock_guard lock(mutex_);
  ids_.emplace(std::string(name), id);
}

void RequestNames::remove(std::string_view name, engine::RequestId id) {
  const std::lock_guard lock(mutex_);
  const auto [begin, end] = ids_.equal_range(name);
  for (auto it = begin; it != end; ++it) {
    if (it->second != id) continue;
    ids_.erase(it);
    return;
  }
}

std::vector<engine::RequestId> RequestNames::with_prefix(std::string_view prefix) const {
  const std::lock_guard lock(mutex_);
  std::vector<engine::RequestId> out;
  for (auto it = ids_.lower_bound(prefix); it != ids_.end() && it->first.starts_with(prefix); ++it) {
    out.push_back(it->second);
  }
  return out;
}

std::vector<engine::RequestId> RequestNames::exactly(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  std::vector<engine::RequestId> out;
  const auto [begin, end] = ids_.equal_range(name);
  for (auto it = begin; it != end; ++it) out.push_back(it->second);
  return out;
}

std::size_t RequestNames::size() const {
  const std::lock_guard lock(mutex_);
  return ids_.size();
}

void ServeContext::refuse_new(std::string why) {
  const std::lock_guard lock(mutex_);
  refusal_ = std::move(why);
}

void ServeContext::accept_new() {
  const std::lock_guard lock(mutex_);
  refusal_.reset();
}

std::optional<std::string> ServeContext::refusal() const {
  const std::lock_guard lock(mutex_);
  return refusal_;
}

}  // namespace octavo::serve
