// Rope scaling of a GGUF file as config.json's rope_scaling.
#pragma once

#include <string>
#include <vector>

#include "octavo/base/json.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/gguf/model.h"

namespace octavo {

// From {arch}.rope.scaling.* (linear, yarn) or from the factors in rope_freqs.weight (llama3): null when the model has
// none. An error for a scaling that config.json cannot express: dropped, it would spoil long contexts unseen.
// Reads head_dim, context and rope_theta of `model`.
Result<Json> read_rope_scaling(const GgufFile& file, const ByteSource& source, const GgufModel& model,
                               std::vector<std::string>& notes);

// The factors by which llama3 scaling divides each of the head_dim / 2 frequencies (transformers,
// _compute_llama3_parameters; llama.cpp's converter stores them as rope_freqs.weight).
std::vector<double> llama3_factors(std::uint64_t head_dim, double theta, double factor, double low_freq_factor,
                                   double high_freq_factor, double original_context);

}  // namespace octavo
