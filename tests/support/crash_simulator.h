// What a disk may hold after the power was cut: replays a trace of file operations (tests/support/faults) up to any of
// them and makes one of the states that file systems allow there.
//
// The model. What the operating system has been told to sync is there; of everything else, anything may be:
// - fsync or fdatasync of a file makes its bytes and its size durable (fdatasync too: a size that is needed to read the
//   data belongs to it). It does not make the file's name durable: on some file systems it does, so names may be there
//   earlier than promised, never later.
// - fsync of a folder makes its entries durable: files and folders made, renamed and removed in it before.
// - Without a sync, each write may be there wholly, not at all, or in some of its sectors of 512 bytes, whatever
// happened
//   to writes before and after it; the file's size may be any that it has had since the last sync; what was not written
//   to the disk below that size reads as zeros (no file system in use shows another file's old bytes). Sizes and
//   contents are independent of each other.
// - A folder's entries change in order: when one change is there, so are the earlier ones of that folder. Between
//   folders, and between entries and contents, there is no order: a rename may be there though the renamed file's bytes
//   are not (XFS; ext4 with noauto_da_alloc; never to be relied on elsewhere either). A rename between two folders may
//   have left the file under both names, never under none.
// - A rename over an existing file is one change: the name leads to the old file or to the new one.
// This allows more than ext4 (data=ordered), XFS or Btrfs do at their defaults; a program that survives it survives
// them. Not modelled: devices that lie about flushes, sectors torn within 512 bytes, and errors of the disk itself.
// Links, permissions and times are not kept.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace octavo::test {

class CrashSimulator {
 public:
  // `trace` is of a program that worked in the folder `root` (absolute, as OCTAVO_FAULT_PREFIX had it); `initial` is a
  // copy of what the folder held before, all of it durable. A trace that makes no sense throws std::runtime_error.
  CrashSimulator(const std::filesystem::path& trace, std::filesystem::path root,
                 const std::filesystem::path& initial = {});
  ~CrashSimulator();
  CrashSimulator(const CrashSimulator&) = delete;
  CrashSimulator& operator=(const CrashSimulator&) = delete;

  std::size_t operations() const;
  std::string describe(std::size_t operation) const;  // "write OUT.partial/x 0+4096"
  // Those of a description that contains `text`.
  std::vector<std::size_t> find(std::string_view text) const;

  // Makes in the new folder `into` what `root` may hold when the power is cut just before operation `at` (at the end:
  // operations()). Every seed is another choice; seed 0 loses all that may be lost, seed 1 keeps everything, seed 2
  // keeps all names and loses all bytes, seed 3 the other way round.
  void materialize(std::size_t at, std::uint64_t seed, const std::filesystem::path& into) const;

 private:
  struct Operation;
  class Disk;
  std::filesystem::path root_, initial_;
  std::vector<Operation> operations_;
};

}  // namespace octavo::test
