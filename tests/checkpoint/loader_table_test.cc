// The table of who loads what: every pair once, and what the other commands print of it.
#include "octavo/checkpoint/loader_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace octavo {
namespace {

TEST(LoaderTable, EveryPairStandsOnceAndOnlyUnknownAnswersMayBeBare) {
  std::set<std::string> seen;
  for (const LoaderRow& row : loader_table()) {
    const std::string key = std::string(scheme_kind_name(row.scheme)) + "/" + std::string(dialect_name(row.dialect)) +
                            "/" + std::string(row.scale_name);
    EXPECT_TRUE(seen.insert(key).second) << key;
    EXPECT_EQ(find_loader_row(row.scheme, row.dialect, row.scale_name), &row);
    for (const Loader loader : kLoaders) {
      const LoaderAnswer& answer = row[loader];
      if (answer.takes == Takes::kNo || answer.takes == Takes::kAsOther) {
        EXPECT_FALSE(answer.note.empty()) << key << " " << loader_name(loader);
      }
    }
  }
  for (const SchemeKind scheme : kSchemeKinds) {
    EXPECT_TRUE(std::any_of(loader_table().begin(), loader_table().end(),
                            [&](const LoaderRow& row) { return row.scheme == scheme; }))
        << scheme_kind_name(scheme);
  }
  EXPECT_EQ(find_loader_row(SchemeKind::kWeightOnly, Dialect::kFp8), nullptr);
}

TEST(LoaderTable, NoMxfp8FileServesBothVllmAndSglang) {
  for (const LoaderRow& row : loader_table()) {
    if (row.scheme != SchemeKind::kMxfp8) continue;
    EXPECT_FALSE(row[Loader::kVllm].takes == Takes::kLoads && row[Loader::kSglang].takes == Takes::kLoads);
  }
}

TEST(LoaderTable, Sentences) {
  EXPECT_EQ(loaders_of(*find_loader_row(SchemeKind::kChannelDynamic, Dialect::kCompressedTensors)),
            "vLLM, SGLang, transformers (dequantized), TensorRT-LLM");
  EXPECT_EQ(loaders_of(*find_loader_row(SchemeKind::kMxfp8, Dialect::kMxfp8, "weight_scale")), "vLLM, TensorRT-LLM");
  EXPECT_EQ(describe(find_loader_row(SchemeKind::kTensorDynamic, Dialect::kModelOpt)->answers[0]),
            "no: expects input_scale");
  EXPECT_EQ(loader_names(), "vllm, sglang, transformers, tensorrt-llm");
  EXPECT_EQ(find_loader("tensorrt-llm"), Loader::kTensorRtLlm);
  EXPECT_EQ(find_loader("vLLM"), std::nullopt);
}

TEST(LoaderTable, OtherFormatsThanE4m3) {
  using fp8::Format;
  EXPECT_EQ(loader_answer_for(Format::kE4M3, Dialect::kFp8, Loader::kVllm).takes, Takes::kLoads);
  EXPECT_EQ(loader_answer_for(Format::kE5M2, Dialect::kFp8, Loader::kVllm).takes, Takes::kNo);
  EXPECT_EQ(loader_answer_for(Format::kE5M2, Dialect::kFp8, Loader::kTransformers).takes, Takes::kDequantizes);
  EXPECT_EQ(loader_answer_for(Format::kE4M3FNUZ, Dialect::kQuark, Loader::kVllm).takes, Takes::kNo);
}

TEST(LoaderTable, TheKindOfAGroup) {
  QuantizationGroup group;
  group.granularity = Granularity::kGroup;
  group.block_k = 32;
  group.activation = ActivationScheme::kDynamicGroup;
  EXPECT_EQ(scheme_kind(group), SchemeKind::kMxfp8);
  group.block_k = 128;
  EXPECT_EQ(scheme_kind(group), std::nullopt);
  group.granularity = Granularity::kChannel;
  EXPECT_EQ(scheme_kind(group), SchemeKind::kChannelDynamic);
  group.activation = ActivationScheme::kNone;
  EXPECT_EQ(scheme_kind(group), SchemeKind::kWeightOnly);
}

}  // namespace
}  // namespace octavo
