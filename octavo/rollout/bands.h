// A tensor's bytes, which arrive in pieces of any size and order, as bands of a fixed size: what a worker takes at
// once. A piece that covers a band goes through as it is; of bands that are begun the bytes are kept until they are
// whole.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

namespace octavo::rollout {

// Memory of bands, used again: an update would else have the system zero it anew for every tensor. One thread.
class BandMemory {
 public:
  class Bytes {
   public:
    Bytes() = default;
    Bytes(Bytes&& other) noexcept : Bytes() { swap(other); }
    Bytes& operator=(Bytes&& other) noexcept {
      Bytes(std::move(other)).swap(*this);
      return *this;
    }
    ~Bytes() {
      if (data_ != nullptr) owner_->give_back(std::move(data_), capacity_);
    }
    std::byte* get() const { return data_.get(); }
    explicit operator bool() const { return data_ != nullptr; }

   private:
    friend class BandMemory;
    void swap(Bytes& other) noexcept {
      std::swap(owner_, other.owner_), std::swap(data_, other.data_), std::swap(capacity_, other.capacity_);
    }
    BandMemory* owner_ = nullptr;
    std::unique_ptr<std::byte[]> data_;
    std::uint64_t capacity_ = 0;
  };

  // The memory's content is unspecified. It must be gone before this is.
  Bytes take(std::uint64_t size) {
    auto best = free_.end();
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      const bool fits = it->second >= size && it->second / 2 <= size;
      if (fits && (best == free_.end() || it->second < best->second)) best = it;
    }
    Bytes out;
    out.owner_ = this;
    if (best != free_.end()) {
      out.data_ = std::move(best->first);
      out.capacity_ = best->second;
      free_.erase(best);
    } else {
      out.data_ = std::make_unique_for_overwrite<std::byte[]>(size);
      out.capacity_ = size;
    }
    return out;
  }

 private:
  static constexpr std::size_t kMostFree = 16;
  void give_back(std::unique_ptr<std::byte[]> data, std::uint64_t capacity) {
    if (free_.size() == kMostFree) free_.erase(free_.begin());
    free_.emplace_back(std::move(data), capacity);
  }
  std::vector<std::pair<std::unique_ptr<std::byte[]>, std::uint64_t>> free_;  // and its capacity
};

struct Band {
  std::uint64_t index = 0;
  std::span<const std::byte> bytes;  // the sender's, or those of `owned`
  BandMemory::Bytes owned;           // may be changed
};

class Bands {
 public:
  // The last band may be smaller. Both may be 0 for a tensor without elements.
  Bands(std::uint64_t total, std::uint64_t band, BandMemory& memory) : total_(total), band_(band), memory_(memory) {}

  std::uint64_t band_bytes() const { return band_; }
  std::uint64_t count() const { return band_ == 0 ? 0 : (total_ + band_ - 1) / band_; }
  std::uint64_t size(std::uint64_t index) const { return std::min(band_, total_ - index * band_); }
  std::uint64_t held() const { return held_; }  // bytes of bands that are begun

  // What holding this piece would add to held().
  std::uint64_t would_hold(std::uint64_t offset, std::uint64_t bytes) const {
    std::uint64_t out = 0;
    for (std::uint64_t i = offset / band_; i * band_ < offset + bytes; ++i) {
      if (!covers(offset, bytes, i) && !begun_.contains(i)) out += size(i);
    }
    return out;
  }
  // Bytes that have not come before; calls whole(Band) for each band that is whole now.
  template <typename Whole>
  void write(std::uint64_t offset, std::span<const std::byte> bytes, const Whole& whole) {
    for (std::uint64_t i = offset / band_; i * band_ < offset + bytes.size(); ++i) {
      const std::uint64_t first = i * band_;
      if (covers(offset, bytes.size(), i)) {
        whole(Band{i, bytes.subspan(first - offset, size(i)), {}});
        continue;
      }
      auto [it, added] = begun_.try_emplace(i);
      Begun& begun = it->second;
      if (added) {
        begun.bytes = memory_.take(size(i));
        held_ += size(i);
      }
      const std::uint64_t from = std::max(first, offset), to = std::min(first + size(i), offset + bytes.size());
      std::memcpy(begun.bytes.get() + (from - first), bytes.data() + (from - offset), to - from);
      begun.there += to - from;
      if (begun.there < size(i)) continue;
      Band band{i, {begun.bytes.get(), size(i)}, std::move(begun.bytes)};
      held_ -= size(i);
      begun_.erase(it);
      whole(std::move(band));
    }
  }

 private:
  struct Begun {
    BandMemory::Bytes bytes;
    std::uint64_t there = 0;
  };
  bool covers(std::uint64_t offset, std::uint64_t bytes, std::uint64_t index) const {
    return offset <= index * band_ && index * band_ + size(index) <= offset + bytes;
  }

  std::uint64_t total_, band_, held_ = 0;
  BandMemory& memory_;
  std::unordered_map<std::uint64_t, Begun> begun_;
};

}  // namespace octavo::rollout
