// What the tests of templates share: the golden files and the time they were made at.
#pragma once

#include <gtest/gtest.h>

#include <ctime>
#include <string>

#include "octavo/base/json.h"
#include "octavo/text/chat_template.h"
#include "tests/support/temp_dir.h"

namespace octavo::text {

inline std::string template_data(const std::string& name) {
  return std::string(OCTAVO_SOURCE_DIR) + "/tests/data/templates/" + name;
}

inline Json read_template_data(const std::string& name) {
  auto json = parse_json(test::read_file(template_data(name)), name);
  EXPECT_TRUE(json.ok()) << (json.ok() ? "" : json.error().message);
  return json.ok() ? std::move(json).value() : Json();
}

// 2024-07-26 12:34:56, a Friday: NOW in tools/make_template_golden.py.
inline RenderOptions template_options() {
  std::tm now{};
  now.tm_year = 2024 - 1900, now.tm_mon = 6, now.tm_mday = 26;
  now.tm_hour = 12, now.tm_min = 34, now.tm_sec = 56;
  now.tm_wday = 5, now.tm_yday = 207;
  RenderOptions options;
  options.now = now;
  return options;
}

// The contexts of contexts.json: every chat with every setting, in the order of the golden files.
inline std::vector<Json> template_contexts() {
  const Json given = read_template_data("contexts.json");
  std::vector<Json> contexts;
  for (const Json& chat : given["chats"]) {
    for (const Json& setting : given["settings"]) {
      Json context = given["base"];
      for (const auto& [key, value] : setting.items()) context[key] = value;
      context["messages"] = chat;
      contexts.push_back(std::move(context));
    }
  }
  return contexts;
}

}  // namespace octavo::text
