// Checksums by which a hub names content: git's blob SHA-1 for small files, SHA-256 for large ones (LFS, Xet).
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "octavo/base/file.h"
#include "octavo/base/status.h"

namespace octavo::hub {

// Whether `etag` is a checksum that check_content knows: 40 or 64 lower-case hexadecimal digits.
bool is_checksum(std::string_view etag);

// The etag that content has: 64 digits ask for SHA-256, 40 for the SHA-1 of "blob LENGTH\0" and the content (git's
// object name). Reads `bytes` bytes of `content` through a buffer; ends early, as interrupted, once `cancelled` says
// so.
Result<std::string> content_etag(const ByteSource& content, std::uint64_t bytes, std::size_t digits,
                                 const std::function<bool()>& cancelled);

}  // namespace octavo::hub
