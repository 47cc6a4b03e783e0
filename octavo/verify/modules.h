// The modules of a checkpoint as names and config describe them: which are linears, which the config quantizes or
// ignores, which ones loaders fuse. Knows no architecture: an unknown name is a linear without a group.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/quantization.h"

namespace octavo::verify {

enum class Role : std::uint8_t {
  kLinear,
  kHead,    // the output head: engines build it as another class than linears
  kRouter,  // chooses among the experts of the same layer; engines build it unquantized
  kEmbedding,
  kOther,  // norms and weights that are not 2-D
};

struct Module {
  std::string name;  // the tensor's without ".weight"
  const CheckpointTensor* weight = nullptr;
  const CheckpointTensor* scale = nullptr;  // under the dialect's name; nullptr: absent
  // What the shape of `scale` says: experts, rows, columns and the grid. Its `scale` is null where the shape fits
  // nothing.
  QuantizedWeight grid;
  Role role = Role::kLinear;
  bool fp8 = false;                  // the weight's dtype is one of FP8
  bool expert = false;               // one of the numbered experts of a layer
  std::optional<std::size_t> group;  // QuantizationInfo::groups that targets it
  bool targeted_by_name = false;     // not only as a "Linear"
  bool ignored = false;              // by a rule that some loader has: SGLang's, the widest, in the fp8 dialect
  bool ignored_exactly = false;      // by its whole name or a "re:" pattern, as vLLM does it

  std::string_view leaf() const;  // "q_proj"
  // Of one expert, as stored; the weight has at least two dimensions.
  std::uint64_t rows() const { return weight->shape[weight->shape.size() - 2]; }
  std::uint64_t columns() const { return weight->shape.back(); }
  bool quantized() const { return fp8 && (weight->shape.size() == 2 || joined_experts()); }
  bool joined_experts() const { return weight->shape.size() == 3; }  // all experts of a layer in one tensor
};

// "qkv_proj" of "model.layers.0.self_attn.qkv_proj".
std::string_view last_component(std::string_view name);

// Modules that a loader puts into one parameter.
struct FusedGroup {
  std::string name;                  // "model.layers.0.self_attn.qkv_proj"
  std::vector<std::size_t> members;  // indexes into Subject::modules, in the order in which they are joined
};

// The numbered experts of one layer: loaders quantize all of them or none.
struct ExpertBlock {
  std::string name;  // "model.layers.0.mlp.experts"
  std::vector<std::size_t> members;
};

struct Subject {
  const Checkpoint* checkpoint = nullptr;
  QuantizationInfo info;
  const Json* config = nullptr;  // what `info` was read from
  std::string model_type;        // "" when absent
  bool tied = false;             // tie_word_embeddings is true
  bool inverse_names = false;    // mxfp8: scales are named weight_scale_inv
  std::vector<Module> modules;   // of every "*.weight" with two dimensions and every FP8 weight, in the file's order
  std::vector<FusedGroup> fused;
  std::vector<FusedGroup> unjoinable;  // parts that loaders fuse, but whose columns differ
  std::vector<ExpertBlock> experts;
  std::vector<std::string> idle_entries;  // exact targets and ignore entries under which no tensor stands

  bool has_ignore_list() const;
  const QuantizationGroup& group_of(const Module& module) const;  // the first where none targets it
  // What the dialect appends to the weight's name: "_scale_inv" for fp8 blocks, else "_scale"; in mxfp8 whichever is
  // there.
  std::string_view scale_suffix() const;
  // The name of the module's scale, or of its input's, in this dialect.
  std::string scale_name(const Module& module) const;
  std::string input_scale_name(const Module& module) const;
  // fp8, mxfp8, fbgemm_fp8: whole names in the ignore list, one scheme for all.
  bool has_plain_names() const;
};

// An error when a "re:" pattern is malformed or needs too much effort. Both references must outlive the Subject.
Result<Subject> describe_subject(const Checkpoint& checkpoint, const QuantizationInfo& info);

}  // namespace octavo::verify
