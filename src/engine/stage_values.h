#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"

namespace wan::engine {

/// The tensors that the stages of a request make for each other, by name.
class StageValues {
 public:
  /// Keeps a tensor that is the same on every rank of the team, on any device.
  void put(std::string_view name, at::Tensor tensor);
  /// The tensor of that name; undefined if there is none.
  at::Tensor get(std::string_view name) const;
  void drop(std::string_view name);

  /// The list of tensors that only the leader has; empty at first.
  std::vector<at::Tensor>& on_leader(std::string_view name);

  /// The tensors of those names, of both kinds; tensors that are not there are left out.
  StageValues copy_of(const std::vector<std::string>& names) const;
  /// The same values, all of them in host memory.
  StageValues on_host() const;
  /// Takes all of `others`, in place of tensors of the same name.
  void add(StageValues others);
  const std::map<std::string, at::Tensor, std::less<>>& shared() const { return shared_; }
  const std::map<std::string, std::vector<at::Tensor>, std::less<>>& of_leader() const { return of_leader_; }

  /// Sends the tensors that all ranks share from rank `root` to every rank, on the host. Collective.
  void broadcast(comm::Communicator& group, int root);

 private:
  std::map<std::string, at::Tensor, std::less<>> shared_;
  std::map<std::string, std::vector<at::Tensor>, std::less<>> of_leader_;
};

}  // namespace wan::engine
