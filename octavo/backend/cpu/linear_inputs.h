// The inputs of linear layers in the form that the kernels multiply (InputForm): memory for one call, filled token by
// token. Tokens that are multiplied with the same weights are a group: all of them, or those of one expert.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "octavo/backend/backend.h"
#include "octavo/backend/cpu/encode.h"
#include "octavo/backend/cpu/kernels.h"
#include "octavo/backend/cpu/linear_weight.h"
#include "octavo/backend/cpu/memory.h"

namespace octavo::cpu {

class LinearInputs {
 public:
  // `round_bf16`: FP32 inputs hold values rounded to BF16.
  LinearInputs(const Kernels& kernels, const EncodeKernels& encode, bool round_bf16)
      : kernels_(kernels), encode_(encode), round_bf16_(round_bf16 && kernels.inputs == InputForm::kF32Pairs) {}

  // Room for Kernels::max_tokens tokens of layers like these.
  Status reserve(const backend::InputRounding& rounding, const Segments& segments);

  // ---- a call: groups first, at most max_tokens tokens in all, then every token once.
  void clear();
  // Of how many tokens the next group may be: whole tiles begin at a multiple of their size.
  std::uint64_t room() const { return kernels_.max_tokens - std::min(kernels_.max_tokens, place_); }
  std::size_t add_group(std::uint64_t tokens);  // > 0; the group's number
  std::uint64_t tokens() const { return tokens_; }
  // x [K]: the inputs of a token (counted over all groups) to their place, as `like` reads them. scratch: padded K
  // floats. Several threads may put different tokens.
  void put(const CpuLinearWeight& like, std::uint64_t token, const float* x, float* scratch);
  // The fields of LinearArgs that describe a group's inputs.
  void give(const CpuLinearWeight& like, std::size_t group, LinearArgs& part) const;

 private:
  struct Group {
    std::uint64_t first = 0, tokens = 0;      // among those of the call
    std::uint64_t place = 0;                  // in the memory, in tokens
    std::uint64_t tile_begin = 0, tiles = 0;  // of tiles_: tiles + 1 numbers
  };
  std::uint64_t element_bytes() const {
    return kernels_.inputs == InputForm::kF32Pairs ? sizeof(float) : sizeof(std::uint16_t);
  }
  std::uint64_t stride(const Segments& segments) const;
  void place_row(const float* row, const Segments& segments, const Group& group, std::uint64_t token);

  const Kernels& kernels_;
  const EncodeKernels& encode_;
  bool round_bf16_;
  Memory values_;  // [tokens, stride]
  Memory scales_;  // [tokens, scales of a token]
  std::vector<Group> groups_;
  std::vector<std::uint64_t> tiles_;  // of all groups: first tokens, and the end
  std::uint64_t place_ = 0, tokens_ = 0;
};

}  // namespace octavo::cpu
