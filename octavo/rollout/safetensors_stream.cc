// The container's rules are those of checkpoint/safetensors.h; here is only when which bytes are there.
#include "octavo/rollout/safetensors_stream.h"

#include <algorithm>
#include <cstring>

#include "octavo/checkpoint/checkpoint.h"
#include "octavo/checkpoint/safetensors.h"

namespace octavo::rollout {
namespace {

constexpr std::size_t kLengthBytes = 8;

// Where the last tensor ends, as the header says it. What else is wrong with the header the parser says.
std::uint64_t data_end(const Json& header) {
  std::uint64_t end = 0;
  if (!header.is_object()) return 0;
  for (const auto& [name, entry] : header.items()) {
    if (!entry.is_object() || !entry.contains("data_offsets")) continue;
    const Json& offsets = entry["data_offsets"];
    if (offsets.is_array() && offsets.size() == 2 && offsets[1].is_number_unsigned()) {
      end = std::max(end, offsets[1].get<std::uint64_t>());
    }
  }
  return end;
}

}  // namespace

SafetensorsStream::SafetensorsStream(TensorReceiver receiver, std::string origin)
    : receiver_(std::move(receiver)), origin_(std::move(origin)) {}

Status SafetensorsStream::read_header() {
  std::uint64_t length = 0;
  std::memcpy(&length, head_.data(), kLengthBytes);
  const std::string_view text(reinterpret_cast<const char*>(head_.data()) + kLengthBytes, length);
  OCTAVO_ASSIGN(const Json json, parse_json(text, origin_));
  data_bytes_ = data_end(json);
  OCTAVO_ASSIGN(const SafetensorsHeader header, parse_safetensors_header(text, data_bytes_, origin_));
  std::vector<TensorInfo> tensors;
  for (const TensorEntry& t : header.tensors) tensors.push_back({t.name, t.dtype, t.shape});
  OCTAVO_ASSIGN(const std::vector<std::size_t> ids, receiver_.declare_all(tensors));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const TensorEntry& t = header.tensors[i];
    if (t.end > t.begin) parts_.push_back({ids[i], t.begin, t.end});
  }
  head_ = {};
  in_data_ = true;
  return {};
}

Status SafetensorsStream::push(std::span<const std::byte> bytes) {
  if (!in_data_) {
    const auto take = [&](std::size_t wanted) {
      const std::size_t count = std::min(wanted - std::min(wanted, head_.size()), bytes.size());
      head_.insert(head_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
      bytes = bytes.subspan(count);
      return head_.size() >= wanted;
    };
    if (!take(kLengthBytes)) return {};
    std::uint64_t length = 0;
    std::memcpy(&length, head_.data(), kLengthBytes);
    if (length > kMaxSafetensorsHeader) {
      return failure("{}: is no safetensors file: its first 8 bytes say that the header has {} bytes", origin_, length);
    }
    if (!take(kLengthBytes + length)) return {};
    OCTAVO_TRY(read_header());
  }
  while (!bytes.empty()) {
    if (part_ == parts_.size()) return failure("{}: more bytes than the header says", origin_);
    const Part& part = parts_[part_];
    const std::uint64_t left = part.end - at_;
    if (gathered_.empty() && (bytes.size() >= kGather || bytes.size() >= left)) {
      const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), left));
      OCTAVO_TRY(receiver_.write(part.id, at_ - part.begin, bytes.first(count)));
      at_ += count;
      bytes = bytes.subspan(count);
    } else {
      const auto room = std::min<std::uint64_t>(kGather - gathered_.size(), left);
      const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), room));
      gathered_.insert(gathered_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
      at_ += count;
      bytes = bytes.subspan(count);
      if (gathered_.size() == kGather || at_ == part.end) OCTAVO_TRY(flush());
    }
    if (at_ == part.end) ++part_;
  }
  return {};
}

Status SafetensorsStream::flush() {
  const Part& part = parts_[part_];
  const Status status = receiver_.write(part.id, at_ - gathered_.size() - part.begin, gathered_);
  gathered_.clear();
  return status;
}

Status SafetensorsStream::finish() {
  if (!in_data_) return failure("{}: ends within the safetensors header ({} bytes came)", origin_, head_.size());
  if (part_ < parts_.size()) return failure("{}: ends after {} of {} bytes of tensors", origin_, at_, data_bytes_);
  return {};
}

Status send_path(const std::string& path, const TensorReceiver& receiver) {
  std::vector<std::byte> buffer(SafetensorsStream::kGather);
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) {
    OCTAVO_ASSIGN(const File file, File::open_read(path));
    file.expect_sequential();
    SafetensorsStream stream(receiver, path);
    for (std::uint64_t at = 0; at < file.size(); at += buffer.size()) {
      const std::span piece(buffer.data(), std::min<std::uint64_t>(buffer.size(), file.size() - at));
      OCTAVO_TRY(file.read_at(at, piece));
      OCTAVO_TRY(stream.push(piece));
    }
    return stream.finish();
  }
  OCTAVO_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(path));
  std::vector<TensorInfo> tensors;
  for (const CheckpointTensor& t : checkpoint.tensors()) tensors.push_back({t.name, t.dtype, t.shape});
  OCTAVO_ASSIGN(const std::vector<std::size_t> ids, receiver.declare_all(tensors));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const CheckpointTensor& t = checkpoint.tensors()[i];
    checkpoint.read_ahead(t);
    for (std::uint64_t at = 0; at < t.bytes; at += buffer.size()) {
      const std::span piece(buffer.data(), std::min<std::uint64_t>(buffer.size(), t.bytes - at));
      OCTAVO_TRY(checkpoint.read(t, at, piece));
      OCTAVO_TRY(receiver.write(ids[i], at, piece));
    }
  }
  return {};
}

}  // namespace octavo::rollout
