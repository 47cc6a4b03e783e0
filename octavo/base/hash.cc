// XXH3 through libxxhash.
#include "octavo/base/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <new>

namespace octavo {

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

namespace {

struct Xxh {
  struct Free {
    void operator()(XXH3_state_t* made) const { XXH3_freeState(made); }
  };
  Xxh() {
    if (state == nullptr) throw std::bad_alloc();
    XXH3_128bits_reset(state.get());
  }
  std::string hex() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
  }
  std::unique_ptr<XXH3_state_t, Free> state{XXH3_createState()};
};

}  // namespace

struct Fingerprint::State : Xxh {};

Fingerprint::Fingerprint() : state_(std::make_unique<State>()) {}
Fingerprint::~Fingerprint() = default;

Fingerprint& Fingerprint::add(std::string_view field) {
  add(static_cast<std::uint64_t>(field.size()));
  XXH3_128bits_update(state_->state.get(), field.data(), field.size());
  return *this;
}

Fingerprint& Fingerprint::add(std::uint64_t number) {
  unsigned char bytes[8];  // little-endian on every machine
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(number >> (8 * i));
  XXH3_128bits_update(state_->state.get(), bytes, sizeof bytes);
  return *this;
}

std::string Fingerprint::hex() const { return state_->hex(); }

struct ByteHash::State : Xxh {};

ByteHash::ByteHash() : state_(std::make_unique<State>()) {}
ByteHash::~ByteHash() = default;

ByteHash& ByteHash::add(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->state.get(), bytes.data(), bytes.size());
  return *this;
}

std::string ByteHash::hex() const { return state_->hex(); }

}  // namespace octavo
