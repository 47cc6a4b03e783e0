// ByteHash is XXH3-128 as everyone has it; a Fingerprint knows where its fields end.
#include "octavo/base/hash.h"

#include <gtest/gtest.h>

#include "octavo/base/file.h"

namespace octavo {
namespace {

TEST(ByteHash, IsXxh3) {
  // xxhash.xxh3_128_hexdigest() of the same bytes.
  EXPECT_EQ(ByteHash().hex(), "99aa06d3014798d86001c324468d497f");
  const std::string text = "eight leaves of a folded sheet";
  EXPECT_EQ(ByteHash().add(as_bytes(text)).hex(), "24eceba56973fa447d84f90ce1914dc3");
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(ByteHash().add(as_bytes(text.substr(0, cut))).add(as_bytes(text.substr(cut))).hex(),
              ByteHash().add(as_bytes(text)).hex());
  }
}

TEST(Fingerprint, FieldsAreApart) {
  EXPECT_NE(Fingerprint().add("ab").add("c").hex(), Fingerprint().add("a").add("bc").hex());
  EXPECT_EQ(Fingerprint().add("ab").add(std::uint64_t{7}).hex(), Fingerprint().add("ab").add(std::uint64_t{7}).hex());
}

}  // namespace
}  // namespace octavo
