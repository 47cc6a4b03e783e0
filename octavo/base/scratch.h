// Memory that is used again and again at changing sizes: unlike a vector's, its resize() neither keeps nor zeroes.
#pragma once

#include <cstddef>
#include <memory>
#include <type_traits>

namespace octavo {

// `size()` elements of unspecified value after resize(); memory grows and is never given back before the end. Goes
// where a std::span goes. One thread at a time.
template <typename T>
class Scratch {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Throws std::bad_alloc, as a vector does.
  void resize(std::size_t size) {
    if (size > capacity_) {
      data_.reset();  // before the new memory is taken: never both
      capacity_ = 0;
      data_ = std::make_unique_for_overwrite<T[]>(size);
      capacity_ = size;
    }
    size_ = size;
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  std::size_t size() const { return size_; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }

 private:
  std::unique_ptr<T[]> data_;
  std::size_t size_ = 0, capacity_ = 0;
};

}  // namespace octavo
