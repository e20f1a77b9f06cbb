#include "doctor/library_checks.h"

#include <fmt/ranges.h>
#include <mpi.h>

#include <algorithm>
#include <array>
#include <set>

#include "comm/mpi/launch.h"
#include "core/check.h"
#include "core/strings.h"

namespace wan::doctor {
namespace {

std::string nccl_text(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

std::vector<std::filesystem::path> folders_of(const std::string& list) {
  std::vector<std::filesystem::path> folders;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(':', begin), list.size());
    if (end > begin) folders.emplace_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return folders;
}

std::string compiled_mpi() {
#ifdef OMPI_MAJOR_VERSION
  return fmt::format("Open MPI {}.{}.{}", OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION, OMPI_RELEASE_VERSION);
#elif defined(MPICH_VERSION)
  return fmt::format("MPICH {}", MPICH_VERSION);
#else
  return fmt::format("MPI {}.{}", MPI_VERSION, MPI_SUBVERSION);
#endif
}

/// Returns "4.1" for "Open MPI 4.1.4".
std::string series_of(const std::string& compiled) {
  const std::string number = compiled.substr(compiled.rfind(' ') + 1);
  return number.substr(0, number.rfind('.'));
}

/// Whether the library's own text names the family and series that the program was compiled with.
bool is_same_mpi(const std::string& compiled, const std::string& running) {
  const std::string family = compiled.substr(0, compiled.rfind(' '));
  if (family == "MPI") return true;  // the version texts of other libraries have no known form
  const std::size_t at = running.find(family);
  if (at == std::string::npos) return false;
  const std::size_t digit = running.find_first_of("0123456789", at + family.size());
  const std::string series = series_of(compiled) + ".";
  return digit != std::string::npos && running.compare(digit, series.size(), series) == 0;
}

}  // namespace

NcclFacts gather_nccl(const Environment& environment) {
  NcclFacts facts{.version = comm::nccl_version(), .others = {}};
  if (!facts.version) return facts;
  std::error_code error;
  const std::filesystem::path loaded = std::filesystem::canonical(facts.version->path, error);
  std::set<std::filesystem::path> seen;
  for (const std::filesystem::path& folder : folders_of(value_of(environment, "LD_LIBRARY_PATH"))) {
    const std::filesystem::path other = std::filesystem::canonical(folder / "libnccl.so.2", error);
    if (!error && other != loaded && seen.insert(other).second) facts.others.push_back(other);
  }
  return facts;
}

std::vector<Finding> check_nccl(const NcclFacts& facts) {
  if (!facts.version) return {};
  const comm::NcclVersion& version = *facts.version;
  std::vector<Finding> findings;
  const std::string found = fmt::format("{} from {}", nccl_text(version.library), printable(version.path));
  const std::string own =
      "take folders with another libnccl.so.2 out of LD_LIBRARY_PATH and LD_PRELOAD, or unload "
      "the module that put them there";
  if (version.library / 100 != version.header / 100) {
    findings.push_back(
        bad("NCCL", fmt::format("{}, but the program was compiled with {}", found, nccl_text(version.header)),
            own));
  } else {
    findings.push_back(ok("NCCL", found));
  }
  if (!facts.others.empty()) {
    std::vector<std::string> others;
    others.reserve(facts.others.size());
    for (const std::filesystem::path& other : facts.others) others.push_back(printable(other.string()));
    findings.push_back(
        warn("NCCL", fmt::format("LD_LIBRARY_PATH contains another one: {}", fmt::join(others, ", ")), own));
  }
  return findings;
}

void read_launcher(const Environment& environment, MpiFacts& facts) {
  const comm::Launch launch = comm::read_launch([&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::optional<std::string>() : found->second;
  });
  facts.launched = launch.ranks;
  facts.launcher = launch.launcher;
  facts.has_pmi = launch.has_pmi;
}

MpiFacts gather_mpi(const Environment& environment, int ranks) {
  MpiFacts facts{.compiled = compiled_mpi(), .running = {}, .ranks = ranks, .launcher = {}};
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  if (MPI_Get_library_version(text.data(), &length) == MPI_SUCCESS)
    facts.running.assign(text.data(), static_cast<std::size_t>(length));
  facts.running = facts.running.substr(0, facts.running.find_first_of(",\n"));
  int initialized = 0;
  int level = MPI_THREAD_SINGLE;
  // A single rank does not start MPI; a run will see its thread level.
  if (MPI_Initialized(&initialized) == MPI_SUCCESS && initialized != 0)
    facts.is_threaded = MPI_Query_thread(&level) == MPI_SUCCESS && level >= MPI_THREAD_FUNNELED;
  read_launcher(environment, facts);
  return facts;
}

std::vector<Finding> check_encoders(const std::vector<std::string>& encoders) {
  const std::string found = fmt::format("{}", fmt::join(encoders, ", "));
  if (std::ranges::find(encoders, "libx264") != encoders.end()) return {ok("FFmpeg encoders", found)};
  return {
      bad("FFmpeg encoders",
          fmt::format("no libx264, by which videos are written; there is {}",
                      encoders.empty() ? "none that a run can use" : found),
          "load an FFmpeg with libx264, the one that the program was built with, or name another encoder for "
          "the run")};
}

std::vector<Finding> check_mpi(const MpiFacts& facts) {
  std::vector<Finding> findings;
  const std::string running = printable(facts.running, 80);
  if (is_same_mpi(facts.compiled, facts.running)) {
    findings.push_back(ok("MPI", fmt::format("{}, compiled with {}", running, facts.compiled)));
  } else {
    findings.push_back(
        bad("MPI", fmt::format("{}, but the program was compiled with {}", running, facts.compiled),
            "load the MPI module that the program was built with, or build the program again with this one"));
  }
  if (!facts.is_threaded) {
    findings.push_back(bad("MPI threads", "the library gives less than MPI_THREAD_FUNNELED",
                           "use an MPI built with thread support"));
  }
  if (facts.launcher == "Slurm" && facts.launched != facts.ranks) {
    findings.push_back(
        warn("MPI launch",
             fmt::format("this Slurm job has {} tasks, but wan_doctor was started alone", facts.launched),
             fmt::format("start it as a run is: srun --mpi=pmix wan_doctor, or mpirun -np {} "
                         "wan_doctor. A run that is started alone is refused here",
                         facts.launched)));
  } else if (facts.launcher == "srun" && facts.launched == 1 && facts.ranks == 1 && !facts.has_pmi) {
    findings.push_back(warn(
        "MPI launch", "this Slurm step has no PMIx, so MPI cannot be started in it, and neither can a run",
        "start a run by srun --mpi=pmix from the batch script or from salloc, or by mpirun"));
  } else if (facts.launched != facts.ranks && facts.launcher == "srun") {
    findings.push_back(
        bad("MPI launch",
            fmt::format("srun started {} processes, but each of them sees {}", facts.launched,
                        facts.ranks == 1 ? "itself alone" : fmt::format("{} ranks", facts.ranks)),
            "srun --mpi=pmix (srun --mpi=list shows whether it is there, ompi_info | grep pmix whether MPI "
            "has it), or mpirun in the batch script"));
  } else if (facts.launched != facts.ranks) {
    findings.push_back(
        bad("MPI launch",
            fmt::format("{} started {} processes, but this one sees {} rank{}", facts.launcher,
                        facts.launched, facts.ranks, facts.ranks == 1 ? "" : "s"),
            "the launcher belongs to another MPI than the program: check `which mpirun` and modules"));
  } else {
    findings.push_back(ok("MPI launch", facts.launcher.empty()
                                            ? std::string("a bare start, one rank")
                                            : fmt::format("{} rank{} by {}", facts.ranks,
                                                          facts.ranks == 1 ? "" : "s", facts.launcher)));
  }
  return findings;
}

}  // namespace wan::doctor
