// SHA-1 and SHA-256 by OpenSSL.
#include "octavo/checkpoint/hub/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

namespace octavo::hub {
namespace {

constexpr std::size_t kSha1Digits = 40, kSha256Digits = 64;

}  // namespace

bool is_checksum(std::string_view etag) {
  return (etag.size() == kSha1Digits || etag.size() == kSha256Digits) &&
         etag.find_first_not_of("0123456789abcdef") == etag.npos;
}

Result<std::string> content_etag(const ByteSource& content, std::uint64_t bytes, std::size_t digits,
                                 const std::function<bool()>& cancelled) {
  const bool git = digits == kSha1Digits;
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  bool good = context && EVP_DigestInit_ex(context.get(), git ? EVP_sha1() : EVP_sha256(), nullptr) == 1;
  if (git) {
    const std::string start = fmt::format("blob {}", bytes);
    good = good && EVP_DigestUpdate(context.get(), start.c_str(), start.size() + 1) == 1;
  }
  std::vector<std::byte> buffer(std::min<std::uint64_t>(bytes, std::uint64_t{1} << 20));
  for (std::uint64_t at = 0; at < bytes && good;) {
    if (cancelled()) return Error{ErrorKind::kInterrupted, "stopped"};
    const auto part = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), bytes - at));
    OCTAVO_TRY(content.read_at(at, part));
    good = EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
    at += part.size();
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
  unsigned size = 0;
  good = good && EVP_DigestFinal_ex(context.get(), raw.data(), &size) == 1;
  if (!good) return failure("{}: OpenSSL refuses to compute its checksum", content.describe());
  std::string out;
  for (unsigned i = 0; i < size; ++i) out += fmt::format("{:02x}", raw[i]);
  return out;
}

}  // namespace octavo::hub
