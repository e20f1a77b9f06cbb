#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wan::store {

// Who works on what, for every group of every job that shares an output folder. Only link(), rename-free
// unlink() and reads are used, so that it holds on shared file systems, without locks or a server.
//
// Each group's leader has one owner file: a heartbeat counter that a thread of its own bumps, a line that
// names the owner, and two of fixed width: how far it is, and what it makes (request_mark()). To claim an
// item is to link the owner file as `<id>.claim`, which only one of many can do. When an owner is dead, the
// item is taken over by linking `<id>.claim.1` and so on: the highest link owns, and again only one can make
// it. (Renaming over the dead claim would let a slow second taker rename over the first one's living claim.)
// An owner that was only suspended sees the higher link and gives up.

/// Who holds a claim.
struct ClaimOwner {
  std::string host;
  std::int64_t pid = 0;
  std::string job;      ///< the scheduler's job id; may be empty
  std::string run;      ///< run id, the same on all groups of one job
  std::string machine;  ///< boot id and process namespace: where `pid` means something
  std::string token;    ///< random, one per owner; also names the owner's temporary files

  /// The calling process, with a new token.
  static ClaimOwner this_process(std::string run, std::string job);
};

/// How far an owner is with its item, for whoever looks at the folder from outside.
struct ClaimProgress {
  std::string id;
  std::string phase;  ///< "denoise", "decode", ...; empty: not known yet
  int step = 0;       ///< steps done
  int steps = 0;
  double step_s = 0;  ///< the last step's, 0 before the first
};

/// The owner file of a token in a folder of claims: there while the owner is alive or not yet found dead.
std::filesystem::path owner_file(const std::filesystem::path& claims, std::string_view token);

struct ClaimTiming {
  std::chrono::milliseconds heartbeat{5'000};
  /// An owner whose heartbeat did not change for this long on the observer's steady clock is dead.
  std::chrono::milliseconds stale_after{60'000};
};

/// An owner that died while it held a claim, as its file tells.
struct DeadOwner {
  std::string token;
  std::string who;  ///< "node7, process 123, job 4711"
  std::string host;
  std::string job;
  std::string run;
  bool machine_is_up = false;     ///< it was on this machine, which has not been started anew since
  bool was_at_work = false;       ///< its progress names the item
  bool was_told_to_stop = false;  ///< see Claims::note_stop()
};

/// Where process ids mean something: boot id and process namespace; empty if unknown.
std::string this_machine();
/// Whether this machine has no such process any more.
bool is_gone(std::int64_t pid);

class ClaimHeartbeat;
class Claims;
class OwnerProgress;
class OwnerWatch;

/// One claimed item; releases it at the end of its life. Must not outlive its Claims.
class Claim {
 public:
  Claim(Claim&& other) noexcept;
  Claim& operator=(Claim&&) = delete;
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim();

  const std::string& id() const { return id_; }
  /// Tokens of the dead owners whose claim this one follows: their temporary files may be removed.
  std::vector<std::string> dead_tokens() const;
  const std::vector<DeadOwner>& dead_owners() const { return dead_owners_; }
  /// False when another owner has taken the item over, thinking this one dead. Asked before publishing.
  bool is_held() const;

 private:
  friend class Claims;
  Claim(const Claims& claims, std::string id, int generation, std::vector<DeadOwner> dead_owners);

  const Claims* claims_;
  std::string id_;
  int generation_;
  std::vector<DeadOwner> dead_owners_;
};

/// The outcome of trying to claim an item.
struct ClaimAttempt {
  enum class Outcome {
    acquired,
    alive,      ///< another owner's heartbeat was seen to beat
    undecided,  ///< another owner's, not yet seen to beat nor silent for long enough: ask again later
  };
  Outcome outcome = Outcome::undecided;
  std::optional<Claim> claim;  ///< with acquired
  std::string holder;          ///< otherwise: "node7, process 123, job 4711"
  std::string request;  ///< otherwise: what a holder of another run says that it makes; empty: not told
};

/// One owner's view of the claims of an output folder. Used from one thread; the heartbeat has its own.
class Claims {
 public:
  /// Makes the owner file and starts the heartbeat. Removes owner files of dead processes of this machine,
  /// and so does the destructor. Throws Error.
  Claims(std::filesystem::path folder, ClaimOwner owner, ClaimTiming timing);
  Claims(const Claims&) = delete;
  Claims& operator=(const Claims&) = delete;
  Claims(Claims&&) = delete;
  Claims& operator=(Claims&&) = delete;
  ~Claims();

  /// Claims an item that nobody holds or whose holder is dead. After success the caller looks again whether
  /// the item still needs doing: its last owner may have finished it a moment before. `request` gives
  /// what the others are told is made under that id, at most 48 printable characters; it is asked when there
  /// is something to be told. Throws Error.
  ClaimAttempt try_claim(const std::string& id, const std::function<std::string()>& request = {});

  /// Ids that earlier owners held when this was constructed, sorted. Those that turn out to be done are
  /// to be claimed and released once: their owner died in between, and nobody else will look at them.
  const std::vector<std::string>& held_at_start() const { return held_at_start_; }

  /// An owner of the same run that is silent for too long: its process hangs or is suspended, and the run
  /// would wait for it for ever. To be asked now and then; the first time it cannot be known yet.
  std::optional<std::string> find_silent_partner();

  const ClaimOwner& owner() const { return owner_; }

  /// Puts the owner's progress into its file, where others may read it; nothing: it has no item. Not flushed,
  /// and no error if it fails.
  void show_progress(const std::optional<ClaimProgress>& progress) const noexcept;
  /// Marks that this owner was told to stop, beside its progress: should it be killed from now on, that is
  /// not the fault of the item that it is at. For any thread.
  void note_stop() const noexcept;

 private:
  friend class Claim;

  std::filesystem::path link_path(const std::string& id, int generation) const;
  bool is_ours(const std::filesystem::path& link) const;
  bool make_link(const std::filesystem::path& link) const;
  int highest_generation(const std::string& id, int known) const;
  void tell(const std::function<std::string()>& request) const;
  ClaimAttempt take_over(const std::string& id, int mine, const std::string& content, int& known);
  std::vector<DeadOwner> owners_below(const std::string& id, int generation) const;
  bool is_held(const std::string& id, int generation) const;
  void release(const std::string& id, int generation) const noexcept;
  void remove_orphans() const;
  std::vector<std::string> claimed_ids() const;

  std::filesystem::path folder_;
  ClaimOwner owner_;
  std::vector<std::string> held_at_start_;
  std::unique_ptr<ClaimHeartbeat> heartbeat_;
  std::unique_ptr<OwnerWatch> watch_;
  std::unique_ptr<OwnerProgress> progress_;
};

}  // namespace wan::store
