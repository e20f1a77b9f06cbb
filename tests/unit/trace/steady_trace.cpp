// Adds a step of two ranks to the trace FILE every 10 ms, STEPS times, as a program does that computes.
// Prints "thread ID SECONDS" when it begins and "step N SECONDS" after each, seconds of the monotonic clock.
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "support/trace_sample.h"

namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  constexpr std::chrono::milliseconds step_time{10};
  wan::trace::TraceWriter writer(argv[1], {});
  const int item = writer.begin_item(wan::test::sample_item("a"));
  writer.begin_stretch({.item = item, .event = wan::test::sample_stretch()});
  std::printf("thread %ld %.6f\n", ::syscall(SYS_gettid), now_s());
  for (int step = 0; step < std::atoi(argv[2]); ++step) {
    std::this_thread::sleep_for(step_time);
    const double begun_s = now_s();
    writer.add_steps(wan::test::sample_steps(step));
    std::printf("step %d %.6f %.6f\n", step, now_s(), now_s() - begun_s);
    std::fflush(stdout);
  }
  return 0;
}
