// Content, and behind it how much of it is there.
#include "octavo/checkpoint/hub/partial_file.h"

#include <algorithm>
#include <array>
#include <bit>

namespace octavo::hub {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint64_t kMagic = 0x3150'4f56'4154'434fULL;  // "OCTAVOP1"
constexpr std::uint64_t kHeader = 3 * sizeof(std::uint64_t);

std::size_t count_of(std::uint64_t size, std::uint64_t range) {
  return static_cast<std::size_t>(size / range + (size % range != 0 ? 1 : 0));
}

}  // namespace

PartialFile::PartialFile(File file, std::uint64_t size, std::uint64_t range_bytes)
    : file_(std::move(file)), size_(size), range_bytes_(range_bytes), done_(count_of(size, range_bytes)) {}

Result<PartialFile> PartialFile::open(const std::filesystem::path& path, std::uint64_t size,
                                      std::uint64_t range_bytes) {
  OCTAVO_ASSIGN(File file, File::open_or_create(path));
  OCTAVO_TRY(file.close());
  OCTAVO_ASSIGN(file, File::open_update(path));  // says its size
  PartialFile out(std::move(file), size, range_bytes);
  if (!out.read_counts().ok()) OCTAVO_TRY(out.start());
  return out;
}

Status PartialFile::read_counts() {
  if (file_.size() == size_ && size_ > 0) {  // all was there, and the counts are cut off already
    for (std::size_t i = 0; i < done_.size(); ++i) done_[i] = end(i) - begin(i);
    return {};
  }
  std::array<std::uint64_t, 3> header{};
  OCTAVO_TRY(file_.read_at(size_, std::as_writable_bytes(std::span(header))));
  // The ranges are those that it was begun with.
  const std::uint64_t range = header[2];
  if (header[0] != kMagic || header[1] != size_ || range == 0) return failure("not a partial file of this size");
  const std::size_t count = count_of(size_, range);
  if (file_.size() < kHeader || (file_.size() - kHeader) / sizeof(std::uint64_t) < count) return failure("cut off");
  std::vector<std::uint64_t> done(count);
  OCTAVO_TRY(file_.read_at(size_ + kHeader, std::as_writable_bytes(std::span(done))));
  for (std::size_t i = 0; i < count; ++i) {
    if (done[i] > std::min(range, size_ - i * range)) return failure("more than a range holds");
  }
  range_bytes_ = range;
  done_ = std::move(done);
  return {};
}

Status PartialFile::start() {
  std::fill(done_.begin(), done_.end(), 0);
  OCTAVO_TRY(file_.resize(0));
  OCTAVO_TRY(file_.resize(size_ + kHeader + done_.size() * sizeof(std::uint64_t)));
  const std::array<std::uint64_t, 3> header{kMagic, size_, range_bytes_};
  return file_.write_at(size_, std::as_bytes(std::span(header)));
}

bool PartialFile::whole() const {
  for (std::size_t i = 0; i < done_.size(); ++i) {
    if (!whole(i)) return false;
  }
  return true;
}

std::uint64_t PartialFile::bytes() const {
  std::uint64_t out = 0;
  for (const std::uint64_t done : done_) out += done;
  return out;
}

Result<std::uint64_t> PartialFile::write(std::uint64_t offset, std::span<const std::byte> content) {
  std::uint64_t written = 0;
  while (!content.empty() && offset < size_) {
    const auto range = static_cast<std::size_t>(offset / range_bytes_);
    const std::uint64_t stop = std::min(end(range), offset + content.size());
    const std::uint64_t from = next(range);
    if (offset <= from && from < stop) {
      OCTAVO_TRY(file_.write_at(from, content.subspan(from - offset, stop - from)));
      done_[range] = stop - begin(range);
      OCTAVO_TRY(file_.write_at(size_ + kHeader + range * sizeof(std::uint64_t),
                                std::as_bytes(std::span<const std::uint64_t>(&done_[range], 1))));
      written += stop - from;
    }
    content = content.subspan(stop - offset);
    offset = stop;
  }
  return written;
}

Status PartialFile::publish(const std::filesystem::path& path) && {
  OCTAVO_TRY(file_.resize(size_));
  OCTAVO_TRY(file_.sync());
  const std::filesystem::path from = file_.path();
  OCTAVO_TRY(file_.close());
  OCTAVO_TRY(rename_path(from, path));
  return sync_directory(path.parent_path());
}

}  // namespace octavo::hub
