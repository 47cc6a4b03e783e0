// A safetensors file as it arrives: header first, then every tensor's bytes as they come. Never held as a whole.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "octavo/base/status.h"
#include "octavo/rollout/tensor_info.h"

namespace octavo::rollout {

// Who takes the tensors: a WeightUpdate, or the manager's transaction.
struct TensorReceiver {
  std::function<Result<std::vector<std::size_t>>(std::span<const TensorInfo>)> declare_all;
  std::function<Status(std::size_t id, std::uint64_t offset, std::span<const std::byte>)> write;
};

// One thread. Memory: the header (at most the format's limit, and never more than arrived) and kGather bytes.
class SafetensorsStream {
 public:
  static constexpr std::size_t kGather = 8ull
                                         << 20;  // of a tensor that are handed on at once: work for several threads

  // `origin` names the sender in messages.
  SafetensorsStream(TensorReceiver receiver, std::string origin);
  // The next bytes, any number of them.
  Status push(std::span<const std::byte> bytes);
  // After the last: a failure where the file is not complete.
  Status finish();

 private:
  struct Part {
    std::size_t id = 0;
    std::uint64_t begin = 0, end = 0;  // in the data
  };
  Status read_header();
  Status flush();

  const TensorReceiver receiver_;
  const std::string origin_;
  std::vector<std::byte> head_;  // length and header, until they are whole
  bool in_data_ = false;
  std::vector<Part> parts_;  // in data order, without those that have no bytes
  std::size_t part_ = 0;
  std::uint64_t at_ = 0, data_bytes_ = 0;  // of the data: handed on or gathered
  std::vector<std::byte> gathered_;        // the end of what came of parts_[part_]
};

// Every tensor of a safetensors file (also one in shared memory), or of a model folder as Checkpoint opens it.
Status send_path(const std::string& path, const TensorReceiver& receiver);

}  // namespace octavo::rollout
