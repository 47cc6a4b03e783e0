// After an update the model is the one that a fresh process would load, bit for bit; before, and after any failure, the
// old one.
#include "octavo/rollout/weight_update.h"

#include <gtest/gtest.h>

#include "octavo/quant/execute.h"
#include "octavo/quant/online.h"
#include "tests/rollout/update_support.h"
#include "tests/support/temp_dir.h"

namespace octavo::rollout {
namespace {

namespace fs = std::filesystem;
using backend::Compute;
using test::BuiltTensor;
using test::RunModel;
using test::RunSettings;
using test::TempDir;
using test::Updatable;

std::vector<float> fresh_logits(const fs::path& folder, const RunSettings& settings) {
  const auto model = RunModel::open(folder, settings);
  return model ? model->logits(test::kUpdateTokens) : std::vector<float>();
}

RunSettings settings_of(std::string_view scheme, model::ActivationMode activations, model::HeadMode head,
                        Compute compute = Compute::kBF16) {
  RunSettings s{.isa = detect_isa(), .threads = 2, .compute = compute, .activations = activations};
  if (!scheme.empty()) s.quantize = quant::online_spec(scheme).value();
  s.head = head;
  return s;
}

constexpr const char* kSchemes[] = {"", "fp8", "fp8_channel", "fp8_block"};

TEST(WeightUpdate, LogitsAreThoseOfAFreshProcess) {
  TempDir dir;
  const fs::path old_folder = test::tiny_decoder({.seed = 1}).write(dir / "old");
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    const auto sent = test::tiny_decoder({.dtype = dtype, .seed = 2});
    const fs::path new_folder = sent.write(dir / std::string(dtype_name(dtype)));
    for (const char* scheme : kSchemes) {
      for (const auto activations : {model::ActivationMode::kBF16, model::ActivationMode::kFp8}) {
        for (const auto head : {model::HeadMode::kStored, model::HeadMode::kFp8}) {
          SCOPED_TRACE(fmt::format("{} {} activations {} head {}", dtype_name(dtype), scheme,
                                   static_cast<int>(activations), static_cast<int>(head)));
          const RunSettings settings = settings_of(scheme, activations, head);
          Updatable running(old_folder, settings);
          const std::vector<float> before = running.logits();
          const std::vector<float> fresh = fresh_logits(new_folder, settings);
          ASSERT_NE(before, fresh);
          const auto done = running.update(sent.tensors(), 5000, 7);
          ASSERT_TRUE(done.ok()) << done.error().message;
          EXPECT_EQ(running.logits(), fresh);
          EXPECT_EQ(done->tensors, sent.tensors().size());
        }
      }
    }
  }
}

// With every kernel, in F32 arithmetic, with biases, tied embeddings, long rows and several bands a tensor.
TEST(WeightUpdate, EveryIsaAndFamily) {
  TempDir dir;
  int number = 0;
  for (const Isa isa : test::machine_isas()) {
    for (const char* family : {"qwen2", "llama"}) {
      const test::TinyDecoder shape{
          .model_type = family, .layers = 1, .hidden = 264, .intermediate = 2600, .tied = true, .seed = 3};
      test::TinyDecoder other = shape;
      other.seed = 4;
      const auto sent = test::tiny_decoder(other);
      const fs::path folders[] = {test::tiny_decoder(shape).write(dir / fmt::format("a{}", number)),
                                  sent.write(dir / fmt::format("b{}", number))};
      ++number;
      for (const char* scheme : kSchemes) {
        for (const auto head : {model::HeadMode::kStored, model::HeadMode::kFp8}) {
          SCOPED_TRACE(fmt::format("{} {} {}", isa_name(isa), family, scheme));
          RunSettings settings = settings_of(scheme, model::ActivationMode::kBF16, head, Compute::kF32);
          settings.isa = isa;
          Updatable running(folders[0], settings);
          const auto done = running.update(sent.tensors(), 300'000, 5);
          ASSERT_TRUE(done.ok()) << done.error().message;
          EXPECT_EQ(running.logits(), fresh_logits(folders[1], settings));
        }
      }
    }
  }
}

// A folder that is FP8 already takes BF16 values (as `octavo quantize` would make it) and codes with scales.
TEST(WeightUpdate, Fp8Folders) {
  TempDir dir;
  const auto sent = test::tiny_decoder({.seed = 2});
  const Checkpoint old_source = test::tiny_decoder({.seed = 1}).open(dir / "old");
  const Checkpoint new_source = sent.open(dir / "new");
  for (const char* scheme : {"tensor", "dynamic", "block"}) {
    for (const bool pow2 : {false, true}) {
      SCOPED_TRACE(fmt::format("{} pow2 {}", scheme, pow2));
      quant::QuantSpec spec = quant::make_spec(scheme, "").value();
      spec.pow2_scales = pow2;
      const auto quantize = [&](const Checkpoint& source, const std::string& name) {
        const fs::path out = dir / fmt::format("{}-{}-{}", name, scheme, pow2);
        const auto plan = quant::make_plan(source, spec);
        EXPECT_TRUE(plan.ok());
        quant::ExecuteOptions options;
        options.isa = detect_isa();
        EXPECT_TRUE(quant::execute(source, *plan, out, options).ok());
        return out;
      };
      const fs::path old_fp8 = quantize(old_source, "old"), new_fp8 = quantize(new_source, "new");
      for (const auto activations : {model::ActivationMode::kBF16, model::ActivationMode::kFp8}) {
        const RunSettings settings = settings_of("", activations, model::HeadMode::kStored);
        const std::vector<float> fresh = fresh_logits(new_fp8, settings);
        Updatable values(old_fp8, settings), codes(old_fp8, settings);
        ASSERT_NE(values.logits(), fresh);
        auto done = values.update(sent.tensors(), 3000, 9);
        ASSERT_TRUE(done.ok()) << done.error().message;
        EXPECT_EQ(values.logits(), fresh);
        done = codes.update(test::tensors_of(new_fp8), 3000, 10);
        ASSERT_TRUE(done.ok()) << done.error().message;
        EXPECT_EQ(codes.logits(), fresh);
      }
    }
  }
}

BuiltTensor fused(const std::string& name, std::vector<const BuiltTensor*> parts) {
  BuiltTensor out{name, parts[0]->dtype, parts[0]->shape, {}, 0};
  if (!out.shape.empty()) out.shape[0] = 0;
  for (const BuiltTensor* part : parts) {
    if (!out.shape.empty()) out.shape[0] += part->shape[0];
    out.bytes.insert(out.bytes.end(), part->bytes.begin(), part->bytes.end());
  }
  return out;
}

// q/k/v as qkv_proj, gate/up as gate_up_proj, weights, biases and codes with scales alike; wrappers before the names.
std::vector<BuiltTensor> fuse(std::vector<BuiltTensor> tensors, const std::string& wrapper) {
  std::vector<BuiltTensor> out;
  const auto find = [&](const std::string& name) {
    return &*std::find_if(tensors.begin(), tensors.end(), [&](const BuiltTensor& t) { return t.name == name; });
  };
  for (const BuiltTensor& t : tensors) {
    const auto part = [&](const char* leaf) { return t.name.find(leaf) != std::string::npos; };
    const auto with = [&](const char* from, const char* to) {
      std::string name = t.name;
      return name.replace(name.find(from), std::string(from).size(), to);
    };
    if (part(".k_proj.") || part(".v_proj.") || part(".up_proj.")) continue;
    BuiltTensor made = t;
    if (part(".q_proj.")) {
      made = fused(with("q_proj", "qkv_proj"), {&t, find(with("q_proj", "k_proj")), find(with("q_proj", "v_proj"))});
    } else if (part(".gate_proj.")) {
      made = fused(with("gate_proj", "gate_up_proj"), {&t, find(with("gate_proj", "up_proj"))});
    }
    made.name = wrapper + made.name;
    out.push_back(std::move(made));
  }
  return out;
}

TEST(WeightUpdate, FusedAndWrappedNames) {
  TempDir dir;
  // q: 128 rows, k and v: 128: blocks of 128 rows do not lie across.
  const test::TinyDecoder shape{.model_type = "qwen2", .intermediate = 256, .heads = 4, .kv_heads = 4, .seed = 1};
  test::TinyDecoder other = shape;
  other.seed = 2;
  const auto sent = test::tiny_decoder(other);
  const fs::path old_folder = test::tiny_decoder(shape).write(dir / "old"), new_folder = sent.write(dir / "new");
  for (const char* scheme : kSchemes) {
    for (const char* wrapper : {"", "module.", "module.module.", "_orig_mod."}) {
      SCOPED_TRACE(fmt::format("{} {}", scheme, wrapper));
      const RunSettings settings = settings_of(scheme, model::ActivationMode::kFp8, model::HeadMode::kStored);
      Updatable running(old_folder, settings);
      const auto done = running.update(fuse(sent.tensors(), wrapper), 2000, 3);
      ASSERT_TRUE(done.ok()) << done.error().message;
      EXPECT_EQ(running.logits(), fresh_logits(new_folder, settings));
    }
  }
  for (const char* scheme : {"dynamic", "block"}) {
    SCOPED_TRACE(scheme);
    const auto spec = quant::make_spec(scheme, "").value();
    for (const auto& [from, to] : {std::pair(old_folder, "old8"), std::pair(new_folder, "new8")}) {
      const Checkpoint source = Checkpoint::open(from).value();
      quant::ExecuteOptions options;
      ASSERT_TRUE(
          quant::execute(source, *quant::make_plan(source, spec), dir / fmt::format("{}{}", to, scheme), options).ok());
    }
    const RunSettings settings = settings_of("", model::ActivationMode::kFp8, model::HeadMode::kStored);
    Updatable running(dir / fmt::format("old8{}", scheme), settings);
    const auto done = running.update(fuse(test::tensors_of(dir / fmt::format("new8{}", scheme)), ""), 2000, 3);
    ASSERT_TRUE(done.ok()) << done.error().message;
    EXPECT_EQ(running.logits(), fresh_logits(dir / fmt::format("new8{}", scheme), settings));
  }
}

TEST(WeightUpdate, AnUpdateThatIsDroppedLeavesTheOldWeights) {
  TempDir dir;
  const fs::path folder = test::tiny_decoder({.seed = 1}).write(dir / "old");
  const auto sent = test::tiny_decoder({.seed = 2});
  const fs::path new_folder = sent.write(dir / "new");
  for (const char* scheme : kSchemes) {
    SCOPED_TRACE(scheme);
    const RunSettings settings = settings_of(scheme, model::ActivationMode::kBF16, model::HeadMode::kFp8);
    Updatable running(folder, settings);
    const std::vector<float> before = running.logits();
    {
      WeightUpdate update = running.begin();
      auto some = sent.tensors();
      some.resize(some.size() / 2);
      ASSERT_TRUE(test::send(update, some, 4000).ok());
      EXPECT_EQ(running.logits(), before);
      EXPECT_FALSE(update.commit(running.model->loaded()).ok());
      EXPECT_EQ(running.logits(), before);
    }
    EXPECT_EQ(running.logits(), before);
    // And the next one is not disturbed by what the dropped one left in the shadow.
    ASSERT_TRUE(running.update(sent.tensors(), 4000).ok());
    EXPECT_EQ(running.logits(), fresh_logits(new_folder, settings));
  }
}

// Two sets of weights for ever: their addresses alternate, and what is written is never what served before.
TEST(WeightUpdate, ManyInARowOnFixedStorage) {
  TempDir dir;
  for (const char* scheme : kSchemes) {
    SCOPED_TRACE(scheme);
    const RunSettings settings = settings_of(scheme, model::ActivationMode::kFp8, model::HeadMode::kFp8);
    std::vector<test::CheckpointBuilder> versions;
    std::vector<std::vector<float>> fresh;
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
      versions.push_back(test::tiny_decoder({.tied = true, .seed = seed}));
      fresh.push_back(fresh_logits(versions.back().write(dir / fmt::format("{}{}", scheme, seed)), settings));
    }
    Updatable running(dir / fmt::format("{}1", scheme), settings);
    const auto* first = running.model->loaded().weights.layers[1].down.get();
    const std::uint64_t bytes = running.shadow.bytes();
    EXPECT_EQ(bytes, running.model->loaded().report.resident_bytes());
    std::set<const void*> places;
    for (std::size_t i = 1; i <= 20; ++i) {
      ASSERT_TRUE(running.update(versions[i % 3].tensors(), 9000, i).ok());
      ASSERT_EQ(running.logits(), fresh[i % 3]) << i;
      places.insert(running.model->loaded().weights.layers[1].down.get());
      EXPECT_EQ(running.shadow.bytes(), bytes);
    }
    EXPECT_EQ(places.size(), 2u);
    EXPECT_TRUE(places.contains(first));
  }
}

TEST(WeightUpdate, PartialUpdatesKeepTheRest) {
  TempDir dir;
  const auto old_builder = test::tiny_decoder({.seed = 1});
  const auto sent = test::tiny_decoder({.seed = 2});
  const fs::path old_folder = old_builder.write(dir / "old");
  for (const char* scheme : kSchemes) {
    SCOPED_TRACE(scheme);
    const RunSettings settings = settings_of(scheme, model::ActivationMode::kFp8, model::HeadMode::kFp8);
    Updatable running(old_folder, settings);
    const auto mixed = [&](std::string_view of, std::string_view to) {
      test::CheckpointBuilder builder = old_builder;
      for (const BuiltTensor& t : sent.tensors()) {
        if (t.name.find(of) != std::string::npos) builder.at(t.name) = t;
      }
      return builder.write(dir / fmt::format("{}{}", to, scheme));
    };
    // Twice, so that what was left in the shadow by the first must not come back.
    for (const auto& [of, folder] :
         {std::pair("layers.1.", mixed("layers.1.", "one")), std::pair("layers.", mixed("layers.", "both"))}) {
      std::vector<BuiltTensor> some;
      for (const BuiltTensor& t : sent.tensors()) {
        if (t.name.find(of) != std::string::npos) some.push_back(t);
      }
      const std::vector<float> before = running.logits();
      running.options.partial = false;
      const auto refused = running.update(some);
      ASSERT_FALSE(refused.ok());
      EXPECT_NE(refused.error().message.find("parameters did not arrive: \"model.embed_tokens.weight\""),
                std::string::npos)
          << refused.error().message;
      EXPECT_EQ(running.logits(), before);
      running.options.partial = true;
      const auto done = running.update(some, 1000);
      ASSERT_TRUE(done.ok()) << done.error().message;
      EXPECT_GT(done->kept, 0u);
      EXPECT_EQ(running.logits(), fresh_logits(folder, settings));
    }
  }
}

class BrokenUpdate : public ::testing::Test {
 protected:
  // What the update says of tensors that `change` has changed, and that the old weights serve on.
  std::string refusal(const char* scheme, const std::function<void(std::vector<BuiltTensor>&)>& change,
                      bool partial = false, const test::TinyDecoder& shape = {}) {
    const fs::path folder = test::tiny_decoder(shape).write(dir_ / fmt::format("m{}", number_++));
    Updatable running(folder, settings_of(scheme, model::ActivationMode::kBF16, model::HeadMode::kStored));
    running.options.partial = partial;
    const std::vector<float> before = running.logits();
    test::TinyDecoder other = shape;
    other.seed = 2;
    auto tensors = test::tiny_decoder(other).tensors();
    change(tensors);
    const auto done = running.update(tensors);
    EXPECT_EQ(running.logits(), before);
    return done.ok() ? "accepted" : done.error().message;
  }
  static BuiltTensor& at(std::vector<BuiltTensor>& tensors, std::string_view name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const BuiltTensor& t) { return t.name == name; });
  }
  static void put(BuiltTensor& tensor, std::size_t element, std::uint16_t bits) {
    std::memcpy(tensor.bytes.data() + 2 * element, &bits, 2);
  }
  TempDir dir_;
  int number_ = 0;
};

constexpr const char* kQ = "model.layers.1.self_attn.q_proj.weight";
constexpr const char* kNorm = "model.layers.0.input_layernorm.weight";

TEST_F(BrokenUpdate, IsRefusedInOneSentence) {
  EXPECT_EQ(refusal("fp8",
                    [](auto& t) {
                      at(t, kQ).name = "model.layers.1.self_attn.w_q.weight";
                      at(t, kNorm).name = "model.layers.0.n.weight";
                    }),
            "2 tensors are not of this model: \"model.layers.0.n.weight\", \"model.layers.1.self_attn.w_q.weight\"");
  EXPECT_EQ(refusal("fp8", [](auto& t) { std::erase_if(t, [](const auto& x) { return x.name == kQ; }); }),
            "1 of 25 parameters did not arrive: \"model.layers.1.self_attn.q_proj.weight\"");
  EXPECT_EQ(refusal("fp8", [](auto& t) { t.clear(); }), "no tensor has arrived");
  EXPECT_EQ(refusal("fp8", [](auto& t) { t.push_back(at(t, kQ)); }),
            "tensor \"model.layers.1.self_attn.q_proj.weight\": bytes from 0 on arrive twice");
  EXPECT_EQ(
      refusal("fp8",
              [](auto& t) {
                at(t, kQ).shape = {64, 256};
              }),
      "tensor \"model.layers.1.self_attn.q_proj.weight\": arrives with shape [64, 256], but the running model has "
      "[128, 128]");
  EXPECT_EQ(refusal("fp8",
                    [](auto& t) {
                      at(t, kNorm).shape = {64, 2};
                    }),
            "tensor \"model.layers.0.input_layernorm.weight\": arrives with shape [64, 2], but the running model has "
            "[128]");
}

TEST_F(BrokenUpdate, ValuesThatAreNotFinite) {
  for (const char* scheme : kSchemes) {
    SCOPED_TRACE(scheme);
    EXPECT_EQ(refusal(scheme, [](auto& t) { put(at(t, kQ), 3 * 128 + 5, 0x7FC0); }),
              "tensor \"model.layers.1.self_attn.q_proj.weight\": NaN at [3, 5]; the weights that serve are kept");
    EXPECT_EQ(refusal(scheme, [](auto& t) { put(at(t, "lm_head.weight"), 128, 0xFF80); }),
              "tensor \"lm_head.weight\": infinity at [1, 0]; the weights that serve are kept");
    EXPECT_EQ(
        refusal(scheme, [](auto& t) { put(at(t, kNorm), 9, 0x7F80); }),
        "tensor \"model.layers.0.input_layernorm.weight\": holds inf at index 9; the weights that serve are kept");
  }
}

TEST_F(BrokenUpdate, DTypes) {
  EXPECT_EQ(
      refusal("",
              [](auto& t) {
                at(t, kQ).dtype = DType::kF8E4M3;
                at(t, kQ).bytes.resize(128 * 128);
              }),
      "tensor \"model.layers.1.self_attn.q_proj.weight\": arrives in F8_E4M3, but the running model does not have "
      "it in FP8 but in BF16");
  EXPECT_EQ(refusal("fp8_block", [](auto& t) { at(t, kQ).dtype = DType::kI16; }),
            "tensor \"model.layers.1.self_attn.q_proj.weight\": arrives in I16; BF16, F16 and F32 are taken, and FP8 "
            "codes with their scales");
  const auto codes = [](auto& t) {
    at(t, kQ).dtype = DType::kF8E4M3;
    at(t, kQ).bytes.assign(128 * 128, std::byte{0x30});
  };
  EXPECT_EQ(refusal("fp8_block", codes),
            "1 of 25 parameters did not arrive: \"model.layers.1.self_attn.q_proj.weight_scale_inv\"");
  EXPECT_EQ(refusal("fp8_block", codes, /*partial=*/true),
            "the codes \"model.layers.1.self_attn.q_proj.weight\" arrived without their scales "
            "\"model.layers.1.self_attn.q_proj.weight_scale_inv\"");
  const auto scaled = [&](float scale) {
    return [=](auto& t) {
      codes(t);
      t.push_back({std::string(kQ) + "_scale_inv", DType::kF32, {1, 1}, test::bytes_of(std::vector<float>{scale}), 0});
    };
  };
  EXPECT_EQ(
      refusal("fp8_block", scaled(-1)),
      "tensor \"model.layers.1.self_attn.q_proj.weight_scale_inv\": holds -1 at index 0; a scale must be positive "
      "and finite; the weights that serve are kept");
  EXPECT_EQ(refusal("fp8_block",
                    [&](auto& t) {
                      scaled(1)(t);
                      at(t, kQ).bytes[7] = std::byte{0xFF};
                    }),
            "tensor \"model.layers.1.self_attn.q_proj.weight\": NaN at [0, 7]; the weights that serve are kept");
  EXPECT_EQ(refusal("fp8", scaled(1)),
            "\"model.layers.1.self_attn.q_proj.weight\", \"model.layers.1.self_attn.k_proj.weight\", "
            "\"model.layers.1.self_attn.v_proj.weight\" share one scale: send all of them as values, or all as codes");
}

TEST_F(BrokenUpdate, HalvesOfWhatBelongsTogether) {
  const auto only = [](std::string_view name) {
    return [=](auto& t) { std::erase_if(t, [&](const auto& x) { return x.name != name; }); };
  };
  EXPECT_EQ(refusal("fp8", only(kQ), /*partial=*/true),
            "\"model.layers.1.self_attn.q_proj.weight\", \"model.layers.1.self_attn.k_proj.weight\", "
            "\"model.layers.1.self_attn.v_proj.weight\" share one scale: send all of them as values, or all as codes");
  const test::TinyDecoder biased{.model_type = "qwen2"};
  EXPECT_EQ(refusal("fp8_block", only(kQ), true, biased),
            "\"model.layers.1.self_attn.q_proj.weight\" arrived without \"model.layers.1.self_attn.q_proj.bias\"; a "
            "linear's weight and bias are updated together");
  EXPECT_EQ(refusal("fp8_block", only("model.layers.1.self_attn.q_proj.bias"), true, biased),
            "\"model.layers.1.self_attn.q_proj.bias\" arrived without \"model.layers.1.self_attn.q_proj.weight\"; a "
            "linear's weight and bias are updated together");
}

// transformers' state_dict() of a tied model has the head too.
TEST_F(BrokenUpdate, ATiedHead) {
  const test::TinyDecoder tied{.tied = true};
  const auto with_head = [](int change) {
    return [=](auto& t) {
      BuiltTensor head = at(t, "model.embed_tokens.weight");
      head.name = "lm_head.weight";
      head.bytes[1000] ^= std::byte(change);
      t.insert(t.begin() + 3, head);
    };
  };
  EXPECT_EQ(refusal("fp8", with_head(1), false, tied),
            "\"lm_head.weight\" differs from \"model.embed_tokens.weight\", but the running model has one weight for "
            "both (tie_word_embeddings)");
  Updatable running(test::tiny_decoder(tied).write(dir_ / "tied"),
                    settings_of("fp8", model::ActivationMode::kBF16, model::HeadMode::kFp8));
  test::TinyDecoder other = tied;
  other.seed = 2;
  const auto sent = test::tiny_decoder(other);
  auto tensors = sent.tensors();
  with_head(0)(tensors);
  const auto done = running.update(tensors, 7777, 3);
  ASSERT_TRUE(done.ok()) << done.error().message;
  EXPECT_EQ(running.logits(), fresh_logits(sent.write(dir_ / "new"),
                                           settings_of("fp8", model::ActivationMode::kBF16, model::HeadMode::kFp8)));
}

TEST_F(BrokenUpdate, MoreThanMayBeHeld) {
  Updatable running(test::tiny_decoder({}).write(dir_ / "m"),
                    settings_of("fp8", model::ActivationMode::kBF16, model::HeadMode::kStored));
  running.options.max_held_bytes = 192 * 128 * 2 - 1;  // gate or up, or two of q, k and v, the third not being held
  const auto sent = test::tiny_decoder({.seed = 2});
  std::vector<BuiltTensor> tensors = sent.tensors();
  const auto in_order = running.update(tensors);
  ASSERT_FALSE(in_order.ok()) << "gate does not fit";
  EXPECT_NE(in_order.error().message.find("those that share a scale (q/k/v, gate/up) together"), std::string::npos);
  ++running.options.max_held_bytes;
  EXPECT_TRUE(running.update(tensors).ok());
  std::reverse(tensors.begin(), tensors.end());
  EXPECT_TRUE(running.update(tensors).ok());
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return a.name.substr(a.name.size() - 12) < b.name.substr(b.name.size() - 12);  // by kind: all k, then all q, ...
  });
  EXPECT_FALSE(running.update(tensors).ok());
}

// Scales of an FP8 cache: required where the checkpoint has them, taken where it has none.
TEST(WeightUpdate, CacheScales) {
  TempDir dir;
  for (const bool had : {false, true}) {
    test::CheckpointBuilder old_builder = test::tiny_decoder({.seed = 1}), sent = test::tiny_decoder({.seed = 2});
    const auto add = [](test::CheckpointBuilder& to, float scale) {
      for (int layer = 0; layer < 2; ++layer) {
        for (const char* kind : {"k", "v"}) {
          to.add_f32(fmt::format("model.layers.{}.self_attn.{}_scale", layer, kind), {},
                     std::vector<float>{scale * static_cast<float>(layer + 1)});
        }
      }
    };
    if (had) add(old_builder, 0.01f);
    const auto without = sent.tensors();
    add(sent, 0.02f);
    RunSettings settings = settings_of("fp8", model::ActivationMode::kBF16, model::HeadMode::kStored);
    settings.kv = backend::KvDType::kFp8E4M3;
    Updatable running(old_builder.write(dir / fmt::format("old{}", had)), settings);
    EXPECT_EQ(running.update(without).ok(), !had);
    const auto done = running.update(sent.tensors(), 100);
    ASSERT_TRUE(done.ok()) << done.error().message;
    EXPECT_TRUE(done->cache_scales);
    EXPECT_EQ(running.model->loaded().weights.k_scales, (std::vector<float>{0.02f, 0.04f}));
    ASSERT_TRUE(running.model->renew_cache().ok());
    EXPECT_EQ(running.logits(), fresh_logits(sent.write(dir / fmt::format("new{}", had)), settings));
    EXPECT_FALSE(running.update(sent.tensors())->cache_scales);
  }
}

}  // namespace
}  // namespace octavo::rollout
