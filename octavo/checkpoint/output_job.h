// Work that makes an output folder and survives being killed: files of known size, written in units, each of which is
// in the journal once its bytes are durable. The same job begun again finds out what is left to do.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "octavo/base/progress.h"
#include "octavo/base/status.h"
#include "octavo/checkpoint/journal.h"
#include "octavo/checkpoint/output_folder.h"

namespace octavo {

inline constexpr std::uint32_t kNoFile = std::numeric_limits<std::uint32_t>::max();

// A file that the job's units fill.
struct OutputFile {
  std::string name;
  std::uint64_t bytes = 0;
};

// The granule of the journal. Which units there are must not depend on memory or threads, so that any run can go on
// with what another began.
struct OutputUnit {
  std::uint32_t file = kNoFile;  // where its bytes go; kNoFile: it only finds something out
  std::uint64_t bytes = 0;       // that it writes, or what finding it out is worth
};

// A small file that is taken over as it is.
struct CopiedFile {
  std::string name;
  std::filesystem::path from;
};

// A file that the work reads. It must not change before the end.
struct InputFile {
  std::string name;
  std::filesystem::path path;
};

struct JobDescription {
  Record record;  // version and output are filled in by the job
  std::vector<InputFile> inputs;
  std::vector<OutputFile> files;
  std::function<std::string(std::size_t file)> head;  // of each of `files`: its first bytes; may be empty
  std::vector<OutputUnit> units;                      // fewer than 2^32
  std::vector<CopiedFile> copies;
  std::vector<TextFile> texts;
  std::optional<Record> made_by;  // for octavo.json, where it is not this job that made the bytes
};

struct JobOptions {
  FolderOptions folder;
  const std::atomic<int>* stop = nullptr;  // not 0: end soon, with everything done so far kept (kInterrupted)
  bool release_cache = false;  // drop written data from the page cache once it is durable: the output exceeds memory
};

// Which part of `parts` (1 ..) makes each file: a function of the sizes alone, each part getting about as many bytes.
std::vector<std::uint32_t> assign_parts(const std::vector<OutputFile>& files, std::uint32_t parts);

class OutputJob {
 public:
  // Opens or takes over OUT.partial. `sources` are folders that the output must not be or lie in.
  static Result<OutputJob> open(const std::filesystem::path& out, const std::vector<std::filesystem::path>& sources,
                                JobDescription description, const JobOptions& options);
  OutputJob(OutputJob&&) noexcept;
  OutputJob& operator=(OutputJob&&) noexcept;
  ~OutputJob();  // makes what is complete durable, as far as it can: an error of the work is all there is to return

  // OUT is there already and is what this job makes: nothing is left to do, and nothing below may be called.
  bool finished() const;
  bool mine(std::uint32_t file) const;             // whether this part makes it
  std::uint64_t done_bytes() const;                // of units that an earlier run has done
  const std::vector<JournalRecord>& done() const;  // by unit: what an earlier run has done

  // Bytes of a file, from any thread, in any order.
  Status write(std::uint32_t file, std::uint64_t offset, std::span<const std::byte> bytes);
  // All bytes of the unit are written; from any thread. Returns soon, unless the disk is far behind: then it waits.
  // Fails when the disk has failed, from then on always.
  Status complete(const JournalRecord& record);

  bool is_complete(
      std::uint32_t unit) const;  // by an earlier run or by now; of units that write to a file of this part
  // Runs body(unit, worker) for the units [0, units) that this part has still to do, claimed in order by `threads`
  // workers, and completes each: for units that need nothing of each other. kInterrupted when JobOptions::stop says so.
  Status for_each_unit(int threads, std::size_t units,
                       const std::function<Status(std::uint32_t unit, int worker)>& body);

  // Everything complete is durable and in the journal. The job may go on or end.
  Status flush();
  // When all units of this part are complete: flushes, and publishes OUT when this was the last part. Otherwise returns
  // the parts that are missing. Fails when an input has changed since the work began.
  Result<std::vector<std::uint32_t>> finish();

 private:
  struct Impl;
  explicit OutputJob(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace octavo
