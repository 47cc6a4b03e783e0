// The unigram language model: the segmentation of highest total score, by Viterbi.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "octavo/text/model.h"

namespace octavo::text {

// As the tokenizers library: scores in double, runs of unknown characters become one unk (or <0xNN> tokens with
// `byte_fallback`). `scores` by id; `vocabulary` must outlive the model and hold exactly those ids.
std::unique_ptr<Model> make_unigram(const Vocabulary& vocabulary, std::vector<double> scores,
                                    std::optional<std::int32_t> unk_id, bool byte_fallback);

}  // namespace octavo::text
