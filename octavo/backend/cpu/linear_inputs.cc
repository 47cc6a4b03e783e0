// Rounding a token's inputs and placing them in its tile.
#include "octavo/backend/cpu/linear_inputs.h"

#include <algorithm>
#include <cstring>

#include "octavo/backend/cpu/input_rounding.h"
#include "octavo/base/ceil_div.h"

namespace octavo::cpu {

using backend::InputRounding;

Status LinearInputs::reserve(const InputRounding& rounding, const Segments& segments) {
  const std::uint64_t tokens = ceil_div(kernels_.max_tokens, kernels_.tile_tokens) * kernels_.tile_tokens;
  const std::uint64_t row = stride(segments) * element_bytes();
  if (values_.size() < tokens * row) {
    OCTAVO_ASSIGN(values_, Memory::create(tokens, row, "the inputs of a linear layer"));
  }
  const std::uint64_t scales = input_scale_count(rounding, segments) * sizeof(float);
  if (scales_.size() < tokens * scales) {
    OCTAVO_ASSIGN(scales_, Memory::create(tokens, scales, "the input scales of a linear layer"));
  }
  return {};
}

void LinearInputs::clear() {
  groups_.clear();
  tiles_.clear();
  place_ = tokens_ = 0;
}

std::size_t LinearInputs::add_group(std::uint64_t tokens) {
  const std::uint64_t count = ceil_div(tokens, kernels_.tile_tokens);
  groups_.push_back({.first = tokens_, .tokens = tokens, .place = place_, .tile_begin = tiles_.size(), .tiles = count});
  const bool whole = kernels_.inputs == InputForm::kBf16Tiles;
  for (std::uint64_t i = 0; i <= count; ++i) {
    tiles_.push_back(whole ? std::min(tokens, i * kernels_.tile_tokens) : tokens * i / count);
  }
  tokens_ += tokens;
  place_ += whole ? count * kernels_.tile_tokens : tokens;
  return groups_.size() - 1;
}

void LinearInputs::put(const CpuLinearWeight& like, std::uint64_t token, const float* x, float* scratch) {
  const InputRounding& rounding = like.spec().input;
  const Segments& segments = like.segments();
  round_input(rounding, round_bf16_, segments, encode_, x, scratch,
              scales_.floats() + token * input_scale_count(rounding, segments));
  const auto after = std::upper_bound(groups_.begin(), groups_.end(), token,
                                      [](std::uint64_t t, const Group& group) { return t < group.first; });
  place_row(scratch, segments, *(after - 1), token - (after - 1)->first);
}

void LinearInputs::give(const CpuLinearWeight& like, std::size_t group, LinearArgs& part) const {
  const Group& g = groups_[group];
  const std::uint64_t scales = input_scale_count(like.spec().input, like.segments());
  const bool by_segment = like.spec().input.kind == InputRounding::Kind::kDynamicGroup;
  const float* const token_scales = scales_.floats() + g.first * scales;
  part.x_stride = stride(like.segments());
  part.x = values_.bytes() + g.place * part.x_stride * element_bytes();
  part.token_tiles = tiles_.data() + g.tile_begin;
  part.tiles = g.tiles;
  part.x_row_scales = scales != 0 && !by_segment ? token_scales : nullptr;
  part.x_segment_scales = by_segment ? token_scales : nullptr;
}

void LinearInputs::place_row(const float* row, const Segments& segments, const Group& group, std::uint64_t token) {
  const std::uint64_t* const tiles = tiles_.data() + group.tile_begin;
  const std::uint64_t* const tile = std::upper_bound(tiles, tiles + group.tiles + 1, token) - 1;
  const std::uint64_t first = *tile, count = *(tile + 1) - first;
  const std::uint64_t padded = segments.padded(), begin_at = (group.place + first) * stride(segments);
  if (kernels_.inputs == InputForm::kF32Pairs) {
    float* out = values_.floats() + begin_at + (token - first) * kPair;
    for (std::uint64_t k = 0; k < padded; k += kPair, out += count * kPair) std::copy_n(row + k, kPair, out);
    return;
  }
  std::uint16_t words[kMaxSegment];
  constexpr std::size_t kWord = sizeof *words;
  if (kernels_.inputs == InputForm::kBf16Pairs) {
    std::byte* out = values_.bytes() + (begin_at + (token - first) * kPair) * kWord;
    for (std::uint64_t begin = 0; begin < padded; begin += kMaxSegment) {
      const std::uint64_t run = std::min(kMaxSegment, padded - begin);
      encode_.f32_to_bf16(row + begin, words, run);
      for (std::uint64_t k = 0; k < run; k += kPair, out += count * kPair * kWord) {
        std::memcpy(out, words + k, kPair * kWord);
      }
    }
    return;
  }
  static_assert(kMaxSegment % kTileK == 0);
  std::byte* out = values_.bytes() + (begin_at + (token - first) * kTileK) * kWord;
  for (std::uint64_t s = 0; s < segments.count(); ++s) {
    const std::uint64_t begin = segments.offsets[s], length = segments.offsets[s + 1] - begin;
    encode_.f32_to_bf16(row + begin, words, length);
    std::fill(words + length, words + ceil_div(length, kTileK) * kTileK, std::uint16_t{0});
    for (std::uint64_t k = 0; k < length; k += kTileK, out += kernels_.tile_tokens * kTileK * kWord) {
      std::memcpy(out, words + k, kTileK * kWord);
    }
  }
}

// Elements from token to token, of a tile's worth.
std::uint64_t LinearInputs::stride(const Segments& segments) const {
  if (kernels_.inputs != InputForm::kBf16Tiles) return segments.padded() + kInputSpread;
  std::uint64_t padded = 0;
  for (std::uint64_t s = 0; s < segments.count(); ++s) {
    padded += ceil_div(segments.offsets[s + 1] - segments.offsets[s], kTileK) * kTileK;
  }
  return padded + kInputSpread;
}

}  // namespace octavo::cpu
