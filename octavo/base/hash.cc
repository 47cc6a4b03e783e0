// XXH3 through libxxhash.
#include "octavo/base/hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <new>

namespace octavo {

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

struct Fingerprint::State {
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> xxh{XXH3_createState()};
};

Fingerprint::Fingerprint() : state_(std::make_unique<State>()) {
  if (state_->xxh == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_->xxh.get());
}

Fingerprint::~Fingerprint() = default;

Fingerprint& Fingerprint::add(std::string_view field) {
  add(static_cast<std::uint64_t>(field.size()));
  XXH3_128bits_update(state_->xxh.get(), field.data(), field.size());
  return *this;
}

Fingerprint& Fingerprint::add(std::uint64_t number) {
  unsigned char bytes[8];  // little-endian on every machine
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(number >> (8 * i));
  XXH3_128bits_update(state_->xxh.get(), bytes, sizeof bytes);
  return *this;
}

std::string Fingerprint::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh.get());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace octavo
