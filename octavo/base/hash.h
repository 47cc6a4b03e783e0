// XXH3 of bytes, for fingerprints and checksums: it finds accidents, not forgeries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace octavo {

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed = 0);

// A fingerprint of a sequence of fields. Each field goes in with its length, so ("ab", "c") and ("a", "bc") differ.
class Fingerprint {
 public:
  Fingerprint();
  ~Fingerprint();
  Fingerprint(const Fingerprint&) = delete;
  Fingerprint& operator=(const Fingerprint&) = delete;

  Fingerprint& add(std::string_view field);
  Fingerprint& add(std::uint64_t number);
  std::string hex() const;  // 32 digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// XXH3 (128 bits) of bytes and nothing else, in any pieces: what xxhash.xxh3_128_hexdigest() and `xxhsum -H2` print.
class ByteHash {
 public:
  ByteHash();
  ~ByteHash();
  ByteHash(const ByteHash&) = delete;
  ByteHash& operator=(const ByteHash&) = delete;

  ByteHash& add(std::span<const std::byte> bytes);
  std::string hex() const;  // 32 digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace octavo
