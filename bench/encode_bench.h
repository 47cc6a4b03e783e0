// What the benchmarks of encoding share.
#pragma once

#include <cstddef>
#include <cstdint>

namespace octavo::bench {

// What the compiler makes of the plainest loops with the same reads and writes, in the widest vectors it may use.
void plain_loop_2_to_1(const std::uint16_t* in, std::uint8_t* out, std::size_t n);
void plain_loop_4_to_1(const std::uint32_t* in, std::uint8_t* out, std::size_t n);
void plain_loop_1_to_2(const std::uint8_t* in, std::uint16_t* out, std::size_t n);

void register_pieces();  // encode_piece_bench.cc

}  // namespace octavo::bench
