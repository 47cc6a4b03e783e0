// The trace that libfaults.so writes and the crash simulator reads: one header and its payload an operation, in the
// order in which the operations took effect.
#pragma once

#include <cstdint>

namespace octavo::test {

enum class TraceOp : std::uint32_t {
  kOpen = 1,  // text: path; a: 1 made anew, 2 cut to nothing, 0 neither; b: 1 a folder
  kClose,
  kWrite,     // a: offset; text: the bytes that were written
  kResize,    // a: new size
  kAllocate,  // a: size that the file has at least from now on
  kSync,      // fsync or fdatasync, of a file or a folder
  kRename,    // text: from, a zero byte, to
  kUnlink,    // text: path
  kMkdir,     // text: path
  kRmdir,     // text: path
};

struct TraceHeader {
  TraceOp op{};
  std::uint32_t handle = 0;  // of an open file, never used twice; 0: the operation is on a path
  std::uint64_t a = 0, b = 0;
  std::uint64_t bytes = 0;  // of `text`, which follows
};
static_assert(sizeof(TraceHeader) == 32);

}  // namespace octavo::test
