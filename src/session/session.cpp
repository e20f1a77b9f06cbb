#include "wan/session.h"

#include <cstdio>
#include <optional>
#include <utility>

#include "comm/first_message.h"
#include "comm/mpi/mpi.h"
#include "comm/mpi/ranks.h"
#include "comm/mpi/support.h"
#include "core/check.h"
#include "core/clock.h"
#include "launch/agreement.h"
#include "launch/engine_host.h"
#include "parallel/agree.h"
#include "session/callbacks.h"
#include "session/output_files.h"
#include "session/request_check.h"
#include "session/session_options.h"

namespace wan {
namespace {

/// A communicator of the session's own, whose errors come back as codes.
comm::CommHandle duplicate(MPI_Comm communicator) {
  const comm::MpiRanks given(communicator);  // throws for one that cannot be used
  MPI_Comm own = MPI_COMM_NULL;
  comm::check_mpi(MPI_Comm_dup(given.comm(), &own), "MPI_Comm_dup", "for a session");
  comm::CommHandle handle(own);
  comm::check_mpi(MPI_Comm_set_errhandler(own, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler",
                  "for a session");
  return handle;
}

void print_to_stderr(const std::string& message) { std::fprintf(stderr, "wan: %s\n", message.c_str()); }

using MessageListener = std::function<void(const std::string&)>;

/// `listener` without its exceptions: out of a collective or a thread they would end more than they should.
MessageListener guarded(const MessageListener& listener) {
  return [listener](const std::string& message) {
    try {
      listener(message);
    } catch (...) {
      print_to_stderr("a function that hears messages threw at this one: " + message);
    }
  };
}

launch::EngineHost::Listeners listeners_of(const SessionOptions& options) {
  const MessageListener nobody = [](const std::string& /*message*/) {};
  return {.on_note = options.on_note ? guarded(options.on_note) : nobody,
          .on_hang = options.on_hang ? guarded(options.on_hang) : print_to_stderr};
}

/// The first line: LibTorch adds the functions that it was in.
std::string first_line(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

/// Runs `work` and throws what all ranks agreed on, and what a library threw, as an error of the public
/// interface.
template <typename Work>
void with_public_errors(Work&& work) {
  try {
    work();
  } catch (const launch::AgreedError& error) {
    if (error.code() == ExitCode::usage) throw UsageError(error.what());
    throw Error(error.what());
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Error(first_line(error));
  }
}

}  // namespace

class Session::Impl {
 public:
  Impl(const SessionOptions& options, MPI_Comm communicator)
      : comm_(duplicate(communicator)),
        ranks_(comm_.get()),
        world_(comm::make_mpi_world(ranks_, {.timeout_s = launch::start_timeout_s})) {
    std::string own = session::describe_values(options);
    const std::string of_rank_0 = launch::on_rank_0(*world_, [&] { return own; });
    launch::agree(*world_, [&] {
      if (own != of_rank_0) {
        fail<UsageError>(
            "this rank has other SessionOptions than rank 0: every rank must give the same values");
      }
      options_ = session::launch_options(options, world_->size());
    });
    on_note_ = listeners_of(options).on_note;
    device_ = launch::choose_device(*world_, ranks_, options_);
    input_ = launch::read_run_input(*world_, options_, device_.compute.on_gpu());
    const launch::RunPlan plan = launch::plan_run(*world_, options_, input_, device_);
    host_ = std::make_unique<launch::EngineHost>(ranks_, *world_, device_, listeners_of(options));
    host_->load(input_, options_, plan, clock_);
    for (const std::string& note : input_.lora_sets.front().notes)
      if (world_->rank() == 0) on_note_(note);
  }

  const Task& task() const { return input_.checkpoint.task; }
  Request make_request(const std::string& prompt, const std::filesystem::path& image) const;
  void validate(const Request& request) const {
    session::check_values(request, task().kind, device_.compute.on_gpu());
    host_->engine().validate(request);
  }
  RequestReport run(const Request& request, const SessionOutputs& outputs, Observer* observer,
                    const StopFunction& stop);

 private:
  template <typename Work>
  void together(Work&& work);
  RequestReport make(const Request& request, const SessionOutputs& outputs,
                     std::optional<session::OutputFiles>& files, session::Callbacks& callbacks);
  void require_same(const Request& request);

  comm::CommHandle comm_;
  comm::MpiRanks ranks_;
  std::unique_ptr<comm::Communicator> world_;
  launch::Options options_;
  std::function<void(const std::string&)> on_note_;
  launch::RunDevice device_;
  launch::RunInput input_;
  Stopwatch clock_;
  std::unique_ptr<launch::EngineHost> host_;
  std::string failure_;  ///< why the ranks can make nothing together any more
};

Request Session::Impl::make_request(const std::string& prompt, const std::filesystem::path& image) const {
  manifest::ManifestRow row;
  row.id = "video";
  row.prompt = prompt;
  row.image = image;
  return launch::resolve_row(input_, row);
}

/// Ranks with different requests would wait for each other in different collectives.
void Session::Impl::require_same(const Request& request) {
  std::string own = session::describe_values(request);
  const std::string of_rank_0 = launch::on_rank_0(*world_, [&] { return own; });
  parallel::agree(*world_, [&] {
    if (own != of_rank_0) {
      fail_item("request", "rank {} has another request than rank 0: every rank must give the same one",
                world_->rank());
    }
  });
}

/// Runs `work`, in which the ranks meet. After anything but an ItemError they are not together any more.
template <typename Work>
void Session::Impl::together(Work&& work) {
  try {
    with_public_errors(work);
  } catch (const ItemError&) {
    throw;
  } catch (const Error& error) {
    failure_ = error.what();
    throw;
  }
}

/// Makes the request into the temporary files. Collective.
RequestReport Session::Impl::make(const Request& request, const SessionOutputs& outputs,
                                  std::optional<session::OutputFiles>& files, session::Callbacks& callbacks) {
  require_same(request);
  parallel::agree(*world_, [&] { session::check_values(request, task().kind, device_.compute.on_gpu()); });
  parallel::agree_on_root(*world_, 0, "write", [&] { files.emplace(outputs); });
  const OutputPaths paths = files ? files->temporary() : OutputPaths();
  engine::WanEngine& engine = host_->engine();
  try {
    return engine.run(request, paths, callbacks, callbacks, {});
  } catch (const MemoryError& shortage) {
    const std::string change = engine.make_leaner();
    if (change.empty()) throw;
    if (world_->rank() == 0)
      on_note_(fmt::format("{}; tried again with {}, as are all later requests", shortage.what(), change));
  }
  return engine.run(request, paths, callbacks, callbacks, {});
}

RequestReport Session::Impl::run(const Request& request, const SessionOutputs& outputs, Observer* observer,
                                 const StopFunction& stop) {
  if (!failure_.empty())
    fail("this session can make no more requests, because of an earlier error: {}", failure_);
  session::Callbacks callbacks(observer, stop);
  std::optional<session::OutputFiles> files;  // on rank 0
  RequestReport report;
  std::optional<comm::RankMessage> thrown;  // by a function of the caller
  together([&] {
    report = make(request, outputs, files, callbacks);
    thrown = comm::first_message(*world_, callbacks.describe_problem());
  });
  if (callbacks.problem()) std::rethrow_exception(callbacks.problem());
  if (thrown)
    fail_item("request", "a function of the caller threw on rank {}: {}", thrown->rank, thrown->text);
  if (report.end == RunEnd::finished)
    together([&] { parallel::agree_on_root(*world_, 0, "write", [&] { files->publish(); }); });
  return report;
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&& other) noexcept = default;
Session& Session::operator=(Session&& other) noexcept = default;
Session::~Session() = default;

Session Session::open(const SessionOptions& options, MPI_Comm communicator) {
  std::unique_ptr<Impl> impl;
  with_public_errors([&] { impl = std::make_unique<Impl>(options, communicator); });
  return Session(std::move(impl));
}

const Task& Session::task() const { return impl_->task(); }

Request Session::make_request(const std::string& prompt, const std::filesystem::path& image) const {
  return impl_->make_request(prompt, image);
}

void Session::validate(const Request& request) const { impl_->validate(request); }

RequestReport Session::run(const Request& request, const SessionOutputs& outputs, Observer* observer,
                           const StopFunction& stop) {
  return impl_->run(request, outputs, observer, stop);
}

}  // namespace wan
