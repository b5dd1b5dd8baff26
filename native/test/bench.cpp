// SPDX-License-Identifier: GPL-3.0-or-later
// Figures of the bridge, in a host that plays Orthanc; test/bench/bridge.mjs builds and runs it.
// bench latency | threads | processor | memory | start: each prints lines of JSON.
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fake_orthanc.h"

namespace cloudstore {
namespace {

using Clock = std::chrono::steady_clock;

double microsecondsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/** Resident memory of this process in kB, and its part that is not a file's. */
struct Resident {
  long all = 0;
  long anonymous = 0;
};

Resident resident() {
  std::ifstream status("/proc/self/status");
  Resident found;
  std::string word;
  while (status >> word) {
    if (word == "VmRSS:") {
      status >> found.all;
    } else if (word == "RssAnon:") {
      status >> found.anonymous;
      break;
    }
  }
  return found;
}

/** The least that a request could cost: one thread wakes another through an eventfd, as libuv does,
 * and is woken by it through a condition variable. */
class PingPong {
 public:
  PingPong() : event_(eventfd(0, EFD_CLOEXEC)), thread_([this] { run(); }) {}
  ~PingPong() {
    over_ = true;
    ask();
    thread_.join();
    close(event_);
  }
  PingPong(const PingPong&) = delete;
  PingPong& operator=(const PingPong&) = delete;

  void call() {
    ask();
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return answered_; });
    answered_ = false;
  }

 private:
  void ask() const {
    const uint64_t one = 1;
    if (write(event_, &one, sizeof one) != sizeof one) {
      std::abort();
    }
  }

  void run() {
    pthread_setname_np(pthread_self(), "PING-PONG");
    uint64_t count = 0;
    while (read(event_, &count, sizeof count) == sizeof count && !over_) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        answered_ = true;
      }
      changed_.notify_one();
    }
  }

  const int event_;
  std::atomic<bool> over_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool answered_ = false;  // guarded by mutex_
  std::thread thread_;
};

void useBundle(const char* name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): before the plugin's threads are there
  setenv("ORTHANC_OBJECT_STORAGE_BUNDLE", (std::filesystem::path(BUNDLES) / name).c_str(), 1);
}

void start(FakeOrthanc& orthanc, const char* configuration = "{}") {
  orthanc.setConfiguration(configuration);
  if (orthanc.initialize() != 0) {
    for (const auto& line : orthanc.log()) {
      static_cast<void>(std::fprintf(stderr, "%s\n", line.text.c_str()));
    }
    std::exit(1);  // NOLINT(concurrency-mt-unsafe)
  }
}

void removeOnce(FakeOrthanc& orthanc) {
  if (orthanc.remove("0123abcd") != OrthancPluginErrorCode_Success) {
    std::abort();
  }
}

std::vector<double> timed(int count, const std::function<void()>& call) {
  std::vector<double> times;
  times.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    const auto begin = Clock::now();
    call();
    times.push_back(microsecondsSince(begin));
  }
  return times;
}

/** Where the kernel may run a thread. */
enum class Placement : uint8_t { kAnywhere, kSameProcessor, kTwoProcessors };

cpu_set_t processors(std::initializer_list<int> which) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int number : which) {
    CPU_SET(number, &set);
  }
  return set;
}

void place(pid_t thread, Placement placement, int alone) {
  cpu_set_t set = processors({0, 1});
  if (placement == Placement::kSameProcessor) {
    set = processors({0});
  } else if (placement == Placement::kTwoProcessors) {
    set = processors({alone});
  }
  if (sched_setaffinity(thread, sizeof set, &set) != 0) {
    std::perror("sched_setaffinity");
    std::exit(1);  // NOLINT(concurrency-mt-unsafe)
  }
}

/** @returns the newest thread of that name */
pid_t threadNamed(const std::string& name) {
  pid_t found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(entry.path() / "comm");
    std::string comm;
    if (std::getline(file, comm) && comm == name) {
      found = std::max(found, static_cast<pid_t>(std::stol(entry.path().filename())));
    }
  }
  return found;
}

/** A request on one thread beside a bare ping-pong, turn by turn, so that both see the same
 * weather. Prints the median of the rounds' medians. What it costs to wake a thread depends on
 * where it runs: on the same processor two switches, on another one, which has to be woken itself,
 * ten times as much; and the kernel's choice lasts. Hence also with the choice made for it. */
void benchLatency() {
  constexpr int kRounds = 31;
  constexpr int kCalls = 400;
  for (const char* configuration : {R"({"later": false})", R"({"later": true})"}) {
    FakeOrthanc orthanc;
    start(orthanc, configuration);
    PingPong pingPong;
    timed(3000, [&] { removeOnce(orthanc); });  // V8 warms up
    for (const auto& [placement, name] : {std::pair{Placement::kSameProcessor, "same processor"},
                                          std::pair{Placement::kTwoProcessors, "two processors"},
                                          std::pair{Placement::kAnywhere, "anywhere"}}) {
      place(0, placement, 0);
      place(threadNamed("STORAGE-LOOP"), placement, 1);
      place(threadNamed("PING-PONG"), placement, 1);
      std::vector<double> ours;
      std::vector<double> bare;
      std::vector<double> ratios;
      for (int round = 0; round < kRounds; ++round) {
        bare.push_back(median(timed(kCalls, [&] { pingPong.call(); })));
        ours.push_back(median(timed(kCalls, [&] { removeOnce(orthanc); })));
        ratios.push_back(ours.back() / bare.back());
      }
      std::printf(
          R"({"bench": "latency", "on": "%s", "configuration": %s, "requestUs": %.1f, "pingPongUs": %.1f, "ratio": %.2f})"
          "\n",
          name, configuration, median(ours), median(bare), median(ratios));
    }
  }
}

double requestsPerSecond(FakeOrthanc& orthanc, int threads, int perThread) {
  std::vector<std::thread> callers;
  callers.reserve(static_cast<size_t>(threads));
  const auto begin = Clock::now();
  for (int t = 0; t < threads; ++t) {
    callers.emplace_back([&] {
      for (int i = 0; i < perThread; ++i) {
        removeOnce(orthanc);
      }
    });
  }
  for (std::thread& caller : callers) {
    caller.join();
  }
  return threads * perThread / microsecondsSince(begin) * 1e6;
}

void benchThreads() {
  FakeOrthanc orthanc;
  start(orthanc);
  requestsPerSecond(orthanc, 1, 3000);
  for (const auto& [placement, name] : {std::pair{Placement::kTwoProcessors, "two processors"},
                                        std::pair{Placement::kAnywhere, "anywhere"}}) {
    place(0, placement, 0);
    place(threadNamed("STORAGE-LOOP"), placement, 1);
    std::vector<double> one;
    std::vector<double> eight;
    std::vector<double> ratios;
    for (int round = 0; round < 15; ++round) {
      one.push_back(requestsPerSecond(orthanc, 1, 3000));
      eight.push_back(requestsPerSecond(orthanc, 8, 2000));
      ratios.push_back(eight.back() / one.back());
    }
    std::printf(
        R"({"bench": "threads", "on": "%s", "onePerSecond": %.0f, "eightPerSecond": %.0f, "ratio": %.2f})"
        "\n",
        name, median(one), median(eight), median(ratios));
  }
}

/** Processor time of the whole process. */
double processorMicroseconds() { return static_cast<double>(std::clock()) * 1e6 / CLOCKS_PER_SEC; }

/** Of a request on 1 and on 8 threads, and of a ping-pong, turn by turn: in the quickest tenth of
 * short rounds, which other work of the machine has disturbed least. */
void benchProcessor() {
  constexpr int kRounds = 200;
  constexpr int kCalls = 800;
  FakeOrthanc orthanc;
  start(orthanc);
  PingPong pingPong;
  requestsPerSecond(orthanc, 1, 3000);
  const auto measure = [](const auto& work) {
    const double begin = processorMicroseconds();
    work();
    return (processorMicroseconds() - begin) / kCalls;
  };
  std::vector<double> bare;
  std::vector<double> one;
  std::vector<double> eight;
  for (int round = 0; round < kRounds; ++round) {
    bare.push_back(measure([&] { timed(kCalls, [&] { pingPong.call(); }); }));
    one.push_back(measure([&] { requestsPerSecond(orthanc, 1, kCalls); }));
    eight.push_back(measure([&] { requestsPerSecond(orthanc, 8, kCalls / 8); }));
  }
  const auto quick = [](std::vector<double> rounds) {
    std::ranges::sort(rounds);
    return rounds.at(rounds.size() / 10);
  };
  std::printf(
      R"({"bench": "processor", "pingPongUs": %.1f, "oneThreadUs": %.1f, "eightThreadsUs": %.1f})"
      "\n",
      quick(bare), quick(one), quick(eight));
}

/** Slope by least squares, and its standard error. */
struct Line {
  double slope = 0;
  double error = 0;
};

Line fit(const std::vector<double>& y) {
  const auto n = static_cast<double>(y.size());
  double sumX = 0;
  double sumY = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    sumX += static_cast<double>(i);
    sumY += y[i];
  }
  double xx = 0;
  double xy = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double dx = static_cast<double>(i) - sumX / n;
    xx += dx * dx;
    xy += dx * (y[i] - sumY / n);
  }
  Line line{xy / xx, 0};
  double squares = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double expected = sumY / n + line.slope * (static_cast<double>(i) - sumX / n);
    squares += (y[i] - expected) * (y[i] - expected);
  }
  line.error = std::sqrt(squares / (n - 2) / xx);
  return line;
}

void printSlope(const char* name, const std::vector<double>& samples) {
  // What is allocated once is allocated in the first half.
  const std::vector<double> settled(
      samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2), samples.end());
  const Line line = fit(settled);
  std::printf(
      R"({"bench": "memory", "of": "%s", "firstKB": %.0f, "lastKB": %.0f, "slopeKB": %.2f, "errorKB": %.2f})"
      "\n",
      name, samples.front(), samples.back(), line.slope, line.error);
}

void benchMemory() {
  FakeOrthanc orthanc;
  start(orthanc);
  std::vector<double> samples;
  for (int i = 0; i < 100; ++i) {
    requestsPerSecond(orthanc, 4, 250);
    samples.push_back(static_cast<double>(resident().all));
  }
  printSlope("1,000 requests", samples);
  samples.clear();
  for (int i = 0; i < 20; ++i) {
    orthanc.finalize();
    start(orthanc);
    requestsPerSecond(orthanc, 4, 250);
    samples.push_back(static_cast<double>(resident().all));
  }
  printSlope("reset", samples);
}

void benchStart() {
  const Resident before = resident();
  FakeOrthanc orthanc;
  const auto begin = Clock::now();
  orthanc.load();
  const double loaded = microsecondsSince(begin);
  start(orthanc);
  const double started = microsecondsSince(begin);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const Resident after = resident();
  const auto ending = Clock::now();
  orthanc.finalize();
  std::printf(
      R"({"bench": "start", "loadMs": %.1f, "startMs": %.1f, "stopMs": %.1f, "addedMB": %.1f, "addedAnonymousMB": %.1f})"
      "\n",
      loaded / 1000, started / 1000, microsecondsSince(ending) / 1000,
      static_cast<double>(after.all - before.all) / 1024,
      static_cast<double>(after.anonymous - before.anonymous) / 1024);
}

}  // namespace
}  // namespace cloudstore

int main(int argc, char** argv) {
  using namespace cloudstore;
  const std::string what = argc > 1 ? argv[1] : "";
  if (argc > 2) {
    useBundle(argv[2]);
  } else {
    useBundle("noop.cjs");
  }
  if (what == "latency") {
    benchLatency();
  } else if (what == "threads") {
    benchThreads();
  } else if (what == "processor") {
    benchProcessor();
  } else if (what == "memory") {
    benchMemory();
  } else if (what == "start") {
    benchStart();
  } else {
    static_cast<void>(
        std::fprintf(stderr, "usage: bench latency|threads|processor|memory|start [BUNDLE]\n"));
    return 2;
  }
  return 0;
}
