// Files that torch.save wrote (tools/make_torch_golden.py): every byte of every tensor against safetensors, and what is
// refused, by name.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>

#include "octavo/checkpoint/safetensors.h"
#include "octavo/checkpoint/torch/torch_file.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
const fs::path kFolder = fs::path(OCTAVO_SOURCE_DIR) / "tests/data/torch";

struct Content {
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;
  bool operator==(const Content&) const = default;
};

std::map<std::string, Content> contents(const File& file, const std::vector<TensorEntry>& tensors,
                                        std::uint64_t begin) {
  std::map<std::string, Content> out;
  for (const TensorEntry& t : tensors) {
    Content content{t.dtype, t.shape, std::vector<std::byte>(t.bytes())};
    EXPECT_TRUE(file.read_at(begin + t.begin, content.bytes).ok()) << t.name;
    EXPECT_TRUE(out.emplace(t.name, std::move(content)).second) << t.name;
  }
  return out;
}

TEST(TorchGolden, EveryByteAsPyTorchHasIt) {
  std::set<std::string> seen;
  for (const auto& entry : fs::directory_iterator(kFolder / "good")) {
    if (entry.path().extension() != ".bin") continue;
    SCOPED_TRACE(entry.path().filename().string());
    seen.insert(entry.path().stem().string());
    const auto file = File::open_read(entry.path());
    ASSERT_TRUE(file.ok());
    const auto torch = read_torch_file(*file);
    ASSERT_TRUE(torch.ok()) << torch.error().message;
    const auto want_file = File::open_read(fs::path(entry.path()).replace_extension(".safetensors"));
    ASSERT_TRUE(want_file.ok());
    const auto want = read_safetensors_header(*want_file);
    ASSERT_TRUE(want.ok()) << want.error().message;
    EXPECT_EQ(contents(*file, torch->tensors, 0), contents(*want_file, want->tensors, want->data_begin));
    for (std::size_t i = 1; i < torch->tensors.size(); ++i) {
      EXPECT_LE(torch->tensors[i - 1].begin, torch->tensors[i].begin);
    }
  }
  EXPECT_EQ(seen, (std::set<std::string>{"legacy", "legacy_protocol4", "legacy_views", "legacy_wrapped", "many",
                                         "module", "parameters", "tied", "views", "wrapped", "zip", "zip_protocol3",
                                         "zip_protocol4", "zip_protocol5"}));
}

TEST(TorchGolden, AWrapperIsNamed) {
  const auto notes = [](const char* name) { return read_torch_file(*File::open_read(kFolder / "good" / name))->notes; };
  EXPECT_EQ(notes("wrapped.bin"),
            std::vector<std::string>{
                "the state dict is the file's \"state_dict\"; 2 entries beside it are left out, \"epoch\" first"});
  EXPECT_EQ(notes("legacy_wrapped.bin"), std::vector<std::string>{"the state dict is the file's \"state_dict\""});
  EXPECT_EQ(notes("zip.bin"), std::vector<std::string>{});
}

TEST(TorchGolden, TiedTensorsShareTheirPlace) {
  const auto torch = read_torch_file(*File::open_read(kFolder / "good/tied.bin"));
  ASSERT_EQ(torch->tensors.size(), 3u);
  EXPECT_EQ(torch->tensors[0].name, "model.embed_tokens.weight");
  EXPECT_EQ(torch->tensors[1].name, "lm_head.weight");
  EXPECT_EQ(torch->tensors[0].begin, torch->tensors[1].begin);
}

TEST(TorchGolden, RefusedByName) {
  const std::map<std::string, std::string> cases = {
      {"system", "system.bin: data.pkl: byte 173: asks for posix.system: from a pickle only tensors are built"},
      {"legacy_system", "legacy_system.bin: byte 324: asks for posix.system: "},
      {"eval_protocol4", "data.pkl: byte 35: asks for builtins.eval: "},
      {"bare_pickle", "bare_pickle.bin: byte 2: asks for posix.system: "},
      {"protocol0", "neither a ZIP archive nor a pickle"},
      {"plain_pickle", "a pickle without the mark of torch.save"},
      {"transposed", "tensor \"a.weight\": [6, 4] with strides [1, 6] is stored transposed"},
      {"strided", "tensor \"a.weight\": [4, 2] with strides [6, 1] is a view that does not lie in one piece"},
      {"expanded", "tensor \"a.weight\": [4, 6] with strides [0, 1] is a view"},
      {"numpy", "asks for numpy._core.multiarray._reconstruct: "},
      {"sparse", "asks for torch._utils._rebuild_sparse_tensor: "},
      {"complex128", "asks for torch.ComplexDoubleStorage: not among the types of tensors that are read"},
      {"conjugate", "_rebuild_tensor_v2: a tensor with metadata (a conjugate or negated view)"},
      {"module_object", "asks for torch.nn.modules.linear.Linear: "},
      {"tensor", "holds a tensor where a state dict (a dict of tensors by name) is needed"},
      {"list", "holds a list where a state dict"},
      {"nested", "\"optimizer\" is a dict, a state dict holds only tensors"},
      {"two_wrappers", "holds two state dicts, \"model\" and \"state_dict\""},
      {"with_number", "\"epoch\" is a number, a state dict holds only tensors"},
      {"number_key", "the state dict has a number as a key"},
      {"empty", "empty.bin: holds no tensors"},
      {"script", "script.bin: is a TorchScript program"},
  };
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(kFolder / "bad")) {
    ++files;
    const auto expected = cases.find(entry.path().stem().string());
    ASSERT_NE(expected, cases.end()) << entry.path();
    const auto torch = read_torch_file(*File::open_read(entry.path()));
    ASSERT_FALSE(torch.ok()) << entry.path();
    EXPECT_NE(torch.error().message.find(expected->second), std::string::npos)
        << expected->second << "\n-> " << torch.error().message;
    EXPECT_TRUE(torch.error().message.starts_with(entry.path().string())) << torch.error().message;
  }
  EXPECT_EQ(files, cases.size());
}

}  // namespace
}  // namespace octavo
