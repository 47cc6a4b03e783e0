// Inverse frequencies of the rotary embedding, per scaling kind.
#pragma once

#include <cstdint>
#include <vector>

#include "octavo/model/decoder_config.h"

namespace octavo::model {

struct RopeFrequencies {
  std::vector<float> inv_freq;  // [rotary_dim / 2]
  float factor = 1;             // of cos and sin (yarn's attention factor)
};

// `length`: tokens of the whole text. It matters to kDynamic alone, whose base grows with it, so that a token's logits
// depend on what comes after it: the one exception to batch invariance, as in transformers. A prompt or a scored line
// counts as a whole however it is cut; a decoded token counts with what stands before it.
RopeFrequencies rope_frequencies(const DecoderConfig& config, std::uint64_t length);

}  // namespace octavo::model
