// What one render may spend, so that a hostile template ends in an error instead of a hang or an empty machine.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/text/jinja/error.h"

namespace octavo::text::jinja {

struct Limits {
  std::size_t bytes = std::size_t{64} << 20;    // of the output, and of any one string or list
  std::uint64_t work = std::uint64_t{1} << 29;  // about the bytes touched; evaluating one expression counts as 32
  int depth = 1000;  // nested evaluations: 250 macros that call themselves; Python ends at about 190
};

constexpr std::uint64_t kWorkOfANode = 32;

class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits), left_(limits.work) {}

  void charge(std::uint64_t work) {
    if (work > left_) raise("the template does too much work for one render (an endless loop or recursion?)");
    left_ -= work;
  }
  // Of a string or a list that grows, or is about to be made: refuses a giant before it is allocated.
  void check_size(std::uint64_t bytes) const {
    if (bytes > limits_.bytes) raise("a value or the output would be larger than {} MiB", limits_.bytes >> 20);
  }
  void charge_allocation(std::uint64_t bytes) {
    check_size(bytes);
    charge(bytes);
  }
  const Limits& limits() const { return limits_; }

  // Holds one level of nesting while it lives.
  class Nested {
   public:
    explicit Nested(Budget& budget) : budget_(budget) {
      if (++budget_.depth_ > budget_.limits_.depth) {
        --budget_.depth_;
        raise("nested too deeply (a macro that calls itself without end?)");
      }
    }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    ~Nested() { --budget_.depth_; }

   private:
    Budget& budget_;
  };

 private:
  Limits limits_;
  std::uint64_t left_;
  int depth_ = 0;
};

}  // namespace octavo::text::jinja
