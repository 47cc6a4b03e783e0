// What `octavo score` reads: one JSON object a line, checked before anything runs.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <vector>

#include "octavo/engine/runner.h"

namespace octavo::cli {

// The token ids of every line of `in`: {"text"} or {"token_ids"}, with "bos" (of a text) and "max_tokens". Failures
// name the line: not JSON, an unknown key, a token outside the vocabulary, more tokens than `context`.
Result<std::vector<std::vector<std::int32_t>>> read_score_input(std::istream& in, const engine::RunnerFolder& folder,
                                                                std::uint64_t context);

}  // namespace octavo::cli
