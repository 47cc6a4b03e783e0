// Which bytes of a tensor have arrived: disjoint ranges, merged where they touch.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>

namespace octavo::rollout {

class IntervalSet {
 public:
  // Adds [begin, end), begin < end. False, and nothing changes, where some of it is there already.
  bool add(std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t added = end - begin;
    const auto next = ends_.lower_bound(begin);
    const auto before = next == ends_.begin() ? ends_.end() : std::prev(next);
    if (next != ends_.end() && next->first < end) return false;
    if (before != ends_.end() && before->second > begin) return false;
    if (next != ends_.end() && next->first == end) {
      end = next->second;
      ends_.erase(next);
    }
    if (before != ends_.end() && before->second == begin) {
      before->second = end;
    } else {
      ends_[begin] = end;
    }
    total_ += added;
    return true;
  }
  std::uint64_t total() const { return total_; }  // bytes

 private:
  std::map<std::uint64_t, std::uint64_t> ends_;  // begin -> end
  std::uint64_t total_ = 0;
};

}  // namespace octavo::rollout
