#include "engine/stage_values.h"

#include <utility>

#include "engine/request_state.h"
#include "engine/text_look_ahead.h"

namespace wan::engine {

void StageValues::put(std::string_view name, at::Tensor tensor) {
  shared_.insert_or_assign(std::string(name), std::move(tensor));
}

at::Tensor StageValues::get(std::string_view name) const {
  const auto found = shared_.find(name);
  return found == shared_.end() ? at::Tensor() : found->second;
}

void StageValues::drop(std::string_view name) {
  if (const auto found = shared_.find(name); found != shared_.end()) shared_.erase(found);
  if (const auto found = of_leader_.find(name); found != of_leader_.end()) of_leader_.erase(found);
}

std::vector<at::Tensor>& StageValues::on_leader(std::string_view name) {
  return of_leader_[std::string(name)];
}

StageValues StageValues::copy_of(const std::vector<std::string>& names) const {
  StageValues copy;
  for (const std::string& name : names) {
    if (const auto found = shared_.find(name); found != shared_.end()) copy.shared_.insert(*found);
    if (const auto found = of_leader_.find(name); found != of_leader_.end()) copy.of_leader_.insert(*found);
  }
  return copy;
}

StageValues StageValues::on_host() const {
  StageValues copy = *this;
  for (auto& [name, tensor] : copy.shared_) tensor = tensor.cpu();
  for (auto& [name, list] : copy.of_leader_) {
    for (at::Tensor& tensor : list) tensor = tensor.cpu();
  }
  return copy;
}

void StageValues::add(StageValues others) {
  for (auto& [name, tensor] : others.shared_) shared_.insert_or_assign(name, std::move(tensor));
  for (auto& [name, list] : others.of_leader_) of_leader_.insert_or_assign(name, std::move(list));
}

void StageValues::broadcast(comm::Communicator& group, int root) {
  std::vector<std::string> names;
  names.reserve(shared_.size());
  for (const auto& [name, tensor] : shared_) names.push_back(name);
  for (const std::string& name : broadcast_texts(group, root, names))
    broadcast_tensor(group, root, shared_[name]);
}

}  // namespace wan::engine
