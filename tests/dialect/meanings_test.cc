// What every sample means, and the sides of each language that a sample cannot show.
#include "octavo/dialect/vllm.h"
#include "tests/dialect/dialect_support.h"

namespace octavo::dialect {
namespace {

// All of an offline meaning is in its command line.
TEST(Meanings, OfflineSamples) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"angelslim/qwen3-8b_fp8_dynamic.yaml",
       "octavo quantize Qwen/Qwen3-8B -o output/qwen3-8b_fp8_dynamic --scheme tensor --format compressed-tensors "
       "--ignore lm_head --ignore '*model.embed_tokens*' --ignore '*mlp.down_proj*'"},
      {"angelslim/hunyuan_channel.yaml",
       "octavo quantize tencent/Hunyuan-7B-Instruct -o /data/out/hunyuan_channel --scheme dynamic --format "
       "compressed-tensors --ignore lm_head"},
      {"angelslim/qwen3_5-9b_fp8_blockwise.yaml",
       "octavo quantize Qwen/Qwen3.5-9B -o output/qwen3_5-9b_fp8_blockwise --scheme block --format fp8"},
      {"llm_compressor/recipe_fp8_dynamic.yaml",
       "octavo quantize MODEL -o OUT --scheme dynamic --format compressed-tensors --ignore lm_head --ignore "
       "'re:vision_tower.*' --ignore 're:.*multi_modal_projector.*' --ignore 're:.*visual.*' --ignore "
       "'re:.*mlp.gate$'"},
      {"llm_compressor/recipe_fp8_block.yaml",
       "octavo quantize MODEL -o OUT --scheme block --format compressed-tensors --ignore 're:.*lm_head' --ignore "
       "'re:(?!.*\\.weight$)(?:.*self_attn\\..*)' --ignore 're:.*\\.layers\\.(0|1)\\.mlp.*'"},
      {"llm_compressor/recipe_two_groups.yaml",
       "octavo quantize MODEL -o OUT --scheme block --format compressed-tensors --block-size 64x128 --ignore lm_head "
       "--only 're:.*self_attn\\.(q|k|v|o)_proj$' --only model.layers.3.mlp.down_proj"},
      {"llm_compressor/recipe_weight_only.yaml",
       "octavo quantize MODEL -o OUT --scheme weight-only --format compressed-tensors --ignore lm_head"},
      {"llm_compressor/recipe_mxfp8.yaml",
       "octavo quantize MODEL -o OUT --scheme mxfp8 --format compressed-tensors --ignore lm_head"},
  };
  for (const auto& [name, command] : rows) {
    const Config config = read_sample(name);
    ASSERT_EQ(config.meanings.size(), 1u) << all_errors(config);
    EXPECT_EQ(command_line(config.meanings.front()), command);
  }
}

TEST(Meanings, RollWorkers) {
  const Config config = read_sample("roll/rlvr_fp8_judge.yaml");
  ASSERT_EQ(config.meanings.size(), 2u) << all_errors(config);
  EXPECT_EQ(config.language, Language::kRoll);
  const Meaning &actor = config.meanings[0], &judge = config.meanings[1];
  EXPECT_EQ(actor.worker, "actor_infer");
  EXPECT_EQ(actor.model, "Qwen/Qwen2.5-7B");
  EXPECT_EQ(actor.online_name, "fp8");
  EXPECT_EQ(actor.spec->scheme.name, "tensor");
  EXPECT_EQ(judge.worker, "rewards.llm_judge");
  EXPECT_EQ(judge.model, "Qwen/Qwen2.5-7B-Instruct");  // through ${reward_pretrain}
  EXPECT_EQ(judge.kv_cache_dtype, "fp8");

  const Config block = read_sample("roll/agentic_fp8_block.yaml");
  ASSERT_EQ(block.meanings.size(), 1u) << all_errors(block);
  EXPECT_EQ(block.meanings[0].online_name, "fp8_block");
  EXPECT_EQ(block.meanings[0].spec->ignore, std::vector<std::string>{"model.layers.0.mlp.gate"});
}

TEST(Meanings, RollExpertsNeedBlocks) {
  std::string text = sample_text("roll/agentic_fp8_block.yaml");
  text.replace(text.find("          weight_block_size: [128, 128]\n"), 40, "");
  Config config = read_config(text, "f.yaml");
  ASSERT_EQ(config.warnings.size(), 1u) << all_errors(config);  // a hub name that sounds like experts
  EXPECT_NE(config.warnings[0].find("mixture of experts, going by its name, needs the block form"), std::string::npos);

  const test::TempDir dir;  // a folder whose config.json has experts
  test::write_file(dir / "m/config.json", R"({"num_experts": 128})");
  const std::string model = (dir / "m").string();
  text.replace(text.find("Qwen/Qwen3-30B-A3B"), 18, model);
  test::write_file(dir / "f.yaml", text);
  const auto loaded = load_config(dir / "f.yaml");
  ASSERT_TRUE(loaded.ok());
  ASSERT_EQ(loaded->errors.size(), 1u);
  EXPECT_NE(loaded->errors[0].find("f.yaml:9:7: actor_infer.strategy_args.strategy_config.quantization: " + model +
                                   " is a mixture of experts, which needs the block form"),
            std::string::npos)
      << loaded->errors[0];
  EXPECT_TRUE(loaded->meanings.empty());
}

TEST(Meanings, NemoRl) {
  const Config config = read_sample("nemo_rl/grpo_llama3.1-8b_fp8.yaml");
  ASSERT_EQ(config.meanings.size(), 1u) << all_errors(config);
  const Meaning& m = config.meanings[0];
  EXPECT_EQ(m.model, "meta-llama/Llama-3.1-8B-Instruct");
  EXPECT_EQ(m.online_name, "fp8_block");
  EXPECT_EQ(m.spec->keep_first, 1u);
  EXPECT_EQ(m.spec->keep_last, 3u);
  EXPECT_TRUE(m.spec->pow2_scales);
  EXPECT_EQ(m.spec->ignore, (std::vector<std::string>{"*linear_attn.conv1d*", "*in_proj_a*"}));
  EXPECT_EQ(m.kv_cache_dtype, "fp8");
  ASSERT_EQ(config.warnings.size(), 1u);
  EXPECT_EQ(config.warnings[0],
            "defaults: ../../grpo_math_1B.yaml is not read; keys that only it sets are not seen here");
}

TEST(Meanings, NemoRlParents) {
  const test::TempDir dir;
  test::write_file(dir / "base.yaml",
                   "policy:\n  model_name: base\n  precision: bfloat16\n  generation:\n    vllm_cfg:\n      precision: "
                   "${policy.precision}\n      num_last_layers_in_bf16: 2\nloss_fn:\n  "
                   "use_importance_sampling_correction: true\n");
  test::write_file(dir / "recipes/fp8.yaml",
                   "defaults: ../base.yaml\npolicy: {generation: {vllm_cfg: {precision: fp8}}}\n");
  test::write_file(dir / "recipes/leaf.yaml", "defaults: [fp8.yaml]\npolicy: {model_name: leaf}\n");
  const auto config = load_config(dir / "recipes/leaf.yaml");
  ASSERT_TRUE(config.ok());
  ASSERT_EQ(config->meanings.size(), 1u) << all_errors(*config);
  const Meaning& m = config->meanings[0];
  EXPECT_EQ(m.model, "leaf");
  EXPECT_EQ(m.online_name, "fp8_block");
  EXPECT_EQ(m.spec->keep_last, 2u);
  EXPECT_TRUE(config->warnings.empty());
  EXPECT_EQ(m.said.at("keep-last"),
            (dir / "base.yaml").string() + ":7:7: policy.generation.vllm_cfg.num_last_layers_in_bf16");

  // A mistake in a parent is shown there; a parent that is not there is warned of; a circle ends.
  test::write_file(dir / "base.yaml", "policy: {generation: {vllm_cfg: {num_lst_layers_in_bf16: 2}}}\n");
  const auto wrong = load_config(dir / "recipes/leaf.yaml");
  ASSERT_EQ(wrong->errors.size(), 1u) << all_errors(*wrong);
  EXPECT_EQ(wrong->errors[0], (dir / "base.yaml").string() +
                                  ":1:34: policy.generation.vllm_cfg.num_lst_layers_in_bf16: unknown key; did you mean "
                                  "num_last_layers_in_bf16?");
  test::write_file(dir / "recipes/leaf.yaml", "defaults: none.yaml\npolicy: {model_name: leaf}\n");
  const auto alone = load_config(dir / "recipes/leaf.yaml");
  ASSERT_EQ(alone->warnings.size(), 1u) << all_errors(*alone);
  EXPECT_NE(alone->warnings[0].find("defaults: none.yaml is not read"), std::string::npos);
  test::write_file(dir / "recipes/leaf.yaml", "defaults: leaf.yaml\npolicy: {model_name: leaf}\n");
  const auto circle = load_config(dir / "recipes/leaf.yaml");
  ASSERT_EQ(circle->errors.size(), 1u);
  EXPECT_NE(circle->errors[0].find("has more than 15 parents, or is one of its own"), std::string::npos);
}

TEST(Meanings, NemoRlWarns) {
  const Config config = read_sample("nemo_rl/grpo_old_names.yaml");
  ASSERT_EQ(config.warnings.size(), 3u) << all_errors(config);
  EXPECT_NE(config.warnings[0].find("use_weight_pow2_scale is read as pow2_weight_scaling_factors"), std::string::npos);
  EXPECT_NE(config.warnings[2].find("use_importance_sampling_correction is false"), std::string::npos);
  // Without FP8 there is nothing to correct, nor to quantize.
  std::string text = sample_text("nemo_rl/grpo_old_names.yaml");
  text.replace(text.find("precision: fp8"), 14, "precision: bfloat16");
  const Config bf16 = read_config(text, "f.yaml");
  ASSERT_EQ(bf16.meanings.size(), 1u) << all_errors(bf16);
  EXPECT_FALSE(bf16.meanings[0].spec);
  for (const std::string& warning : bf16.warnings) EXPECT_EQ(warning.find("correction"), std::string::npos);
}

TEST(Meanings, LlmCompressorQuantizesTheHeadUnlessIgnored) {
  const std::string recipe =
      "quant_stage: {quant_modifiers: {QuantizationModifier: {scheme: FP8_DYNAMIC, targets: T}}}";
  const auto with = [&](const std::string& targets) {
    std::string text = recipe;
    text.replace(text.find(" T}") + 1, 1, targets);
    return read_config(text, "f.yaml");
  };
  const Config all = with("Linear");
  ASSERT_EQ(all.meanings.size(), 1u) << all_errors(all);
  EXPECT_TRUE(all.meanings[0].spec->lm_head);
  EXPECT_EQ(all.warnings.size(), 1u);
  EXPECT_TRUE(with("['re:.*']").meanings.at(0).spec->lm_head);
  EXPECT_FALSE(with("['re:.*_proj$']").meanings.at(0).spec->lm_head);
  EXPECT_FALSE(with("Linear, ignore: ['re:.*lm_head']").meanings.at(0).spec->lm_head);
  EXPECT_TRUE(with("Linear, ignore: ['re:.*gate$']").meanings.at(0).spec->lm_head);
}

TEST(Meanings, VllmSamples) {
  const Config serve = read_sample("vllm/serve.yaml");
  ASSERT_EQ(serve.meanings.size(), 1u) << all_errors(serve);
  EXPECT_EQ(serve.meanings[0].model, "Qwen/Qwen3-8B");
  EXPECT_EQ(serve.meanings[0].online_name, "fp8_per_block");
  EXPECT_EQ(serve.meanings[0].kv_cache_dtype, "fp8");
  const Config online = read_sample("vllm/serve_online.yaml");
  ASSERT_EQ(online.meanings.size(), 1u) << all_errors(online);
  EXPECT_EQ(online.meanings[0].spec->scheme.name, "dynamic");
  EXPECT_EQ(online.meanings[0].spec->ignore,
            (std::vector<std::string>{"re:.*[qkv]_proj", "model.layers.1.self_attn.o_proj", "*.layers.0.*"}));
  const Config targets = read_sample("vllm/targets.yaml");
  ASSERT_EQ(targets.meanings.size(), 1u) << all_errors(targets);
  EXPECT_EQ(targets.meanings[0].spec->scheme.name, "block");
  EXPECT_EQ(targets.meanings[0].spec->only,
            (std::vector<std::string>{"*.mlp.*", "re:.*self_attn\\.o_proj$", "model.layers.2.self_attn.q_proj"}));
}

TEST(Meanings, VllmPartsOfAModel) {
  const auto read = [](const char* json, const char* name = "") {
    return read_quantization_config(json, name, "--quantization-config");
  };
  const Config linear = read(R"({"linear":"fp8_per_block"})");
  ASSERT_EQ(linear.meanings.size(), 1u) << all_errors(linear);
  EXPECT_EQ(linear.meanings[0].spec->ignore, std::vector<std::string>{"*.experts.*"});  // moe is not said: as it is
  const Config moe = read(R"({"moe":{"weight":"fp8_per_tensor_static"}})");
  EXPECT_EQ(moe.meanings.at(0).spec->only, std::vector<std::string>{"*.experts.*"});
  EXPECT_EQ(moe.meanings.at(0).spec->scheme.name, "tensor");
  // --quantization says both, the object adds to it.
  const Config both = read(R"({"ignore":["a.b"]})", "fp8_per_channel");
  EXPECT_EQ(both.meanings.at(0).spec->scheme.name, "dynamic");
  EXPECT_EQ(both.meanings.at(0).spec->ignore, std::vector<std::string>{"a.b"});
  EXPECT_TRUE(both.meanings.at(0).spec->only.empty());
  EXPECT_EQ(read("{}").errors.at(0),
            "--quantization-config:1:1: linear: nothing says a scheme: linear, moe or targets, such as linear: "
            "fp8_per_block");
  EXPECT_EQ(read(R"({"linear":"fp8_per_blok"})").errors.at(0).substr(0, 47),
            "--quantization-config:1:11: linear: fp8_per_blo");
  EXPECT_EQ(read("{}", "awq").errors.at(0),
            "--quantization: awq is how a folder is quantized already, and is seen from the folder; leave it out");
}

TEST(Meanings, OnlineNames) {
  EXPECT_EQ(online_spec("fp8_per_block")->scheme.name, "block");
  EXPECT_EQ(online_spec("fp8")->scheme.name, "tensor");
  EXPECT_EQ(online_spec("mxfp4").error().message,
            "--quantization mxfp4 is not FP8, which is all that is done here; use vLLM");
  EXPECT_NE(online_spec("fp8_blok").error().message.find("did you mean fp8_block?"), std::string::npos);
}

}  // namespace
}  // namespace octavo::dialect
