// All names a tensor may come under, made once.
#include "octavo/rollout/parameter_index.h"

#include <algorithm>
#include <array>
#include <optional>

#include "octavo/base/text.h"

namespace octavo::rollout {
namespace {

using Kind = Destination::Kind;

constexpr std::string_view kWeight = ".weight";

struct Fused {
  std::string_view name;
  std::array<std::string_view, 3> parts;  // in the order of their rows; "" where there are two
};
constexpr std::array<Fused, 2> kFused{{
    {"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
    {"gate_up_proj", {"gate_proj", "up_proj", ""}},
}};

// "a.b.weight" -> "a.b"
std::string module_of(std::string_view name) {
  return std::string(name.ends_with(kWeight) ? name.substr(0, name.size() - kWeight.size()) : name);
}

}  // namespace

std::string ParameterIndex::canonical(std::string_view name) {
  std::string out(name);
  for (const std::string_view wrapper : {"_fsdp_wrapped_module.", "_orig_mod.", "_checkpoint_wrapped_module."}) {
    for (std::size_t at = out.find(wrapper); at != std::string::npos; at = out.find(wrapper)) {
      out.erase(at, wrapper.size());
    }
  }
  while (out.starts_with("module.")) out.erase(0, std::string_view("module.").size());
  return out;
}

ParameterIndex::ParameterIndex(const model::Parameters& parameters) {
  for (std::size_t i = 0; i < parameters.linears.size(); ++i) {
    const model::LinearParameter& p = parameters.linears[i];
    add(p.name, Kind::kWeight, i, p.spec.n);
    if (!p.bias.empty()) add(p.bias, Kind::kBias, i, p.spec.n);
    if (!is_fp8(p.spec.dtype) || p.made_fp8) continue;
    for (const char* suffix : {"_scale", "_scale_inv"}) add(p.name + suffix, Kind::kScale, i, p.spec.scale_rows());
    for (const char* suffix : {".input_scale", ".activation_scale"}) {
      add(module_of(p.name) + suffix, Kind::kInputScale, i, 1);
    }
  }
  for (std::size_t i = 0; i < parameters.vectors.size(); ++i) {
    add(parameters.vectors[i].name, Kind::kVector, i, parameters.vectors[i].size);
  }
  for (std::size_t layer = 0; layer < parameters.k_scales.size(); ++layer) {
    // Beside the projection, one level up, or as NeMo-RL sends them: "self_attn.attn.k_scale".
    const std::string& k = parameters.attention[layer];
    for (const char* at : {"k_proj.k_scale", "k_scale", "attn.k_scale"}) add(k + at, Kind::kKScale, layer, 1);
    for (const char* at : {"v_proj.v_scale", "v_scale", "attn.v_scale"}) add(k + at, Kind::kVScale, layer, 1);
    for (const char* at : {"q_scale", "attn.q_scale", "rotary_emb.inv_freq"}) add(k + at, Kind::kNothing, layer, 1);
  }
  add("model.rotary_emb.inv_freq", Kind::kNothing, 0, 1);
  if (parameters.tied) add(parameters.head, Kind::kTiedHead, 0, 0);
  add_fused();
}

void ParameterIndex::add(const std::string& name, Kind kind, std::size_t index, std::uint64_t rows) {
  by_name_[name].push_back({kind, index, 0, rows});
  if (kind == Kind::kWeight || kind == Kind::kVector || kind == Kind::kBias) names_.push_back(name);
}

// The parts' rows one after the other, of weights, biases and scales alike.
void ParameterIndex::add_fused() {
  std::vector<std::pair<std::string, std::vector<Destination>>> made;
  for (const auto& [name, first] : by_name_) {
    for (const Fused& fused : kFused) {
      const std::string part = fmt::format(".{}.", fused.parts[0]);
      const std::size_t at = name.rfind(part);
      if (at == std::string::npos || first.size() != 1 || first[0].kind > Kind::kInputScale) continue;
      const std::string before = name.substr(0, at + 1), after = name.substr(at + part.size() - 1);
      std::vector<Destination> all;
      std::uint64_t row = 0;
      for (const std::string_view piece : fused.parts) {
        if (piece.empty()) continue;
        const auto found = by_name_.find(fmt::format("{}{}{}", before, piece, after));
        if (found == by_name_.end() || found->second.size() != 1) break;
        Destination d = found->second[0];
        const std::uint64_t rows = d.row_end;
        d.row_begin = row;
        d.row_end = row += rows;
        all.push_back(d);
      }
      if (all.size() == (fused.parts[2].empty() ? 2u : 3u)) {
        made.emplace_back(fmt::format("{}{}{}", before, fused.name, after), std::move(all));
      }
    }
  }
  for (auto& [name, all] : made) by_name_.emplace(name, std::move(all));
}

std::vector<Destination> ParameterIndex::find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? std::vector<Destination>() : found->second;
}

std::string ParameterIndex::suggestion(const std::string& name) const { return did_you_mean(name, names_, 3); }

}  // namespace octavo::rollout
