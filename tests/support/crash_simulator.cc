// Replay and choice. The disk is a tree of nodes; each keeps what is durable and the changes that are not yet.
#include "tests/support/crash_simulator.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <stdexcept>

#include "tests/support/faults/trace.h"

namespace octavo::test {
namespace fs = std::filesystem;

struct CrashSimulator::Operation {
  TraceOp op{};
  std::uint32_t handle = 0;
  std::uint64_t a = 0, b = 0;
  std::string text;
  std::string path;  // for messages: of the file, below the root
};

namespace {

constexpr std::uint64_t kSector = 512;

std::string read_whole(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in.good()) throw std::runtime_error("cannot read " + path.string());
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

struct FileChange {
  enum class Kind { kWrite, kResize, kAllocate } kind;
  std::uint64_t at = 0;  // offset, or size
  std::string bytes;
};

struct Node;
using NodePtr = Node*;  // the disk owns them all
using Entries = std::map<std::string, NodePtr>;

// What one operation did to a folder's entries. A rename within a folder is one change with both names.
struct EntryChange {
  std::string removed;     // name, or empty
  std::string added;       // name, or empty
  NodePtr node = nullptr;  // under `added`
  // Of a rename between folders: the removal is there only when the other folder's addition is.
  NodePtr other = nullptr;
  std::uint64_t other_serial = 0;
  std::uint64_t serial = 0;  // of this change in its folder, counted from 1 without gaps
};

void apply_change(const EntryChange& change, Entries& entries) {
  if (!change.removed.empty()) entries.erase(change.removed);
  if (!change.added.empty()) entries[change.added] = change.node;
}

struct Node {
  bool folder = false;
  // A file.
  std::string durable;
  std::vector<FileChange> changes;
  std::uint64_t size = 0;  // now
  // A folder.
  Entries entries;  // now
  Entries durable_entries;
  std::vector<EntryChange> entry_changes;
  std::uint64_t durable_serial = 0, last_serial = 0;

  void change(EntryChange c) {
    c.serial = ++last_serial;
    apply_change(c, entries);
    entry_changes.push_back(std::move(c));
  }

  // Makes the first `count` changes of the entries durable.
  void settle_entries(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      const EntryChange& c = entry_changes[i];
      if (c.other != nullptr) c.other->settle_until(c.other_serial);
      apply_change(c, durable_entries);
      durable_serial = c.serial;
    }
    entry_changes.erase(entry_changes.begin(), entry_changes.begin() + static_cast<std::ptrdiff_t>(count));
  }
  void settle_until(std::uint64_t serial) { settle_entries(serial - std::min(serial, durable_serial)); }
};

void put(std::string& content, std::uint64_t at, std::string_view bytes) {
  if (content.size() < at + bytes.size()) content.resize(at + bytes.size());
  content.replace(at, bytes.size(), bytes);
}

// The content when everything is there.
void apply_change(const FileChange& change, std::string& content) {
  switch (change.kind) {
    case FileChange::Kind::kWrite: put(content, change.at, change.bytes); break;
    case FileChange::Kind::kResize: content.resize(change.at); break;
    case FileChange::Kind::kAllocate: content.resize(std::max<std::uint64_t>(content.size(), change.at)); break;
  }
}

enum class Fate { kLost, kKept, kAny };

// The choices of one seed.
class Chance {
 public:
  explicit Chance(std::uint64_t seed) : random_(seed) {
    constexpr std::pair<Fate, Fate> kFixed[] = {
        {Fate::kLost, Fate::kLost}, {Fate::kKept, Fate::kKept}, {Fate::kKept, Fate::kLost}, {Fate::kLost, Fate::kKept}};
    if (seed < std::size(kFixed)) {
      std::tie(names_, bytes_) = kFixed[seed];
      return;
    }
    // Most states mix all; some leave one side to certainty.
    const std::uint64_t dice = below(6);
    if (dice < 2) names_ = dice == 0 ? Fate::kLost : Fate::kKept;
    if (dice == 2 || dice == 3) bytes_ = dice == 2 ? Fate::kLost : Fate::kKept;
  }

  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : random_() % n; }
  bool coin() { return random_() % 2 == 0; }
  Fate bytes() const { return bytes_; }

  // How many of a folder's changes are there.
  std::size_t kept_names(std::size_t changes) {
    if (names_ == Fate::kLost) return 0;
    return names_ == Fate::kKept ? changes : below(changes + 1);
  }

 private:
  std::mt19937_64 random_;
  Fate names_ = Fate::kAny, bytes_ = Fate::kAny;
};

// The part of a write that is there.
void put_some(std::string& content, const FileChange& write, Chance& chance) {
  const std::uint64_t dice = chance.below(3);
  if (dice == 0) return;
  if (dice == 1) return put(content, write.at, write.bytes);
  std::string_view left = write.bytes;
  std::uint64_t at = write.at;
  // Runs of sectors, so that long stretches are lost as often as single ones.
  while (!left.empty()) {
    const std::uint64_t sectors = 1 + chance.below(std::uint64_t{1} << chance.below(10));
    const std::uint64_t end = (at / kSector + sectors) * kSector;
    const std::string_view run = left.substr(0, std::min<std::uint64_t>(left.size(), end - at));
    if (chance.coin()) put(content, at, run);
    at += run.size();
    left.remove_prefix(run.size());
  }
}

std::string content_after_crash(const Node& file, Chance& chance) {
  std::string content = file.durable;
  if (file.changes.empty() || chance.bytes() == Fate::kLost) return content;
  if (chance.bytes() == Fate::kKept) {
    for (const FileChange& change : file.changes) apply_change(change, content);
    return content;
  }
  // The size is one that it has had; what lies beyond is cut off at the end, what is missing reads as zeros.
  std::vector<std::uint64_t> sizes = {content.size()};
  for (const FileChange& change : file.changes) {
    const std::uint64_t now = sizes.back();
    const bool exact = change.kind == FileChange::Kind::kResize;
    sizes.push_back(exact ? change.at : std::max(now, change.at + change.bytes.size()));
  }
  for (const FileChange& change : file.changes) {
    if (change.kind == FileChange::Kind::kWrite) {
      put_some(content, change, chance);
    } else if (change.kind == FileChange::Kind::kResize && chance.coin() && content.size() > change.at) {
      content.resize(change.at);
    }
  }
  content.resize(chance.coin() ? sizes.back() : sizes[chance.below(sizes.size())]);
  return content;
}

}  // namespace

// The folder `root` as the program sees it and as the disk has it.
class CrashSimulator::Disk {
 public:
  Disk(fs::path root, const fs::path& initial) : root_path_(std::move(root)), root_(make(true)) {
    if (!initial.empty()) load(initial, *root_);
  }

  void run(const Operation& o) {
    switch (o.op) {
      case TraceOp::kOpen: return open(o);
      case TraceOp::kClose: open_.erase(o.handle); return;
      case TraceOp::kWrite: {
        Node& file = opened(o);
        file.changes.push_back({FileChange::Kind::kWrite, o.a, o.text});
        file.size = std::max<std::uint64_t>(file.size, o.a + o.text.size());
        return;
      }
      case TraceOp::kResize: {
        Node& file = opened(o);
        if (file.size != o.a) file.changes.push_back({FileChange::Kind::kResize, o.a, {}});
        file.size = o.a;
        return;
      }
      case TraceOp::kAllocate: {
        Node& file = opened(o);
        file.changes.push_back({FileChange::Kind::kAllocate, o.a, {}});
        file.size = std::max(file.size, o.a);
        return;
      }
      case TraceOp::kSync: return sync(opened(o));
      case TraceOp::kRename: return rename(o);
      case TraceOp::kUnlink:
      case TraceOp::kRmdir: {
        EntryChange change;
        change.removed = fs::path(o.text).filename();
        parent(o.text).change(std::move(change));
        return;
      }
      case TraceOp::kMkdir: {
        if (o.text == root_path_) return;
        EntryChange change;
        change.added = fs::path(o.text).filename();
        change.node = make(true);
        parent(o.text).change(std::move(change));
        return;
      }
    }
    throw std::runtime_error("unknown operation in the trace");
  }

  void cut_power(std::uint64_t seed, const fs::path& into) {
    Chance chance(seed);
    std::vector<NodePtr> all;
    collect(root_, all);
    std::vector<std::size_t> kept;
    for (const NodePtr& node : all) kept.push_back(chance.kept_names(node->entry_changes.size()));
    // What a removal needs is drawn in by it; so keep only as many as may be.
    for (bool again = true; again;) {
      again = false;
      for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t c = 0; c < kept[i]; ++c) {
          const EntryChange& change = all[i]->entry_changes[c];
          if (change.other == nullptr) continue;
          const auto other = static_cast<std::size_t>(std::find(all.begin(), all.end(), change.other) - all.begin());
          if (other < all.size() && change.other->durable_serial + kept[other] >= change.other_serial) continue;
          kept[i] = c;
          again = true;
        }
      }
    }
    std::vector<std::uint64_t> goals;
    for (std::size_t i = 0; i < all.size(); ++i) goals.push_back(all[i]->durable_serial + kept[i]);
    for (std::size_t i = 0; i < all.size(); ++i) all[i]->settle_until(goals[i]);
    write(*root_, into, chance);
  }

 private:
  NodePtr make(bool folder) {
    Node& node = nodes_.emplace_back();
    node.folder = folder;
    return &node;
  }

  void load(const fs::path& from, Node& folder) {
    for (const auto& entry : fs::directory_iterator(from)) {
      const NodePtr node = make(entry.is_directory());
      if (node->folder) {
        load(entry.path(), *node);
      } else {
        node->durable = read_whole(entry.path());
        node->size = node->durable.size();
      }
      folder.entries[entry.path().filename()] = node;
    }
    folder.durable_entries = folder.entries;
  }

  // Every folder that may be found, each once and in an order that does not depend on addresses.
  static void collect(const NodePtr& node, std::vector<NodePtr>& all) {
    if (std::find(all.begin(), all.end(), node) != all.end()) return;
    all.push_back(node);
    for (const auto& [name, child] : node->durable_entries) collect(child, all);
    for (const EntryChange& change : node->entry_changes) {
      if (change.node != nullptr) collect(change.node, all);
    }
  }

  NodePtr find(const fs::path& path) const {
    const fs::path below = path.lexically_relative(root_path_);
    if (below.empty() || *below.begin() == "..") throw std::runtime_error(path.string() + " is not below the root");
    NodePtr at = root_;
    for (const fs::path& name : below) {
      if (name == ".") continue;
      const auto it = at->entries.find(name.string());
      if (it == at->entries.end()) return nullptr;
      at = it->second;
    }
    return at;
  }
  Node& parent(const fs::path& path) const {
    const NodePtr node = find(path.parent_path());
    if (node == nullptr) throw std::runtime_error(path.string() + " has no folder");
    return *node;
  }
  Node& opened(const Operation& o) const {
    const auto it = open_.find(o.handle);
    if (it == open_.end()) throw std::runtime_error("an operation on a file that is not open");
    return *it->second;
  }

  void open(const Operation& o) {
    NodePtr node = find(o.text);
    if (node == nullptr) {
      if (o.a != 1) throw std::runtime_error(o.text + " is opened but does not exist");
      node = make(false);
      EntryChange change;
      change.added = fs::path(o.text).filename();
      change.node = node;
      parent(o.text).change(std::move(change));
    } else if (o.a == 2 && node->size != 0) {
      node->changes.push_back({FileChange::Kind::kResize, 0, {}});
      node->size = 0;
    }
    open_[o.handle] = node;
  }

  static void sync(Node& node) {
    if (node.folder) return node.settle_entries(node.entry_changes.size());
    for (const FileChange& change : node.changes) apply_change(change, node.durable);
    node.changes.clear();
  }

  void rename(const Operation& o) {
    const std::size_t zero = o.text.find('\0');
    const fs::path from = o.text.substr(0, zero), to = o.text.substr(zero + 1);
    const NodePtr node = find(from);
    if (node == nullptr) throw std::runtime_error(from.string() + " is renamed but does not exist");
    const NodePtr from_folder = find(from.parent_path()), to_folder = find(to.parent_path());
    EntryChange change;
    change.added = to.filename();
    change.node = node;
    if (from_folder == to_folder) {
      change.removed = from.filename();
      return to_folder->change(std::move(change));
    }
    to_folder->change(std::move(change));
    EntryChange removal;
    removal.removed = from.filename();
    removal.other = to_folder;
    removal.other_serial = to_folder->last_serial;
    from_folder->change(std::move(removal));
  }

  void write(const Node& folder, const fs::path& into, Chance& chance) {
    fs::create_directories(into);
    for (const auto& [name, child] : folder.durable_entries) {
      if (child->folder) {
        write(*child, into / name, chance);
      } else {
        std::ofstream out(into / name, std::ios::binary);
        auto& content = contents_[child];  // under two names it is still one file
        if (content == nullptr) content = std::make_unique<std::string>(content_after_crash(*child, chance));
        out.write(content->data(), static_cast<std::streamsize>(content->size()));
        if (!out.flush().good()) throw std::runtime_error("cannot write " + (into / name).string());
      }
    }
  }

  std::deque<Node> nodes_;
  fs::path root_path_;
  NodePtr root_;
  std::map<std::uint32_t, NodePtr> open_;
  std::map<NodePtr, std::unique_ptr<std::string>> contents_;  // after the crash
};

CrashSimulator::CrashSimulator(const fs::path& trace, fs::path root, const fs::path& initial)
    : root_(std::move(root)), initial_(initial) {
  const std::string bytes = read_whole(trace);
  std::map<std::uint32_t, std::string> names;
  for (std::size_t at = 0; at < bytes.size();) {
    TraceHeader header;
    if (bytes.size() - at < sizeof header) break;  // the program was killed while it wrote
    std::memcpy(&header, bytes.data() + at, sizeof header);
    at += sizeof header;
    if (bytes.size() - at < header.bytes) break;
    Operation o{header.op, header.handle, header.a, header.b, bytes.substr(at, header.bytes), {}};
    at += header.bytes;
    o.path = header.handle == 0 || header.op == TraceOp::kOpen
                 ? fs::path(o.text.substr(0, o.text.find('\0'))).lexically_relative(root_).string()
                 : names[header.handle];
    if (header.op == TraceOp::kOpen) names[header.handle] = o.path;
    operations_.push_back(std::move(o));
  }
  Disk disk(root_, initial_);  // makes sense?
  for (const Operation& o : operations_) disk.run(o);
}

CrashSimulator::~CrashSimulator() = default;

std::size_t CrashSimulator::operations() const { return operations_.size(); }

std::string CrashSimulator::describe(std::size_t operation) const {
  if (operation >= operations_.size()) return "the end";
  const Operation& o = operations_[operation];
  switch (o.op) {
    case TraceOp::kOpen: return (o.a == 1 ? "create " : o.a == 2 ? "truncate " : "open ") + o.path;
    case TraceOp::kClose: return "close " + o.path;
    case TraceOp::kWrite: return "write " + o.path + " " + std::to_string(o.a) + "+" + std::to_string(o.text.size());
    case TraceOp::kResize: return "resize " + o.path + " " + std::to_string(o.a);
    case TraceOp::kAllocate: return "allocate " + o.path + " " + std::to_string(o.a);
    case TraceOp::kSync: return "sync " + o.path;
    case TraceOp::kRename:
      return "rename " + o.path + " " +
             fs::path(o.text.substr(o.text.find('\0') + 1)).lexically_relative(root_).string();
    case TraceOp::kUnlink: return "unlink " + o.path;
    case TraceOp::kMkdir: return "mkdir " + o.path;
    case TraceOp::kRmdir: return "rmdir " + o.path;
  }
  return "?";
}

std::vector<std::size_t> CrashSimulator::find(std::string_view text) const {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < operations(); ++i) {
    if (describe(i).find(text) != std::string::npos) found.push_back(i);
  }
  return found;
}

void CrashSimulator::materialize(std::size_t at, std::uint64_t seed, const fs::path& into) const {
  Disk disk(root_, initial_);
  for (std::size_t i = 0; i < std::min(at, operations_.size()); ++i) disk.run(operations_[i]);
  disk.cut_power(seed, into);
}

}  // namespace octavo::test
