// What libraries themselves have written (tests/data/formats) is sound, and goes where the table says.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/verify/verify_testing.h"

namespace octavo::test {
namespace {

namespace fs = std::filesystem;

// The loaders that take each file: v, s, t(ransformers), T(ensorRT-LLM). Blocks of 16 are no engine's, which tests of
// shapes cover; here TensorRT-LLM minds.
const std::map<std::string, std::string> kLoadersOf = {
    {"angelslim-fp8", "vsT"},
    {"angelslim-naive", ""},
    {"ct-fp8", "vst"},
    {"ct-fp8-block", "t"},
    {"ct-fp8-dynamic", "vstT"},
    {"ct-mxfp8", "vt"},
    {"ct-w8a16", "vst"},
    {"deepseek-block", ""},
    {"fbgemm", "vt"},
    {"fbgemm-experts", "t"},
    {"fnuz", ""},
    {"fp8-block", "vt"},
    {"fp8-block-ue8m0", "vt"},
    {"modelopt-fp8", "vsT"},
    {"modelopt-channel", "vT"},
    {"modelopt-mxfp8", "vT"},
    {"modelopt-block", "vT"},
    {"mxfp8-transformers", "stT"},
    {"quark-channel", "vst"},
    {"quark-tensor", "vst"},
    {"fp8-transformers-static", "st"},
    {"fp8-transformers-tensor", "st"},
    {"modelopt-fp8-hf-quant-config", "vsT"},
};

TEST(Formats, SoundAndTakenByWhoTakesThem) {
  std::size_t seen = 0;
  for (const auto& item : fs::directory_iterator(fs::path(OCTAVO_SOURCE_DIR) / "tests/data/formats")) {
    if (!item.is_directory()) continue;
    ++seen;
    const std::string name = item.path().filename().string();
    SCOPED_TRACE(name);
    const auto checkpoint = Checkpoint::open(item.path());
    ASSERT_TRUE(checkpoint.ok());
    const auto alone = verify::verify(*checkpoint, nullptr, {});
    ASSERT_TRUE(alone.ok());
    if (name == "angelslim-naive") {
      // Its channel scales are [out]; compressed-tensors has [out, 1].
      EXPECT_TRUE(
          has_violation(*alone, "q_proj", "has shape [32]; the channel scale of a weight [32, 32] has shape [32, 1]"));
    } else {
      EXPECT_TRUE(no_violation(*alone));
    }
    for (const Loader loader : kLoaders) {
      verify::Options options;
      options.loaders = {loader};
      const char letter = "vstT"[static_cast<std::size_t>(loader)];
      const bool taken = kLoadersOf.at(name).find(letter) != std::string::npos;
      EXPECT_EQ(verify::verify(*checkpoint, nullptr, options)->ok(), taken) << loader_name(loader);
    }
  }
  EXPECT_EQ(seen, kLoadersOf.size());
}

}  // namespace
}  // namespace octavo::test
