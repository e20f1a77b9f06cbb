#include "core/stop_signals.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

namespace wan {
namespace {

using enum StopLevel;

TEST(StopCountTest, WhatComesWithinFiveSecondsIsOneRequest) {
  StopCount count;
  EXPECT_EQ(count.take(SIGTERM, 100), stop);
  EXPECT_EQ(count.take(SIGTERM, 100.01), stop) << "launchers deliver a signal twice";
  EXPECT_EQ(count.take(SIGINT, 104.9), stop);
  EXPECT_EQ(count.take(SIGTERM, 105), leave);
  EXPECT_EQ(count.take(SIGINT, 105.1), exit);
}

TEST(StopCountTest, TheSchedulersSignalIsNeverASecondOne) {
  StopCount count;
  EXPECT_EQ(count.take(SIGUSR1, 0), stop);
  EXPECT_EQ(count.take(SIGUSR1, 60), stop);
  EXPECT_EQ(count.take(SIGUSR1, 120), stop);
  EXPECT_EQ(count.take(SIGTERM, 121), leave) << "the grace time of a preemption is over";
  EXPECT_EQ(count.take(SIGUSR1, 122), leave);
  EXPECT_EQ(count.take(SIGTERM, 123), exit);
}

/// The exit code of a process that does `work` with StopSignals of its own; -SIGNAL if a signal ended it.
int end_of(const std::function<void(StopSignals&)>& work, StopCount count = StopCount()) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);  // SIGALRM ends a child that hangs
    StopSignals signals(count);
    work(signals);
    std::_Exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void wait_until(const std::function<bool()>& is_true) {
  while (!is_true()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

TEST(StopSignalsTest, TheFirstSignalIsToldOfAndEndsNothing) {
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT}) {
    EXPECT_EQ(end_of([&](StopSignals& signals) {
                std::atomic<StopLevel> heard = none;
                std::string name;
                signals.listen([&](StopLevel level, std::string_view told) {
                  name = told;
                  heard = level;
                });
                ::kill(::getpid(), signal);
                wait_until([&] { return heard != none; });
                if (heard != stop || !signals.have_come() || name != signals.name() || name.empty())
                  std::_Exit(9);
              }),
              0)
        << signal;
  }
}

TEST(StopSignalsTest, ASignalBeforeTheListenerIsToldOfLater) {
  EXPECT_EQ(end_of([](StopSignals& signals) {
              ::kill(::getpid(), SIGTERM);
              wait_until([&] { return signals.have_come(); });
              std::atomic<bool> has_heard = false;
              signals.listen([&](StopLevel, std::string_view) { has_heard = true; });
              wait_until([&] { return has_heard.load(); });
            }),
            0);
}

TEST(StopSignalsTest, ASecondOneLeavesOnceTheListenerHasHeard) {
  EXPECT_EQ(end_of(
                [](StopSignals& signals) {
                  std::atomic<int> heard = 0;
                  signals.listen([&](StopLevel level, std::string_view) {
                    heard = level == leave ? 2 : 1;
                    if (level == leave) ::kill(::getpid(), SIGUSR1);  // changes nothing
                  });
                  ::kill(::getpid(), SIGUSR1);
                  wait_until([&] { return heard == 1; });
                  ::kill(::getpid(), SIGTERM);
                  wait_until([] { return false; });  // as in a step that takes long
                },
                StopCount(0)),
            85);
}

TEST(StopSignalsTest, AThirdOneExitsThoughTheListenerHangs) {
  EXPECT_EQ(end_of(
                [](StopSignals& signals) {
                  std::atomic<bool> hangs = false;
                  signals.listen([&](StopLevel level, std::string_view) {
                    if (level != leave) return;
                    hangs = true;
                    wait_until([] { return false; });
                  });
                  ::kill(::getpid(), SIGINT);
                  wait_until([&] { return signals.have_come(); });
                  ::kill(::getpid(), SIGINT);
                  wait_until([&] { return hangs.load(); });
                  ::kill(::getpid(), SIGINT);
                  wait_until([] { return false; });
                },
                StopCount(0)),
            85);
}

TEST(StopSignalsTest, BeforeThereIsAnythingToSaveSigintEndsTheProcess) {
  EXPECT_EQ(end_of([](StopSignals&) {
              ::kill(::getpid(), SIGINT);
              std::this_thread::sleep_for(std::chrono::seconds(10));
            }),
            -SIGINT);
}

}  // namespace
}  // namespace wan
