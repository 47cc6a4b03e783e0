// OCTAVO_ISA: what may be forced, and what is refused.
#include "octavo/base/cpu.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>

namespace octavo {
namespace {

// Sets OCTAVO_ISA for a test and puts back what stood there.
class ForcedIsa {
 public:
  explicit ForcedIsa(const char* value) {
    if (const char* old = std::getenv("OCTAVO_ISA")) old_ = old;
    if (value != nullptr) {
      setenv("OCTAVO_ISA", value, 1);
    } else {
      unsetenv("OCTAVO_ISA");
    }
  }
  ~ForcedIsa() {
    if (old_) {
      setenv("OCTAVO_ISA", old_->c_str(), 1);
    } else {
      unsetenv("OCTAVO_ISA");
    }
  }
  ForcedIsa(const ForcedIsa&) = delete;
  ForcedIsa& operator=(const ForcedIsa&) = delete;

 private:
  std::optional<std::string> old_;
};

TEST(Isa, TheBestByDefault) {
  for (const char* value : {static_cast<const char*>(nullptr), ""}) {
    const ForcedIsa forced(value);
    EXPECT_EQ(*select_isa(), detect_isa());
  }
}

TEST(Isa, WhatTheMachineHasCanBeForced) {
  for (const Isa isa : kIsas) {
    const ForcedIsa forced(std::string(isa_name(isa)).c_str());
    const auto selected = select_isa();
    if (has_isa(isa)) {
      ASSERT_TRUE(selected.ok());
      EXPECT_EQ(*selected, isa);
    } else {
      ASSERT_FALSE(selected.ok());
      EXPECT_EQ(selected.error().kind, ErrorKind::kUsage);
      EXPECT_NE(selected.error().message.find("this machine lacks it"), std::string::npos);
    }
  }
}

TEST(Isa, AnUnknownNameIsAUsageError) {
  for (const char* name : {"foo", "AVX2", "avx", "scalar "}) {
    const ForcedIsa forced(name);
    const auto selected = select_isa();
    ASSERT_FALSE(selected.ok()) << name;
    EXPECT_EQ(selected.error().kind, ErrorKind::kUsage);
    EXPECT_NE(selected.error().message.find("use scalar, avx2, avx512, avx512_bf16 or amx"), std::string::npos);
  }
}

}  // namespace
}  // namespace octavo
