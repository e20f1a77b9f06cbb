#include "apps/doctor_program.h"

#include <algorithm>
#include <cstring>

#include "apps/acceptance.h"
#include "apps/bench_measurement.h"
#include "apps/option_parser.h"
#include "apps/version_report.h"
#include "comm/mpi/mpi.h"
#include "core/check.h"
#include "core/console.h"
#include "core/environment.h"
#include "doctor/checkpoint_checks.h"
#include "doctor/environment.h"
#include "doctor/gpu_checks.h"
#include "doctor/job_checks.h"
#include "doctor/library_checks.h"
#include "doctor/storage_checks.h"
#include "doctor/system_checks.h"
#include "gpu/device.h"
#include "gpu/gpu_signs.h"
#include "launch/agreement.h"
#include "launch/option_names.h"
#include "media/video.h"
#include "trace/trace_index.h"
#include "wan/version.h"

namespace wan::apps {
namespace {

constexpr double timeout_s = 600;

/// The report of a rank: itself, and its findings.
struct RankReport {
  doctor::RankFacts facts;
  std::vector<doctor::Finding> findings;
};

/// The GPU that a run would give this rank. Nothing if this rank is alone and checks all GPUs in turn.
std::optional<int> own_gpu(const comm::MpiEnvironment& mpi, int visible) {
  if (mpi.size() == 1) return std::nullopt;
  return visible == 1 ? 0 : mpi.local_rank();
}

/// Checks the output folder, and whether something is in the way of the trace.
std::vector<doctor::Finding> check_output(const std::filesystem::path& folder) {
  doctor::StorageFacts facts = doctor::gather_storage(folder, "--output-dir");
  if (facts.probe.problem.empty()) facts.probe.problem = trace::in_the_way_of_trace(folder / "trace.h5");
  return doctor::check_storage(facts);
}

/// The checkpoint's checks, with options where they name settings.
std::vector<doctor::Finding> check_checkpoint(const launch::Options& options) {
  auto findings = doctor::check_checkpoint(options.ckpt_dir, "--ckpt-dir", options.parts);
  for (doctor::Finding& finding : findings) finding.found = launch::with_options(std::move(finding.found));
  return findings;
}

/// Whether the user names a part of a checkpoint by itself.
bool names_part(const checkpoint::GivenParts& parts) {
  return parts.has_experts() || !parts.vae.empty() || !parts.text_encoder.empty() ||
         !parts.image_encoder.empty() || !parts.tokenizer.empty();
}

RankReport examine(const comm::MpiEnvironment& mpi, const launch::Options& options) {
  const Environment environment = read_environment();
  RankReport report;
  const auto add = [&](std::vector<doctor::Finding> more) {
    std::ranges::move(more, std::back_inserter(report.findings));
  };
  const gpu::VisibleGpus visible = gpu::visible_gpus();
  const std::optional<int> own = own_gpu(mpi, visible.count);
  const doctor::GpusFacts gpus = doctor::gather_gpus(own);
  add(doctor::check_gpus(gpus));
  add(doctor::check_nccl(doctor::gather_nccl(environment)));
  add(doctor::check_mpi(doctor::gather_mpi(environment, mpi.size())));
  add(doctor::check_slurm(environment, visible.count, mpi.local_size()));
  add(doctor::check_hidden_gpus(gpu::signs_of_gpus(environment), visible.count, visible.reason));
  const doctor::SystemFacts system = doctor::gather_system(environment, mpi.local_size());
  add(doctor::check_process(system));
  add(doctor::check_environment(environment));
  // Once on every node, because each must see the files.
  if (mpi.local_rank() == 0) {
    add(doctor::check_host(system));
    add(doctor::check_encoders(media::video_codecs()));
    add(check_output(options.output_dir));
    if (!options.ckpt_dir.empty() || names_part(options.parts)) add(check_checkpoint(options));
  }
  report.facts = {.rank = mpi.rank(),
                  .host = mpi.host_name(),
                  .version = std::string(version()),
                  .local_rank = mpi.local_rank(),
                  .visible_gpus = visible.count,
                  .gpu_bus_id = {},
                  .gpu_name = {},
                  .bound_cores = doctor::bound_cores_text()};
  for (const doctor::GpuFacts& gpu : gpus.gpus) {
    if (!gpu.info || gpu.index != own.value_or(0)) continue;
    report.facts.gpu_bus_id = gpu.info->bus_id;
    report.facts.gpu_name = gpu.info->name;
    report.facts.gpu_bytes = gpu.info->total_bytes;
  }
  return report;
}

/// Every rank's text, in rank order, on all ranks.
std::vector<std::string> gather_texts(comm::Communicator& world, const std::string& text) {
  std::array<std::int64_t, 1> longest{static_cast<std::int64_t>(text.size())};
  world.all_reduce(std::span<std::int64_t>(longest), comm::ReduceOp::max).wait();
  // The length goes first, because every rank sends as many bytes as the rank with the longest text.
  const std::size_t stride = sizeof(std::int64_t) + static_cast<std::size_t>(longest[0]);
  std::string own(stride, '\0');
  const auto length = static_cast<std::int64_t>(text.size());
  std::memcpy(own.data(), &length, sizeof length);
  std::ranges::copy(text, own.begin() + sizeof length);
  std::string all(stride * static_cast<std::size_t>(world.size()), '\0');
  world.all_gather(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all))).wait();
  std::vector<std::string> texts;
  for (std::size_t at = 0; at < all.size(); at += stride) {
    std::int64_t size = 0;
    std::memcpy(&size, all.data() + at, sizeof size);
    texts.push_back(all.substr(at + sizeof size, static_cast<std::size_t>(size)));
  }
  return texts;
}

/// The findings of all ranks, each once, and the findings that show only between ranks.
std::vector<doctor::Finding> collect(comm::Communicator& world, const RankReport& own) {
  const std::vector<std::string> facts = gather_texts(world, doctor::to_json(own.facts));
  const std::vector<std::string> findings = gather_texts(world, doctor::to_json(own.findings));
  std::vector<doctor::RankFacts> ranks;
  std::vector<std::vector<doctor::Finding>> by_rank;
  for (std::size_t rank = 0; rank < facts.size(); ++rank) {
    ranks.push_back(doctor::rank_facts_from_json(facts[rank]));
    by_rank.push_back(doctor::from_json(findings[rank]));
  }
  std::vector<doctor::Finding> merged = doctor::merge(by_rank);
  std::ranges::move(doctor::check_job(ranks, read_environment()), std::back_inserter(merged));
  return merged;
}

/// Measures all GPUs of the job in place of the checks.
ExitCode accept_gpus(const comm::MpiEnvironment& mpi, comm::Communicator& world,
                     std::span<const std::string> arguments, const launch::Options& options) {
  launch::agree(world, [&] {
    if (!gpu::is_built_in()) {
      fail<UsageError>(
          "--accept measures GPUs, and this build has no GPU support: build it where CUDA is found "
          "(docs/cluster.md), or leave --accept out");
    }
    if (const gpu::VisibleGpus visible = gpu::visible_gpus(); visible.count == 0) {
      fail<UsageError>("--accept measures GPUs, and rank {} on {} has no GPU: {}", mpi.rank(),
                       mpi.host_name(), visible.reason);
    }
  });
  const Acceptance acceptance = judge(measure_bench(mpi, acceptance_options(options), arguments));
  // Rank 0 alone has all figures.
  std::array<std::int64_t, 1> has_failed{mpi.rank() == 0 && !acceptance.is_accepted() ? 1 : 0};
  world.all_reduce(std::span<std::int64_t>(has_failed), comm::ReduceOp::max).wait();
  if (mpi.rank() == 0)
    print_result(options.doctor_json ? acceptance_json(acceptance) : acceptance_table(acceptance));
  return has_failed[0] == 0 ? ExitCode::done : ExitCode::failure;
}

}  // namespace

ParsedCommandLine parse_doctor_options(std::span<const std::string> arguments) {
  return parse_plain_options(doctor_option_table(), arguments);
}

std::string doctor_help_text() {
  const std::vector<OptionEntry> table = doctor_option_table();
  return "Checks everything that a run needs: GPUs, driver, NCCL, MPI and its launcher, memory, limits,\n"
         "Slurm, environment variables, the checkpoint, disk space.\n\n"
         "  wan_doctor [options]\n"
         "  mpirun -np N wan_doctor [options]     started like a run: merges the findings of all ranks\n\n" +
         OptionParser(table, not_built_table(), {}).help() +
         "Exit codes: 0 no check failed, or accepted; 1 a check failed, or not accepted; 2 usage, or no GPU "
         "to "
         "measure.\n";
}

ExitCode run_doctor_program(const comm::MpiEnvironment& mpi, std::span<const std::string> arguments) {
  const auto world = comm::make_mpi_world(mpi, {.timeout_s = timeout_s});
  ParsedCommandLine parsed;
  launch::agree(*world, [&] { parsed = parse_doctor_options(arguments); });
  if (parsed.action != Action::run) {
    if (mpi.rank() == 0) print_result(parsed.action == Action::help ? doctor_help_text() : version_report());
    return ExitCode::done;
  }
  if (parsed.options.doctor_accept) return accept_gpus(mpi, *world, arguments, parsed.options);
  RankReport own;
  launch::agree(*world, [&] { own = examine(mpi, parsed.options); });
  const std::vector<doctor::Finding> findings = collect(*world, own);
  if (mpi.rank() == 0) {
    print_result(parsed.options.doctor_json ? doctor::report_json(findings, mpi.size())
                                            : doctor::table(findings, mpi.size()));
  }
  return doctor::count(findings).fail == 0 ? ExitCode::done : ExitCode::failure;
}

}  // namespace wan::apps
