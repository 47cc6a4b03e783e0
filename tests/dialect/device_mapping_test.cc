// ROLL's Python expressions for GPUs.
#include "octavo/dialect/device_mapping.h"

#include <gtest/gtest.h>

namespace octavo::dialect {
namespace {

std::string ranges(std::string_view expression) {
  const auto devices = parse_device_mapping(expression);
  return devices.ok() ? device_ranges(*devices) : "error: " + devices.error().message;
}

TEST(DeviceMapping, UsualForms) {
  EXPECT_EQ(ranges("list(range(0,8))"), "0-7");
  EXPECT_EQ(ranges(" list( range( 4 , 6 ) ) "), "4-5");
  EXPECT_EQ(ranges("range(3)"), "0-2");
  EXPECT_EQ(ranges("list(range(0,8,2))"), "0, 2, 4, 6");
  EXPECT_EQ(ranges("[1]"), "1");
  EXPECT_EQ(ranges("[]"), "");
  EXPECT_EQ(ranges("(0, 1,)"), "0-1");
  EXPECT_EQ(ranges("list([0,1,2,3,8,9])"), "0-3, 8-9");
  EXPECT_EQ(ranges("list(range(0,2)) + list(range(6,8))"), "0-1, 6-7");
  EXPECT_EQ(ranges("list(range(8,4))"), "");
}

TEST(DeviceMapping, NothingElseIsEvaluated) {
  for (const char* bad : {"", "8", "list(range(0,8)", "list(range(0,8)))", "range(0,8,0)", "range(0,8,-1)",
                          "range(1,2,3,4)", "__import__('os')", "[0, x]", "list(range(0,n))", "[0 1]",
                          "list(list(list(list(list(list(list(list("
                          "list([0])))))))))"}) {
    EXPECT_EQ(ranges(bad), "error: must be GPUs as list(range(0,8)), [0, 1] or a sum of such lists") << bad;
  }
  EXPECT_EQ(ranges("[-1]"), "error: GPU -1: they are counted from 0");
  EXPECT_EQ(ranges("list(range(0,65536)) + [1]"), "error: names more than 65536 GPUs");
  EXPECT_EQ(ranges("range(99999999999999999999)").substr(0, 6), "error:");
}

}  // namespace
}  // namespace octavo::dialect
