// Quantizing pytorch_model.bin: the output is, file by file, that of the same weights in safetensors.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "octavo/quant/execute.h"
#include "tests/support/temp_dir.h"

namespace octavo::quant {
namespace {

namespace fs = std::filesystem;
using test::TempDir;
const fs::path kData = fs::path(OCTAVO_SOURCE_DIR) / "tests/data/torch";

Result<Summary> quantize(const fs::path& source, const fs::path& out) {
  OCTAVO_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(source));
  OCTAVO_ASSIGN(const QuantSpec spec, make_spec("dynamic", ""));
  OCTAVO_ASSIGN(const Plan plan, make_plan(checkpoint, spec));
  return execute(checkpoint, plan, out, {});
}

std::set<std::string> files(const fs::path& dir) {
  std::set<std::string> out;
  for (const auto& entry : fs::directory_iterator(dir)) out.insert(entry.path().filename().string());
  return out;
}

TEST(TorchSource, GivesTheOutputOfItsSafetensors) {
  for (const char* model : {"opt", "sharded"}) {
    SCOPED_TRACE(model);
    const TempDir dir;
    const auto torch = quantize(kData / model, dir / "torch");
    ASSERT_TRUE(torch.ok()) << torch.error().message;
    const auto plain = quantize(kData / model / "safetensors", dir / "plain");
    ASSERT_TRUE(plain.ok()) << plain.error().message;
    EXPECT_EQ(torch->quantized, 12u);
    EXPECT_EQ(files(dir / "torch"), files(dir / "plain"));
    for (const std::string& name : files(dir / "plain")) {
      if (name == "octavo.json") continue;  // names the source
      EXPECT_EQ(test::read_file(dir / "torch" / name), test::read_file(dir / "plain" / name)) << name;
    }
    const auto again = quantize(kData / model, dir / "torch");
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_TRUE(again->already_finished);
  }
}

TEST(TorchSource, OfOptTheLinearsAreQuantized) {
  const auto checkpoint = Checkpoint::open(kData / "opt");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const auto plan = make_plan(*checkpoint, *make_spec("dynamic", ""));
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  std::set<std::string> quantized;
  for (const PlannedTensor& tensor : plan->tensors) {
    if (tensor.encodes()) quantized.insert(checkpoint->tensors()[tensor.source].name);
  }
  std::set<std::string> linears;
  for (const char* layer : {"0", "1"}) {
    for (const char* name :
         {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"}) {
      linears.insert(fmt::format("decoder.layers.{}.{}.weight", layer, name));
    }
  }
  EXPECT_EQ(quantized, linears);
}

}  // namespace
}  // namespace octavo::quant
