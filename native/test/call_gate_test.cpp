// SPDX-License-Identifier: GPL-3.0-or-later
#include "call_gate.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bridge.h"
#include "orthanc_caller.h"

namespace cloudstore {
namespace {

using std::chrono::milliseconds;

TEST(CallGateTest, EachHasItsOwnLastMoment) {
  CallGate gate;
  CallGate other;
  EXPECT_TRUE(CallGate::Visit(gate).admitted());
  gate.close();
  EXPECT_FALSE(gate.isOpen());
  EXPECT_FALSE(CallGate::Visit(gate).admitted());
  const CallGate::Visit inOther(other);
  EXPECT_TRUE(inOther.admitted());
  EXPECT_TRUE(gate.awaitQuiet(milliseconds(0)));
}

TEST(CallGateTest, WhoIsInsideIsWaitedFor) {
  CallGate gate;
  auto visit = std::make_unique<CallGate::Visit>(gate);
  gate.close();
  EXPECT_TRUE(gate.awaitQuiet(milliseconds(0)));  // this thread itself
  std::atomic<bool> left{false};
  std::thread waiting([&] {
    EXPECT_FALSE(gate.awaitQuiet(milliseconds(20)));
    gate.awaitQuiet();
    EXPECT_TRUE(left);
  });
  std::this_thread::sleep_for(milliseconds(50));
  left = true;
  visit.reset();
  waiting.join();
}

TEST(CallGateTest, NobodyIsInsideOnceItIsClosedAndQuiet) {
  for (int round = 0; round < 50; ++round) {
    CallGate gate;
    bool isGone = false;  // without a lock, so that the thread sanitizer sees who is late
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (;;) {
          const CallGate::Visit visit(gate);
          if (!visit.admitted()) {
            return;
          }
          EXPECT_FALSE(isGone);
        }
      });
    }
    std::this_thread::sleep_for(milliseconds(1));
    gate.close();
    gate.awaitQuiet();
    isGone = true;
    for (std::thread& thread : threads) {
      thread.join();
    }
  }
}

/** A caller whose answers stay in the bridge. */
class OrthancCallerTest : public testing::Test {
 protected:
  OrthancCallerTest() {
    bridge.attach([] {});
  }

  /** Waits for so many more. */
  std::vector<Inbox::Reply> replies(size_t count) {
    std::vector<Inbox::Reply> all;
    while (all.size() < count) {
      for (Inbox::Reply& reply : bridge.take().replies) {
        all.push_back(std::move(reply));
      }
      std::this_thread::sleep_for(milliseconds(1));
    }
    return all;
  }

  void submit(uint64_t ticket, std::function<Answer()> ask) {
    caller.submit({&bridge, ticket, std::move(ask)});
  }

  bool stopWithin(milliseconds limit) {
    caller.close();
    return caller.awaitStop(std::chrono::steady_clock::now() + limit);
  }

  Bridge bridge;
  OrthancCaller caller{[] {}};
};

TEST_F(OrthancCallerTest, OnceClosedItDropsWhatIsQueuedAndWhatComes) {
  std::atomic<bool> letGo{false};
  std::atomic<int> calls{0};
  const auto work = [&] {
    ++calls;
    while (!letGo) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    return Answer{200, {}, "done"};
  };
  submit(1, work);
  while (calls == 0) {
    std::this_thread::sleep_for(milliseconds(1));
  }
  submit(2, work);
  caller.close();
  submit(3, work);
  for (const Inbox::Reply& answer : replies(2)) {
    EXPECT_NE(answer.ticket, 1U);
    EXPECT_EQ(answer.answer.status, kNotCalled);
  }
  EXPECT_FALSE(stopWithin(milliseconds(10)));
  letGo = true;
  EXPECT_EQ(replies(1).front().answer.body, "done");
  EXPECT_TRUE(stopWithin(std::chrono::seconds(10)));
  EXPECT_EQ(calls, 1);
}

TEST_F(OrthancCallerTest, WhateverIsThrownIsAnAnswer) {
  submit(1, []() -> Answer { throw std::runtime_error("boost"); });
  submit(2, []() -> Answer { throw 3; });  // NOLINT(hicpp-exception-baseclass)
  const std::vector<Inbox::Reply> both = replies(2);
  EXPECT_EQ(both[0].answer.body, "boost");
  EXPECT_EQ(both[1].answer.status, 500);
}

TEST_F(OrthancCallerTest, EachCallIsAnsweredOnceWhileItCloses) {
  constexpr int kCalls = 200;
  std::thread closing([this] {
    std::this_thread::sleep_for(milliseconds(1));
    caller.close();
  });
  for (int ticket = 1; ticket <= kCalls; ++ticket) {
    submit(static_cast<uint64_t>(ticket), [] { return Answer{200, {}, {}}; });
  }
  closing.join();
  std::vector<int> seen(kCalls + 1);
  for (const Inbox::Reply& answer : replies(kCalls)) {
    ++seen.at(answer.ticket);
  }
  EXPECT_TRUE(stopWithin(std::chrono::seconds(10)));
  EXPECT_TRUE(bridge.take().replies.empty());
  for (int ticket = 1; ticket <= kCalls; ++ticket) {
    EXPECT_EQ(seen.at(static_cast<size_t>(ticket)), 1) << ticket;
  }
}

}  // namespace
}  // namespace cloudstore
