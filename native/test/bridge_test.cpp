// SPDX-License-Identifier: GPL-3.0-or-later
#include "bridge.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "stub_loop.h"

namespace cloudstore {
namespace {

using std::chrono::milliseconds;
using Verdict = Result::Verdict;

/** A loop that only counts how often it is woken. */
class CountingLoop {
 public:
  explicit CountingLoop(Bridge& bridge) {
    bridge.attach([count = count_] { ++*count; });
  }
  [[nodiscard]] int woken() const { return *count_; }

 private:
  std::shared_ptr<std::atomic<int>> count_ = std::make_shared<std::atomic<int>>(0);
};

using Operation = StorageRequest::Operation;

std::shared_ptr<StorageRequest> makeRemove(const std::string& uuid = "uuid") {
  return std::make_shared<StorageRequest>(StorageRequest::Subject{Operation::kRemove, uuid, 1});
}

const std::string& uuidOf(const Inbox::Arrival& arrival) {
  return std::get<std::shared_ptr<StorageRequest>>(arrival.request)->subject().uuid;
}

void end(const Inbox::Arrival& arrival, const Result& result) {
  baseOf(arrival.request).end(result);
}

/** A call on a thread of its own. */
class Caller {
 public:
  Caller(Bridge& bridge, const std::string& uuid = "uuid")
      : request(makeRemove(uuid)), thread_([this, &bridge] { result_ = bridge.call(request); }) {}
  ~Caller() {
    if (thread_.joinable()) {
      thread_.join();
    }
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  const Result& result() {
    if (thread_.joinable()) {
      thread_.join();
    }
    return result_;
  }

  const std::shared_ptr<StorageRequest> request;

 private:
  Result result_;
  std::thread thread_;
};

void awaitWaiting(const Bridge& bridge, size_t count) {
  while (bridge.waiting() != count) {
    std::this_thread::yield();
  }
}

Timeouts removalsWithin(milliseconds timeout) {
  Timeouts timeouts;
  timeouts.remove = timeout;
  return timeouts;
}

const Result kDone{Verdict::kSuccess, 0, {}};

TEST(Bridge, CarriesRequestsInTheirOrder) {
  Bridge bridge;
  Caller first(bridge, "first");
  awaitWaiting(bridge, 1);
  Caller second(bridge, "second");
  awaitWaiting(bridge, 2);
  const Inbox inbox = bridge.take();
  ASSERT_EQ(inbox.arrivals.size(), 2U);
  EXPECT_EQ(uuidOf(inbox.arrivals[0]), "first");
  EXPECT_EQ(uuidOf(inbox.arrivals[1]), "second");
  EXPECT_LT(inbox.arrivals[0].id, inbox.arrivals[1].id);
  EXPECT_TRUE(bridge.take().arrivals.empty());
  end(inbox.arrivals[1], kDone);
  EXPECT_EQ(second.result().verdict, Verdict::kSuccess);
  end(inbox.arrivals[0], {Verdict::kFailed, 7, "no"});
  EXPECT_EQ(first.result().code, 7);
  EXPECT_EQ(bridge.waiting(), 0U);
}

TEST(Bridge, WakesTheLoopOncePerLook) {
  Bridge bridge;
  const CountingLoop wakeup(bridge);
  EXPECT_EQ(wakeup.woken(), 0);
  const Caller a(bridge);
  const Caller b(bridge);
  const Caller c(bridge);
  awaitWaiting(bridge, 3);
  bridge.post({1, {}});
  EXPECT_EQ(wakeup.woken(), 1);
  const Inbox inbox = bridge.take();
  bridge.post({2, {}});
  bridge.post({3, {}});
  EXPECT_EQ(wakeup.woken(), 2);
  EXPECT_EQ(bridge.take().replies.size(), 2U);
  for (const auto& arrival : inbox.arrivals) {
    end(arrival, kDone);
  }
}

TEST(Bridge, ALoopThatComesLateIsWoken) {
  Bridge bridge;
  Caller caller(bridge);
  awaitWaiting(bridge, 1);
  const CountingLoop wakeup(bridge);
  EXPECT_EQ(wakeup.woken(), 1);
  end(bridge.take().arrivals.at(0), kDone);
  EXPECT_EQ(caller.result().verdict, Verdict::kSuccess);
}

TEST(Bridge, TheLoopHearsOfRequestsThatWereGivenUp) {
  Bridge bridge;
  const CountingLoop wakeup(bridge);
  bridge.setTimeouts(removalsWithin(milliseconds(30)));
  Caller taken(bridge);
  awaitWaiting(bridge, 1);
  const uint64_t id = bridge.take().arrivals.at(0).id;
  EXPECT_EQ(taken.result().verdict, Verdict::kTimeout);
  EXPECT_EQ(wakeup.woken(), 2);
  const Inbox inbox = bridge.take();
  ASSERT_EQ(inbox.abandoned.size(), 1U);
  EXPECT_EQ(inbox.abandoned[0], id);
}

TEST(Bridge, WhatWasNeverTakenIsNotHeardOf) {
  Bridge bridge;
  bridge.setTimeouts(removalsWithin(milliseconds(10)));
  Caller caller(bridge);
  EXPECT_EQ(caller.result().verdict, Verdict::kTimeout);
  const Inbox inbox = bridge.take();
  EXPECT_TRUE(inbox.arrivals.empty());
  EXPECT_TRUE(inbox.abandoned.empty());
}

TEST(Bridge, EachKindOfCallHasItsTime) {
  const auto msOf = [](const AnyRequest& request, const Timeouts& timeouts) {
    Bridge bridge;
    bridge.setTimeouts(timeouts);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(bridge.call(request).verdict, Verdict::kTimeout);
    return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin);
  };
  constexpr milliseconds kShort{1};
  constexpr milliseconds kLong{200};
  const Allocate nowhere = [](uint64_t) { return nullptr; };
  const StorageRequest::Subject subject{Operation::kCreate, "uuid", 1};
  const auto makeCall = [](Request::Limit limit) {
    return std::make_shared<Call>(limit, "GET", "/", nullptr, 0);
  };
  const std::vector<AnyRequest> calls{
      std::make_shared<StorageRequest>(subject, nullptr, 0),
      std::make_shared<StorageRequest>(subject, nowhere),
      std::make_shared<StorageRequest>(subject, nowhere, StorageRequest::Range{0, 1}),
      makeCall(&Timeouts::call)};
  for (const AnyRequest& call : calls) {
    EXPECT_GE(msOf(call, {kLong, kShort, kShort, kShort}), kLong);
  }
  EXPECT_GE(msOf(makeRemove(), {kShort, kLong, kShort, kShort}), kLong);
  EXPECT_GE(msOf(makeCall(&Timeouts::metrics), {kShort, kShort, kLong, kShort}), kLong);
  EXPECT_GE(msOf(makeCall(&Timeouts::lane), {kShort, kShort, kShort, kLong}), kLong);
}

TEST(Bridge, RepliesAreForTheRuntimeThatIsThere) {
  Bridge bridge;
  bridge.attach([] {});
  bridge.post({1, {200, {}, "to one that ends"}});
  bridge.detach("it exited");
  bridge.attach([] {});
  EXPECT_TRUE(bridge.take().replies.empty());
}

TEST(Bridge, AnEndedRuntimeFailsOnlyWhatItHadTaken) {
  Bridge bridge;
  bridge.attach([] {});
  Caller taken(bridge, "taken");
  awaitWaiting(bridge, 1);
  const Inbox lost = bridge.take();
  Caller queued(bridge, "queued");
  awaitWaiting(bridge, 2);
  bridge.detach("it exited");
  EXPECT_EQ(taken.result().verdict, Verdict::kLost);
  EXPECT_EQ(taken.result().message, "it exited");

  const CountingLoop next(bridge);
  EXPECT_EQ(next.woken(), 1);
  const Inbox inbox = bridge.take();
  ASSERT_EQ(inbox.arrivals.size(), 1U);
  EXPECT_EQ(uuidOf(inbox.arrivals[0]), "queued");
  end(inbox.arrivals[0], kDone);
  EXPECT_EQ(queued.result().verdict, Verdict::kSuccess);
}

TEST(Bridge, BrokenItFailsAllAtOnceUntilItIsRepaired) {
  Bridge bridge;
  Caller queued(bridge);
  awaitWaiting(bridge, 1);
  bridge.breakDown("out of order");
  EXPECT_EQ(queued.result().message, "out of order");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(bridge.call(makeRemove()).message, "out of order");
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(1000));
  EXPECT_TRUE(bridge.take().arrivals.empty());
  bridge.repair();
  Caller after(bridge);
  awaitWaiting(bridge, 1);
  end(bridge.take().arrivals.at(0), kDone);
  EXPECT_EQ(after.result().verdict, Verdict::kSuccess);
}

TEST(Bridge, ClosedItLetsThoseInFinish) {
  Bridge bridge;
  Caller in(bridge);
  awaitWaiting(bridge, 1);
  bridge.close();
  EXPECT_EQ(bridge.call(makeRemove()).verdict, Verdict::kClosed);
  end(bridge.take().arrivals.at(0), kDone);
  EXPECT_EQ(in.result().verdict, Verdict::kSuccess);
}

TEST(Bridge, FailWaitingEndsAllAndTellsTheLoop) {
  Bridge bridge;
  bridge.attach([] {});
  Caller taken(bridge);
  awaitWaiting(bridge, 1);
  const uint64_t id = bridge.take().arrivals.at(0).id;
  Caller queued(bridge);
  awaitWaiting(bridge, 2);
  bridge.failWaiting("stopping", std::chrono::hours(1));  // they are younger
  EXPECT_EQ(bridge.waiting(), 2U);
  bridge.failWaiting("stopping", std::chrono::milliseconds(0));
  EXPECT_EQ(taken.result().verdict, Verdict::kClosed);
  EXPECT_EQ(queued.result().message, "stopping");
  const Inbox inbox = bridge.take();
  EXPECT_TRUE(inbox.arrivals.empty());
  EXPECT_EQ(inbox.abandoned, std::vector<uint64_t>{id});
}

TEST(Bridge, TurnsAreCounted) {
  Bridge bridge;
  const uint64_t before = bridge.turns();
  bridge.take();
  bridge.take();
  EXPECT_EQ(bridge.turns(), before + 2);
}

TEST(Bridge, ManyThreadsWhileRuntimesComeAndGo) {
  constexpr int kThreads = 8;
  constexpr int kCalls = 500;
  Bridge bridge;
  std::atomic<int> succeeded{0};
  std::atomic<int> lost{0};
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int call = 0; call < kCalls; ++call) {
        const Verdict verdict = bridge.call(makeRemove()).verdict;
        ASSERT_TRUE(verdict == Verdict::kSuccess || verdict == Verdict::kLost);
        ++(verdict == Verdict::kSuccess ? succeeded : lost);
      }
    });
  }
  std::thread chief([&] {
    while (!over) {
      const StubLoop loop(bridge);
      std::this_thread::sleep_for(milliseconds(5));
    }
  });
  for (std::thread& thread : threads) {
    thread.join();
  }
  over = true;
  chief.join();
  EXPECT_EQ(succeeded + lost, kThreads * kCalls);
  EXPECT_GT(succeeded, 0);
  EXPECT_EQ(bridge.waiting(), 0U);
}

}  // namespace
}  // namespace cloudstore
