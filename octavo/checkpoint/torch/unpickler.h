// A pickle machine that cannot run anything: it knows the opcodes that pickled tensors are made of and the names in
// globals.h. Every other opcode and name ends it with an error that says which and where.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/checkpoint/torch/pickle_input.h"
#include "octavo/checkpoint/torch/pickle_values.h"

namespace octavo {

// Bounds on what one file may ask for; 90,000 tensors need about a quarter of each.
inline constexpr std::uint64_t kMaxPickleBytes = 64ull << 20;
inline constexpr std::size_t kMaxPickleValues = 8'000'000;  // items of all containers, and the containers
inline constexpr std::size_t kMaxPickleStack = 100'000;     // Python's writers push 2,000 at once
inline constexpr std::size_t kMaxPickleMarks = 256;         // containers being filled at once

class Unpickler {
 public:
  // Puts what it builds into `heap`; several pickles may share one.
  explicit Unpickler(PickleHeap& heap) : heap_(heap) {}

  // Reads one pickle up to its STOP. Pickle protocols 1 to 5. Errors begin with "byte N: ", the opcode's position.
  Result<PickleValue> load(PickleInput& input);

 private:
  using Kind = PickleValue::Kind;
  using Values = std::vector<PickleValue>;

  // One opcode. Each returns an error of the machine: what is wrong, without the place.
  Status step(std::uint8_t opcode, PickleInput& input);
  Status push(PickleValue value);
  Status push_string(PickleInput& input, std::size_t width, Kind kind);
  Status push_long(PickleInput& input, std::size_t width);
  Status push_tuple(std::size_t count);
  Status push_global(std::string_view module, std::string_view name);
  Result<PickleValue> pop();
  std::size_t available() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  Result<std::size_t> pop_mark();  // how many values lie above it
  Status count_values(std::size_t more);
  Status remember(std::uint64_t place);
  Status recall(std::uint64_t place);
  Status append_items(std::size_t count);
  Status set_items(std::size_t count);
  Status build();
  Status persistent();
  Status reduce();
  Status make_ordered_dict(PickleValue arguments);
  Status make_tensor(const PickleGlobal& how, PickleValue arguments);

  PickleHeap& heap_;
  Values stack_;
  std::vector<std::size_t> marks_;  // heights of stack_
  std::vector<std::optional<PickleValue>> memo_;
  std::size_t values_ = 0;
};

}  // namespace octavo
