// Errors as values: kinds, context, and the macros that pass them on.
#include "octavo/base/status.h"

#include <gtest/gtest.h>

#include <memory>

namespace octavo {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return failure("{} is odd", value);
  return value / 2;
}

Result<int> quarter(int value) {
  OCTAVO_ASSIGN(const int first, half(value));
  OCTAVO_ASSIGN(const int second, half(first).context("second half"));
  return second;
}

Status check(int value) {
  OCTAVO_TRY(half(value));
  return {};
}

TEST(Result, ValueOrError) {
  EXPECT_EQ(*half(4), 2);
  EXPECT_TRUE(half(4));
  ASSERT_FALSE(half(3));
  EXPECT_EQ(half(3).error().message, "3 is odd");
  EXPECT_EQ(half(3).error().kind, ErrorKind::kFailure);
  EXPECT_EQ(usage_error("{}{}", "a", 1).kind, ErrorKind::kUsage);
}

TEST(Result, TheMacrosReturnTheFirstError) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(3).error().message, "3 is odd");
  EXPECT_EQ(quarter(6).error().message, "second half: 3 is odd");
  EXPECT_TRUE(check(2).ok());
  EXPECT_EQ(check(5).error().message, "5 is odd");
}

TEST(Result, ContextKeepsTheKindAndLeavesValuesAlone) {
  EXPECT_EQ(*half(2).context("unused"), 1);
  const Error error = usage_error("wrong").context("where");
  EXPECT_EQ(error.message, "where: wrong");
  EXPECT_EQ(error.kind, ErrorKind::kUsage);
  EXPECT_TRUE(Status().context("unused").ok());
  EXPECT_EQ(Status(failure("x")).context("y").error().message, "y: x");
}

TEST(Result, HoldsMoveOnlyValues) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(7);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(**result, 7);
  const std::unique_ptr<int> taken = std::move(result).value();
  EXPECT_EQ(*taken, 7);
}

}  // namespace
}  // namespace octavo
