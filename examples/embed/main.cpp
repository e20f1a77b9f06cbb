// Makes a small video of an image, on all ranks:  mpirun -np 2 embed CHECKPOINT IMAGE VIDEO.mp4
#include <wan/session.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 4) return std::fprintf(stderr, "usage: embed CHECKPOINT IMAGE VIDEO.mp4\n"), 2;
  int provided = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  int exit_code = 0;
  try {
    wan::SessionOptions options;
    options.checkpoint = argv[1];
    wan::Session session = wan::Session::open(options, MPI_COMM_WORLD);

    wan::Request request = session.make_request("A white cat on a surfboard.", argv[2]);
    request.size = {96, 64};
    request.frame_num = 9;
    request.sample_steps = 4;
    request.seed = 42;
    const wan::RequestReport report = session.run(request, {argv[3]});
    if (rank == 0) std::printf("%s: %d frames, %s\n", argv[3], report.frames, report.layout.c_str());
  } catch (const wan::Error& error) {  // alike on every rank, unless the ranks have lost each other
    std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
    exit_code = 1;
  }
  MPI_Finalize();
  return exit_code;
}
