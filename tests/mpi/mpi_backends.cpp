#include "comm/deferred.h"
#include "comm/local.h"
#include "mpi/comm_backends.h"
#include "mpi/lent_communicator.h"

namespace wan::comm::test {

std::vector<Backend> backends() {
  const auto as_it_is = [](std::unique_ptr<Communicator> inner) { return inner; };
  std::vector<Backend> all{
      {.name = "mpi", .wrap = as_it_is, .options = {.timeout_s = patience_s}},
      // With a limit of 7, small test data takes the same path as messages over 2 GiB.
      {.name = "mpi_large", .wrap = as_it_is, .options = {.timeout_s = patience_s, .largest_count = 7}},
      {.name = "deferred", .wrap = make_deferred, .options = {.timeout_s = patience_s}},
      {.name = "lent",
       .wrap =
           [](std::unique_ptr<Communicator> inner) {
             return std::make_unique<wan::test::LentCommunicator>(std::move(inner));
           },
       .options = {.timeout_s = patience_s}}};
  if (MpiEnvironment().size() == 1) {
    all.push_back(
        {.name = "local",
         .wrap = [](const std::unique_ptr<Communicator>& inner) { return make_local(inner->name()); },
         .options = {}});
  }
  return all;
}

}  // namespace wan::comm::test
