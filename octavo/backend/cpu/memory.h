// Zeroed memory at the beginning of a cache line. Large pieces take no physical page before they are written, and huge
// pages where the system gives them: a weight is read from end to end for every token.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "octavo/base/status.h"

namespace octavo::cpu {

class Memory {
 public:
  static constexpr std::uint64_t kAlignment = 64;
  static constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20;

  Memory() = default;
  // count * element bytes for `what` ("keys and values"), which stands in the error.
  static Result<Memory> create(std::uint64_t count, std::uint64_t element, std::string_view what) {
    std::uint64_t bytes = 0, padded = 0;
    if (__builtin_mul_overflow(count, element, &bytes) || __builtin_add_overflow(bytes, 2 * kAlignment, &padded)) {
      return failure("{} need {} times {} bytes, more than any memory; use a smaller model or a shorter context", what,
                     count, element);
    }
    // Where huge pages are worth having, memory of its own; the tail lets a kernel read a vector that begins at the
    // last element.
    Memory memory;
    if (bytes >= kHugePage) {
      void* pages = mmap(nullptr, padded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (pages != MAP_FAILED) {
        static_cast<void>(madvise(pages, padded, MADV_HUGEPAGE));  // advice: without it all works as well
        memory.base_ = {pages, Free{padded}};
      }
    } else {
      memory.base_ = {std::calloc(padded, 1), Free{0}};
    }
    if (memory.base_ == nullptr) {
      return failure("{} need {} bytes, which the system does not give; free memory or use a smaller model or context",
                     what, bytes);
    }
    memory.size_ = bytes;
    memory.data_ = memory.base_.get();
    std::size_t space = padded;
    memory.data_ = std::align(kAlignment, bytes, memory.data_, space);
    return memory;
  }

  std::uint64_t size() const { return size_; }  // bytes
  std::byte* bytes() const { return static_cast<std::byte*>(data_); }
  float* floats() const { return static_cast<float*>(data_); }

 private:
  struct Free {
    std::size_t mapped;  // 0: by calloc
    void operator()(void* p) const {
      if (mapped == 0) {
        std::free(p);
      } else {
        munmap(p, mapped);
      }
    }
  };
  std::unique_ptr<void, Free> base_{nullptr, Free{0}};
  void* data_ = nullptr;
  std::uint64_t size_ = 0;
};

}  // namespace octavo::cpu
