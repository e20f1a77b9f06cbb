#include "engine/request_state.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "checkpoint/safetensors.h"
#include "core/check.h"
#include "core/printable.h"
#include "model/precision_name.h"
#include "parallel/tensor_bytes.h"

namespace wan::engine {
namespace {

constexpr std::string_view clean_name = "clean";
constexpr std::string_view history_prefix = "history.";
constexpr std::string_view carried_prefix = "carried.";
constexpr std::string_view leader_prefix = "leader.";
constexpr std::int64_t max_identity_bytes = 64 << 10;
constexpr std::int64_t max_dimensions = 8;

checkpoint::TensorView float_view(std::string name, const at::Tensor& tensor) {
  WAN_CHECK(tensor.scalar_type() == at::kFloat && tensor.device().is_cpu(),
            "'{}' is no fp32 tensor on the host", name);
  return {.name = std::move(name),
          .dtype = checkpoint::DType::f32,
          .shape = tensor.sizes().vec(),
          .bytes = parallel::bytes_of(tensor)};
}

/// The names of a solver's history as they travel between ranks, each with a zero behind it; empty places at
/// the end.
using HistoryNames = std::array<std::array<char, sample::max_history_name + 1>, sample::max_history_tensors>;

/// An identity as it is written now: "TASK PRECISION ...", where earlier versions wrote another word for
/// bf16.
std::string current_identity(std::string identity) {
  const std::size_t begin = identity.find(' ') + 1;
  const std::size_t end = std::min(identity.find(' ', begin), identity.size());
  const std::string precision = identity.substr(begin, end - begin);
  return identity.replace(begin, end - begin, current_precision_name(precision));
}

HistoryNames pack_names(const sample::SolverHistory& history) {
  WAN_CHECK(history.size() <= sample::max_history_tensors, "the solver remembers {} tensors, more than {}",
            history.size(), sample::max_history_tensors);
  HistoryNames names{};
  auto* place = names.begin();
  for (const auto& [name, tensor] : history) {
    WAN_CHECK(sample::is_history_name(name), "'{}' is no name for a solver's history", name);
    std::ranges::copy(name, (place++)->begin());
  }
  return names;
}

/// The tensors of a state file by name. Every range is inside the file: read_safetensors() has seen to that.
class StateFile {
 public:
  explicit StateFile(const std::filesystem::path& path) : path_(path), file_(open_regular_file(path)) {
    for (checkpoint::TensorEntry& entry : checkpoint::read_safetensors(file_, path)) {
      entries_.emplace(entry.name, std::move(entry));
    }
  }

  const std::map<std::string, checkpoint::TensorEntry>& entries() const { return entries_; }

  std::string read_text(const std::string& name) const {
    const checkpoint::TensorEntry& found = entry(name, checkpoint::DType::u8);
    if (found.elements() > max_identity_bytes) fail("'{}' is too long", name);
    std::string text(static_cast<std::size_t>(found.elements()), '\0');
    read_at(file_, path_, found.begin_byte, std::as_writable_bytes(std::span(text)));
    return text;
  }

  std::int32_t read_int(const std::string& name) const {
    const checkpoint::TensorEntry& found = entry(name, checkpoint::DType::i32);
    if (found.elements() != 1) fail("'{}' is no single number", name);
    std::int32_t value = 0;
    read_at(file_, path_, found.begin_byte, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  /// fp32 of whatever shape the file says, finite.
  at::Tensor read_floats(const std::string& name) const {
    return read_latent(name, entry(name, checkpoint::DType::f32).shape);
  }

  /// uint8 of whatever shape the file says.
  at::Tensor read_bytes(const std::string& name) const {
    const checkpoint::TensorEntry& found = entry(name, checkpoint::DType::u8);
    at::Tensor tensor = at::empty(found.shape, at::kByte);
    read_at(file_, path_, found.begin_byte, parallel::writable_bytes_of(tensor));
    return tensor;
  }

  /// fp32 of that shape, finite.
  at::Tensor read_latent(const std::string& name, at::IntArrayRef shape) const {
    const checkpoint::TensorEntry& found = entry(name, checkpoint::DType::f32);
    if (at::IntArrayRef(found.shape) != shape) {
      fail("'{}' has the shape {} instead of {}", name, checkpoint::shape_text(found.shape),
           checkpoint::shape_text(shape.vec()));
    }
    at::Tensor tensor = at::empty(shape, at::kFloat);  // [16, frames, height, width]
    read_at(file_, path_, found.begin_byte, parallel::writable_bytes_of(tensor));
    if (!tensor.isfinite().all().item<bool>()) fail("'{}' holds values that are not finite", name);
    return tensor;
  }

 private:
  const checkpoint::TensorEntry& entry(const std::string& name, checkpoint::DType dtype) const {
    const auto found = entries_.find(name);
    if (found == entries_.end()) fail("it has no '{}'", name);
    if (found->second.dtype != dtype) fail("'{}' is of another type", name);
    return found->second;
  }

  const std::filesystem::path& path_;
  UniqueFd file_;
  std::map<std::string, checkpoint::TensorEntry> entries_;
};

}  // namespace

std::string step_latent_name(int step) { return fmt::format("step.{}", step); }

void write_request_state(const std::filesystem::path& path, const SavedRequest& saved,
                         const std::string& identity) {
  const DenoiseState& state = saved.state;
  const StageValues& carried = saved.carried;
  const auto steps_done = static_cast<std::int32_t>(state.steps_done);
  std::vector<checkpoint::TensorView> tensors{{.name = "identity",
                                               .dtype = checkpoint::DType::u8,
                                               .shape = {static_cast<std::int64_t>(identity.size())},
                                               .bytes = std::as_bytes(std::span(identity))},
                                              {.name = "steps_done",
                                               .dtype = checkpoint::DType::i32,
                                               .shape = {1},
                                               .bytes = std::as_bytes(std::span(&steps_done, 1))},
                                              float_view("latent", state.latent)};
  for (const auto& [name, tensor] : state.history) {
    tensors.push_back(float_view(std::string(history_prefix) + name, tensor));
  }
  if (state.clean.defined()) tensors.push_back(float_view(std::string(clean_name), state.clean));
  for (const auto& [step, latent] : saved.step_latents)
    tensors.push_back(float_view(step_latent_name(step), latent));
  std::vector<at::Tensor> kept;  // the views refer to them
  for (const auto& [name, tensor] : carried.shared()) {
    kept.push_back(tensor.cpu().contiguous());
    tensors.push_back(float_view(std::string(carried_prefix) + name, kept.back()));
  }
  for (const auto& [name, list] : carried.of_leader()) {
    if (list.empty()) continue;
    kept.push_back(at::cat(list, 0));
    tensors.push_back({.name = std::string(leader_prefix) + name,
                       .dtype = checkpoint::DType::u8,
                       .shape = kept.back().sizes().vec(),
                       .bytes = parallel::bytes_of(kept.back())});
  }
  checkpoint::write_safetensors(path, tensors);
}

SavedRequest read_request_state(const std::filesystem::path& path, const StateExpectation& expected) {
  const StateFile file(path);
  if (const std::string found = current_identity(file.read_text("identity")); found != expected.identity) {
    fail("it belongs to something else: it was made for {}, this is {}", checkpoint::in_quotes(found),
         checkpoint::in_quotes(expected.identity));
  }
  SavedRequest saved;
  DenoiseState& state = saved.state;
  state = {.steps_done = file.read_int("steps_done"), .latent = {}, .history = {}};
  if (state.steps_done < 1 || state.steps_done > expected.most_steps) {
    fail("it says that {} of {} steps are done", state.steps_done, expected.most_steps);
  }
  state.latent = file.read_latent("latent", expected.latent_shape);
  const std::string clean(clean_name);
  if (file.entries().contains(clean)) state.clean = file.read_latent(clean, expected.latent_shape);
  for (const auto& [stored, entry] : file.entries()) {
    if (!stored.starts_with(history_prefix)) continue;
    const std::string name = stored.substr(history_prefix.size());
    if (!sample::is_history_name(name)) fail("'{}' is no name of a solver's history", printable(name));
    if (state.history.size() == sample::max_history_tensors) {
      fail("it holds more than {} tensors of a solver's history", sample::max_history_tensors);
    }
    state.history.emplace(name, file.read_latent(stored, expected.latent_shape));
  }
  for (const std::string& name : expected.carried) {
    const std::string shared = std::string(carried_prefix) + name;
    const std::string of_leader = std::string(leader_prefix) + name;
    if (file.entries().contains(shared)) saved.carried.put(name, file.read_floats(shared));
    if (file.entries().contains(of_leader)) saved.carried.on_leader(name) = {file.read_bytes(of_leader)};
  }
  for (int step = 0; expected.step_latents && step < state.steps_done; ++step) {
    const std::string name = step_latent_name(step);
    if (file.entries().contains(name))
      saved.step_latents.emplace(step, file.read_latent(name, expected.latent_shape));
  }
  return saved;
}

void broadcast_tensor(comm::Communicator& group, int root, at::Tensor& tensor) {
  // Defined?, type, dimensions, sizes.
  std::array<std::int64_t, 3 + max_dimensions> header{};
  if (group.rank() == root && tensor.defined()) {
    WAN_CHECK(tensor.dim() <= max_dimensions, "{} dimensions", tensor.dim());
    header = {1, static_cast<std::int64_t>(tensor.scalar_type()), tensor.dim()};
    std::ranges::copy(tensor.sizes(), header.begin() + 3);
  }
  group.broadcast(std::as_writable_bytes(std::span(header)), root).wait();
  if (header[0] == 0) return;
  if (group.rank() == root) {
    tensor = tensor.cpu().contiguous();
  } else {
    tensor = at::empty(at::IntArrayRef(header.data() + 3, static_cast<std::size_t>(header[2])),
                       static_cast<at::ScalarType>(header[1]));
  }
  group.broadcast(parallel::writable_bytes_of(tensor), root).wait();
}

void broadcast_state(comm::Communicator& group, int root, DenoiseState& state) {
  std::array<std::int64_t, 1> steps_done{state.steps_done};
  group.broadcast(std::as_writable_bytes(std::span(steps_done)), root).wait();
  state.steps_done = static_cast<int>(steps_done[0]);
  broadcast_tensor(group, root, state.latent);
  broadcast_tensor(group, root, state.clean);
  HistoryNames names = group.rank() == root ? pack_names(state.history) : HistoryNames{};
  group.broadcast(std::as_writable_bytes(std::span(names)), root).wait();
  for (const auto& name : names) {
    if (name.front() == '\0') continue;
    at::Tensor& tensor = state.history[name.data()];
    broadcast_tensor(group, root, tensor);
  }
}

}  // namespace wan::engine
