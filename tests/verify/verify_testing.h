// Running `verify` on builders, and looking for words in its report.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <optional>
#include <string>

#include "octavo/verify/verify.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/temp_dir.h"

namespace octavo::test {

inline verify::Report verify_built(const CheckpointBuilder& quantized, const CheckpointBuilder* source = nullptr,
                                   std::initializer_list<verify::Loader> loaders = {}, int threads = 2) {
  const TempDir dir;
  const Checkpoint ours = quantized.open(dir / "quantized");
  std::optional<Checkpoint> theirs;
  if (source != nullptr) theirs = source->open(dir / "source");
  verify::Options options;
  options.loaders = loaders;
  options.threads = threads;
  auto report = verify::verify(ours, theirs ? &*theirs : nullptr, options);
  EXPECT_TRUE(report.ok()) << (report.ok() ? "" : report.error().message);
  return report.ok() ? std::move(report).value() : verify::Report();
}

inline std::string violations_text(const verify::Report& report) {
  std::string out;
  for (const verify::Violation& v : report.violations) {
    out += (v.loader.empty() ? "" : v.loader + ": ") + v.where + ": " + v.what + "\n";
  }
  return out;
}

// Some violation's line holds both texts.
inline testing::AssertionResult has_violation(const verify::Report& report, std::string_view where,
                                              std::string_view what) {
  for (const verify::Violation& v : report.violations) {
    const std::string line = v.loader + ": " + v.where + ": " + v.what;
    if (line.find(where) != std::string::npos && line.find(what) != std::string::npos)
      return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << "no violation of \"" << where << "\" says \"" << what << "\" among "
                                     << report.violations.size() << ":\n"
                                     << violations_text(report);
}

inline testing::AssertionResult no_violation(const verify::Report& report) {
  if (report.ok()) return testing::AssertionSuccess();
  return testing::AssertionFailure() << violations_text(report);
}

}  // namespace octavo::test
