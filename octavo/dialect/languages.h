// One reader a language; config.cc picks. Each fills Config::meanings and leaves the rest to its Reader.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "octavo/dialect/config.h"
#include "octavo/dialect/reader.h"

namespace octavo::dialect {

void read_angelslim(Reader& reader, Config& config);
void read_llm_compressor(Reader& reader, Config& config);
void read_roll(Reader& reader, Config& config);
void read_nemo_rl(Reader& reader, Config& config);
void read_vllm(Reader& reader, Config& config);

// Keys of engines' command lines (vLLM's and SGLang's) that RL configurations pass through and that say nothing about
// weights' precision.
const std::vector<std::string_view>& engine_keys();

// "fp8_static needs calibration ...": the end of every refusal of a scheme that must see data.
constexpr std::string_view kNeedsCalibration =
    "needs calibration data to fix the activations' scales, which is not here yet";

// The first line of an Error, for the middle of a sentence.
std::string first_line(const Error& error);

}  // namespace octavo::dialect
