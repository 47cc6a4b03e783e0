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

// `length`: positions seen so far (the last position + 1). It matters to kDynamic alone, whose base grows with it: the
// one exception to batch invariance, as in transformers, where it also depends on what one call sees.
RopeFrequencies rope_frequencies(const DecoderConfig& config, std::uint64_t length);

}  // namespace octavo::model
