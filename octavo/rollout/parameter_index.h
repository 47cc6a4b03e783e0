// Names of tensors that trainers send, to the parameters of a running model: as the checkpoint has them, fused
// (qkv_proj, gate_up_proj), with what wrappers put before them ("module.", "_orig_mod.", ...), scales in either
// spelling.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "octavo/model/parameters.h"
#include "octavo/rollout/tensor_info.h"

namespace octavo::rollout {

// What a tensor, or some rows of it, is to the model.
struct Destination {
  enum class Kind : std::uint8_t {
    kWeight,      // Parameters::linears[index], values or codes: [n, k]
    kScale,       // of codes: [scale_rows, scale_cols], or as few numbers as there are
    kBias,        // [n]
    kInputScale,  // of static activations: one number
    kVector,      // Parameters::vectors[index]: [size]
    kKScale,      // of layer `index`: one number
    kVScale,
    kTiedHead,  // the head of a model that has none of its own: must be the embedding
    kNothing,   // computed or not used here: rotary_emb.inv_freq, q_scale
  };
  Kind kind = Kind::kNothing;
  std::size_t index = 0;
  std::uint64_t row_begin = 0, row_end = 0;  // of the tensor that arrives; a vector's elements are its rows

  friend bool operator==(const Destination&, const Destination&) = default;
};

class ParameterIndex {
 public:
  explicit ParameterIndex(const model::Parameters& parameters);

  // The name as the checkpoint would have it: without wrappers' prefixes.
  static std::string canonical(std::string_view name);
  // Where a tensor of this canonical name goes: several for a fused one, and for an embedding with an FP8 head. Empty:
  // unknown. Its shape is not looked at.
  std::vector<Destination> find(const std::string& name) const;
  // The closest of the names that the checkpoint has, for a message; "" where none is close.
  std::string suggestion(const std::string& name) const;

 private:
  void add(const std::string& name, Destination::Kind kind, std::size_t index, std::uint64_t rows);
  void add_fused();

  std::unordered_map<std::string, std::vector<Destination>> by_name_;
  std::vector<std::string> names_;
};

}  // namespace octavo::rollout
