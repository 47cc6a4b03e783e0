// The sample configurations of tests/data/dialect, and what the tests of languages share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <string>
#include <vector>

#include "octavo/dialect/config.h"
#include "tests/support/temp_dir.h"

namespace octavo::dialect {

inline std::filesystem::path samples_dir() {
  return std::filesystem::path(OCTAVO_SOURCE_DIR) / "tests" / "data" / "dialect";
}

// "angelslim/qwen3-8b_fp8_dynamic.yaml", ... in order.
inline std::vector<std::string> sample_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(samples_dir())) {
    if (entry.path().extension() == ".yaml") {
      names.push_back(std::filesystem::relative(entry.path(), samples_dir()).string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline std::string sample_text(const std::string& name) { return test::read_file(samples_dir() / name); }

// A sample as its user would have it: by its bare name.
inline Config read_sample(const std::string& name) {
  return read_config(sample_text(name), std::filesystem::path(name).filename().string());
}

inline std::string all_errors(const Config& config) {
  std::string out;
  for (const std::string& error : config.errors) out += error + "\n";
  return out;
}

}  // namespace octavo::dialect
