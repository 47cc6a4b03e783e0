// Files, journal, and the thread between them that makes data durable while the next is being computed.
#include "octavo/checkpoint/output_job.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>

#include "octavo/base/hash.h"
#include "octavo/base/text.h"
#include "octavo/base/version.h"
#include "octavo/base/workers.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kCopyUnit = 16ull << 20;  // of a copied file
constexpr std::uint64_t kCopyPiece = 1ull << 20;  // at a time in memory

constexpr std::uint64_t kWriteback = 256 << 10;

// Where a copied file's bytes come from and go to.
struct Copy {
  std::uint32_t unit = 0, file = 0;
  std::size_t source = 0;  // index into JobDescription::copies
  std::uint64_t begin = 0, end = 0;
};

// The files behind those that were described are copied ones, and have none.
std::string head_of(const JobDescription& job, std::size_t file) {
  const bool described = file < job.files.size() - job.copies.size();
  return described && job.head ? job.head(file) : std::string();
}

std::string layout_fingerprint(const JobDescription& job) {
  Fingerprint print;
  for (std::size_t i = 0; i < job.files.size(); ++i) {
    print.add(job.files[i].name).add(job.files[i].bytes).add(hash64(as_bytes(head_of(job, i))));
  }
  print.add(static_cast<std::uint64_t>(job.units.size()));
  for (const OutputUnit& unit : job.units) print.add(unit.file).add(unit.bytes);
  for (const TextFile& text : job.texts) print.add(text.name).add(hash64(as_bytes(text.text)));
  return print.hex();
}

// After a batch of this many bytes the journal is brought up to date. An eightieth of the output: a killed run
// loses little, and on a fast disk the syncs cost little.
std::uint64_t batch_bytes(std::uint64_t total) {
  return std::clamp<std::uint64_t>(total / 80, 64ull << 10, 64ull << 20);
}

}  // namespace

std::vector<std::uint32_t> assign_parts(const std::vector<OutputFile>& files, std::uint32_t parts) {
  // Largest first to the part with the least so far; ties by order.
  std::vector<std::size_t> order(files.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return files[a].bytes > files[b].bytes; });
  std::vector<std::uint64_t> load(parts, 0);
  std::vector<std::uint32_t> out(files.size());
  for (const std::size_t file : order) {
    const auto least = std::min_element(load.begin(), load.end());
    *least += files[file].bytes;
    out[file] = static_cast<std::uint32_t>(least - load.begin()) + 1;
  }
  return out;
}

struct OutputJob::Impl {
  JobDescription job;
  JobOptions options;
  Manifest manifest;
  bool finished = false;
  std::optional<OutputFolder> folder;
  std::optional<JournalWriter> journal;
  std::vector<std::optional<File>> files;  // of this part
  std::vector<std::uint32_t> part_of_file;
  std::vector<Copy> copies;
  std::vector<JournalRecord> done;
  std::uint64_t done_bytes = 0;
  std::size_t own_units = 0;  // that write files of this part

  std::mutex mutex;
  std::condition_variable work, room;
  std::uint64_t batch = 0;  // bytes after which the journal is brought up to date
  std::vector<JournalRecord> pending;
  std::vector<bool> is_complete;  // by unit
  std::size_t completed = 0;
  std::uint64_t pending_bytes = 0;
  std::uint64_t undurable_bytes = 0;  // pending or on the way
  bool committing = false;            // a batch is on the way
  int flushing = 0;                   // who waits for all of it
  bool closing = false;
  std::optional<Error> error;
  std::thread committer;

  ~Impl() {
    if (!committer.joinable()) return;
    {
      const std::lock_guard lock(mutex);
      closing = true;
    }
    work.notify_all();
    committer.join();
  }

  bool mine(std::uint32_t file) const { return part_of_file[file] == options.folder.part; }
  bool stopped() const { return options.stop != nullptr && options.stop->load(std::memory_order_relaxed) != 0; }
  static Error interrupted() { return {ErrorKind::kInterrupted, "interrupted"}; }

  Status create_files() {
    // A disk that is too small is found before the work, also where blocks can't be reserved.
    std::uint64_t needed = 0;
    for (std::uint32_t i = 0; i < job.files.size(); ++i) {
      std::error_code error_code;
      if (mine(i) && !fs::exists(folder->path(job.files[i].name), error_code)) needed += job.files[i].bytes;
    }
    const std::uint64_t free = free_space(folder->path(""));
    if (needed > free) {
      return failure("{}: needs {}, the disk has {} left", folder->path("").parent_path().string(), human_bytes(needed),
                     human_bytes(free));
    }
    for (std::uint32_t i = 0; i < job.files.size(); ++i) {
      if (!mine(i)) continue;
      const OutputFile& file = job.files[i];
      OCTAVO_ASSIGN(File created, File::create(folder->path(file.name)));
      OCTAVO_TRY(created.resize(file.bytes));
      OCTAVO_TRY(created.reserve());
      OCTAVO_TRY(created.write_at(0, as_bytes(head_of(job, i))));
      OCTAVO_TRY(created.sync());
      files[i] = std::move(created);
    }
    OCTAVO_TRY(folder->sync());
    // The journal begins when its files are durable; until then a run starts from nothing.
    OCTAVO_ASSIGN(journal, JournalWriter::create(folder->journal_path(), key()));
    return folder->sync_state();
  }

  Status resume_files(JournalContents contents) {
    for (std::uint32_t i = 0; i < job.files.size(); ++i) {
      if (!mine(i)) continue;
      const OutputFile& file = job.files[i];
      auto file_result = File::open_update(folder->path(file.name));
      if (!file_result.ok()) return failure("{}; --restart starts anew", file_result.error().message);
      File opened = std::move(file_result).value();
      if (opened.size() != file.bytes) {
        return failure("{}: has {} bytes, {} expected: changed since; --restart starts anew", opened.path().string(),
                       opened.size(), file.bytes);
      }
      files[i] = std::move(opened);
    }
    OCTAVO_ASSIGN(journal, JournalWriter::resume(folder->journal_path(), key(), contents));
    done = std::move(contents.records);
    // A unit that was done twice counts as it was the last time.
    std::reverse(done.begin(), done.end());
    std::stable_sort(done.begin(), done.end(),
                     [](const JournalRecord& a, const JournalRecord& b) { return a.unit < b.unit; });
    done.erase(std::unique(done.begin(), done.end(),
                           [](const JournalRecord& a, const JournalRecord& b) { return a.unit == b.unit; }),
               done.end());
    for (const JournalRecord& record : done) {
      done_bytes += job.units[record.unit].bytes;
      count(record.unit);
    }
    return {};
  }

  // A unit of this part is complete, for the first time or again.
  void count(std::uint32_t unit) {
    if (job.units[unit].file == kNoFile || is_complete[unit]) return;
    is_complete[unit] = true;
    ++completed;
  }

  std::uint64_t key() const { return hash64(as_bytes(format_record(manifest.record))); }

  void start() {
    committer = std::thread([this] { commit_batches(); });
  }

  void commit_batches() {
    constexpr auto kLongest = std::chrono::seconds(2);  // a slow source's progress is made durable too
    std::unique_lock lock(mutex);
    for (;;) {
      work.wait(lock, [&] { return closing || !pending.empty(); });
      if (pending.empty()) return;
      work.wait_for(lock, kLongest, [&] { return pending_bytes >= batch || flushing > 0 || closing; });
      const std::vector<JournalRecord> records = std::exchange(pending, {});
      const std::uint64_t bytes = std::exchange(pending_bytes, 0);
      committing = true;
      lock.unlock();
      const Status status = commit(records);
      lock.lock();
      committing = false;
      undurable_bytes -= bytes;
      if (!status.ok()) error = status.error();
      room.notify_all();
      // After a failed sync nobody knows what is on the disk; nothing more is promised.
      if (error) return;
    }
  }

  Status commit(const std::vector<JournalRecord>& records) {
    std::vector<std::uint32_t> touched;
    for (const JournalRecord& record : records) {
      if (job.units[record.unit].file != kNoFile) touched.push_back(job.units[record.unit].file);
    }
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    for (const std::uint32_t file : touched) {
      OCTAVO_TRY(files[file]->sync_data());
      if (options.release_cache) files[file]->drop_cache(0, 0);
    }
    return journal->append(records);
  }

  Status complete(const JournalRecord& record) {
    const std::uint64_t bytes = job.units[record.unit].bytes;
    std::unique_lock lock(mutex);
    if (error) return *error;
    pending.push_back(record);
    count(record.unit);
    pending_bytes += bytes;
    undurable_bytes += bytes;
    if (pending.size() == 1 || pending_bytes >= batch) work.notify_one();
    // One batch on the way, one being made: beyond that a kill would lose more than it should.
    room.wait(lock, [&] { return error || undurable_bytes < 2 * batch + bytes; });
    if (error) return *error;
    return {};
  }

  Status flush() {
    std::unique_lock lock(mutex);
    ++flushing;
    work.notify_one();
    room.wait(lock, [&] { return error || (pending.empty() && !committing); });
    --flushing;
    if (error) return *error;
    return {};
  }

  Status copy_files() {
    std::vector<std::byte> buffer;
    std::size_t next_done = 0;
    for (const Copy& copy : copies) {
      while (next_done < done.size() && done[next_done].unit < copy.unit) ++next_done;
      if (!mine(copy.file) || (next_done < done.size() && done[next_done].unit == copy.unit)) continue;
      OCTAVO_ASSIGN(const File source, File::open_read(job.copies[copy.source].from));
      for (std::uint64_t at = copy.begin; at < copy.end;) {
        if (stopped()) return interrupted();
        buffer.resize(static_cast<std::size_t>(std::min(kCopyPiece, copy.end - at)));
        OCTAVO_TRY(source.read_at(at, buffer));
        OCTAVO_TRY(files[copy.file]->write_at(at, buffer));
        at += buffer.size();
      }
      JournalRecord record;
      record.unit = copy.unit;
      OCTAVO_TRY(complete(record));
    }
    return {};
  }

  Status check_inputs() const {
    for (std::size_t i = 0; i < job.inputs.size(); ++i) {
      OCTAVO_ASSIGN(const FileState state, file_state(job.inputs[i].path));
      if (state != manifest.files[i].state) {
        return failure("{}: changed while it was read; --restart starts anew", job.inputs[i].path.string());
      }
    }
    return {};
  }
};

OutputJob::OutputJob(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OutputJob::OutputJob(OutputJob&&) noexcept = default;
OutputJob& OutputJob::operator=(OutputJob&&) noexcept = default;
OutputJob::~OutputJob() = default;

Result<OutputJob> OutputJob::open(const fs::path& out_arg, const std::vector<fs::path>& sources,
                                  JobDescription description, const JobOptions& options) {
  OCTAVO_ASSIGN(const fs::path out, output_path(out_arg, sources));
  auto impl = std::make_unique<Impl>();
  impl->job = std::move(description);
  impl->options = options;
  JobDescription& job = impl->job;

  Manifest& manifest = impl->manifest;
  for (const InputFile& input : job.inputs) {
    OCTAVO_ASSIGN(const FileState state, file_state(input.path));
    manifest.files.push_back({input.name, state});
  }
  impl->part_of_file = assign_parts(job.files, options.folder.parts);
  for (std::size_t i = 0; i < job.copies.size(); ++i) {
    OCTAVO_ASSIGN(const FileState state, file_state(job.copies[i].from));
    manifest.files.push_back({job.copies[i].name, state});
    const auto file = static_cast<std::uint32_t>(job.files.size());
    job.files.push_back({job.copies[i].name, state.bytes});
    impl->part_of_file.push_back(1);
    for (std::uint64_t at = 0; at < state.bytes; at += kCopyUnit) {
      const std::uint64_t end = std::min(at + kCopyUnit, state.bytes);
      impl->copies.push_back({static_cast<std::uint32_t>(job.units.size()), file, i, at, end});
      job.units.push_back({file, end - at});
    }
  }
  if (job.units.size() >= kNoFile) return failure("{} units are too many", job.units.size());
  std::uint64_t total_bytes = 0;
  for (const OutputUnit& unit : job.units) {
    if (unit.file == kNoFile || !impl->mine(unit.file)) continue;
    ++impl->own_units;
    total_bytes += unit.bytes;
  }
  impl->batch = batch_bytes(total_bytes);
  impl->is_complete.resize(job.units.size());
  manifest.record = job.record;
  manifest.record.version = version();
  manifest.record.output = layout_fingerprint(job);
  manifest.parts = options.folder.parts;
  manifest.units = job.units.size();

  std::vector<std::pair<std::string, std::uint64_t>> names;
  for (const OutputFile& file : job.files) names.emplace_back(file.name, file.bytes);
  for (const TextFile& text : job.texts) names.emplace_back(text.name, text.text.size());
  const Record& record = job.made_by ? *job.made_by : manifest.record;
  job.texts.push_back({std::string(kRecordName), format_record(record)});
  while (!impl->folder) {
    OCTAVO_ASSIGN(impl->finished, is_finished(out, record, manifest.files, names));
    if (impl->finished) return OutputJob(std::move(impl));
    OCTAVO_ASSIGN(impl->folder, OutputFolder::open(out, manifest, job.texts, options.folder));
  }
  job.texts = {};  // they are on the disk
  impl->files.resize(job.files.size());
  JournalContents contents;
  std::error_code error;
  if (fs::exists(impl->folder->journal_path(), error)) {
    OCTAVO_ASSIGN(const File file, File::open_read(impl->folder->journal_path()));
    OCTAVO_ASSIGN(contents, read_journal(file, impl->key(), job.units.size()));
  }
  if (contents.begun) {
    OCTAVO_TRY(impl->resume_files(std::move(contents)));
  } else {
    OCTAVO_TRY(impl->create_files());
  }
  impl->start();
  OCTAVO_TRY(impl->copy_files());
  return OutputJob(std::move(impl));
}

bool OutputJob::finished() const { return impl_->finished; }
bool OutputJob::mine(std::uint32_t file) const { return impl_->mine(file); }
std::uint64_t OutputJob::done_bytes() const { return impl_->done_bytes; }
const std::vector<JournalRecord>& OutputJob::done() const { return impl_->done; }

Status OutputJob::write(std::uint32_t file, std::uint64_t offset, std::span<const std::byte> bytes) {
  File& to = *impl_->files[file];
  OCTAVO_TRY(to.write_at(offset, bytes));
  // The disk gets to work at once, so that the next sync finds little left to do. Not on small things such as scales:
  // their pages will be written to again.
  if (bytes.size() >= kWriteback) to.start_writeback(offset, bytes.size());
  return {};
}

Status OutputJob::complete(const JournalRecord& record) { return impl_->complete(record); }
bool OutputJob::is_complete(std::uint32_t unit) const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->is_complete[unit];
}

Status OutputJob::for_each_unit(int threads, std::size_t units,
                                const std::function<Status(std::uint32_t unit, int worker)>& body) {
  std::vector<std::uint32_t> left;
  for (std::uint32_t unit = 0; unit < units; ++unit) {
    if (impl_->mine(impl_->job.units[unit].file) && !is_complete(unit)) left.push_back(unit);
  }
  const auto run = [&](std::size_t i, int worker) -> Status {
    if (impl_->stopped()) return {};
    OCTAVO_TRY(body(left[i], worker));
    JournalRecord record;
    record.unit = left[i];
    return complete(record);
  };
  OCTAVO_TRY(for_each_index(threads, left.size(), run));
  if (impl_->stopped()) return Impl::interrupted();
  return {};
}

Status OutputJob::flush() { return impl_->flush(); }

Result<std::vector<std::uint32_t>> OutputJob::finish() {
  OCTAVO_TRY(impl_->flush());
  if (impl_->completed != impl_->own_units) {
    return failure("{}: {} of {} units are done; the same command goes on", impl_->folder->path("").string(),
                   impl_->completed, impl_->own_units);
  }
  OCTAVO_TRY(impl_->check_inputs());
  std::vector<std::pair<std::string, std::uint64_t>> files;
  for (std::uint32_t i = 0; i < impl_->job.files.size(); ++i) {
    if (!impl_->mine(i)) continue;
    OCTAVO_TRY(impl_->files[i]->sync_data());
    OCTAVO_TRY(impl_->files[i]->close());
    files.emplace_back(impl_->job.files[i].name, impl_->job.files[i].bytes);
  }
  OCTAVO_TRY(impl_->folder->part_done(files));
  return impl_->folder->publish();
}

}  // namespace octavo
