// SPDX-License-Identifier: GPL-3.0-or-later
#include "request.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cloudstore {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Verdict = Result::Verdict;

using Operation = StorageRequest::Operation;

std::shared_ptr<StorageRequest> makeCreate(const std::string& content) {
  return std::make_shared<StorageRequest>(StorageRequest::Subject{Operation::kCreate, "uuid", 1},
                                          content.data(), content.size());
}

struct Read {
  std::shared_ptr<std::vector<uint8_t>> bytes;
  std::shared_ptr<StorageRequest> request;
};

/** @param onlySize as a range read has it; 0 means as much as is asked for */
Read makeReadInto(uint64_t onlySize = 0) {
  auto bytes = std::make_shared<std::vector<uint8_t>>();
  const auto allocate = [bytes, onlySize](uint64_t size) -> uint8_t* {
    if (onlySize != 0 && size != onlySize) {
      return nullptr;
    }
    bytes->assign(size, 0xEE);
    return bytes->data();
  };
  return {bytes, std::make_shared<StorageRequest>(
                     StorageRequest::Subject{Operation::kReadWhole, "uuid", 1}, allocate,
                     StorageRequest::Range{0, onlySize})};
}

bool read(Request& request, uint64_t offset, char* target, size_t length) {
  return request.use(offset, length,
                     [&](const uint8_t* content) { std::copy_n(content, length, target); });
}

std::shared_ptr<StorageRequest> makeRead(uint64_t onlySize = 0) {
  return makeReadInto(onlySize).request;
}

Result waitFor(Request& request, int ms = 0) {
  return request.wait(steady_clock::now() + milliseconds(ms));
}

const Result kDone{Verdict::kSuccess, 0, {}};

TEST(Request, ContentIsReadInParts) {
  const std::string content = "0123456789";
  const auto request = makeCreate(content);
  std::array<char, 4> part{};
  ASSERT_TRUE(read(*request, 3, part.data(), part.size()));
  EXPECT_EQ(std::string(part.data(), part.size()), "3456");
  ASSERT_TRUE(read(*request, 10, nullptr, 0));
  EXPECT_EQ(request->contentSize(), 10U);
}

TEST(Request, ReadsOutsideTheContentThrow) {
  const std::string content = "0123456789";
  const auto request = makeCreate(content);
  std::array<char, 16> part{};
  EXPECT_THROW(read(*request, 0, part.data(), 11), std::out_of_range);
  EXPECT_THROW(read(*request, 10, part.data(), 1), std::out_of_range);
  EXPECT_THROW(read(*request, 11, part.data(), 0), std::out_of_range);
  // Sums that overflow.
  EXPECT_THROW(read(*request, UINT64_MAX, part.data(), 2), std::out_of_range);
  EXPECT_THROW(read(*request, 2, part.data(), SIZE_MAX), std::out_of_range);
  EXPECT_TRUE(request->end(kDone));
}

TEST(Request, ARangeReadHasARangeButNoContent) {
  const auto request = makeRead(8);
  std::array<char, 8> part{};
  EXPECT_EQ(request->range().end, 8U);
  EXPECT_EQ(request->contentSize(), 0U);
  EXPECT_THROW(read(*request, 0, part.data(), 1), std::out_of_range);
}

TEST(Request, WritesOutsideTheDestinationThrow) {
  const auto [bytes, request] = makeReadInto();
  EXPECT_THROW(request->write(0, "x", 1), std::out_of_range);  // nothing was allocated yet
  ASSERT_TRUE(request->allocate(4));
  EXPECT_THROW(request->write(0, "01234", 5), std::out_of_range);
  EXPECT_THROW(request->write(4, "0", 1), std::out_of_range);
  EXPECT_THROW(request->write(UINT64_MAX, "01", 2), std::out_of_range);
  EXPECT_EQ(*bytes, std::vector<uint8_t>(4, 0xEE));
}

TEST(Request, ADestinationOfAnotherSizeIsRefused) {
  const auto request = makeRead(8);
  EXPECT_THROW(request->allocate(7), std::length_error);
  EXPECT_THROW(request->allocate(9), std::length_error);
  EXPECT_TRUE(request->allocate(8));
}

TEST(Request, AfterADestinationThatIsRefusedNothingIsWritten) {
  const auto request = makeRead(8);
  ASSERT_TRUE(request->allocate(8));
  request->write(0, "01234567", 8);
  EXPECT_THROW(request->allocate(9), std::length_error);
  EXPECT_THROW(request->write(0, "0", 1), std::out_of_range);
  EXPECT_THROW(request->end(kDone), std::logic_error);
}

TEST(Request, ARequestWithoutDestinationTakesNoBytes) {
  const std::string content = "x";
  EXPECT_THROW(makeCreate(content)->allocate(1), std::logic_error);
}

TEST(Request, SuccessNeedsEveryByte) {
  const auto [bytes, request] = makeReadInto();
  EXPECT_THROW(request->end(kDone), std::logic_error);  // nothing allocated
  ASSERT_TRUE(request->allocate(6));
  EXPECT_THROW(request->end(kDone), std::logic_error);
  request->write(4, "45", 2);
  request->write(0, "01", 2);
  request->write(0, "01", 2);  // six bytes now, but not all six
  EXPECT_THROW(request->end(kDone), std::logic_error);
  request->write(1, "123", 3);
  EXPECT_TRUE(request->end(kDone));
  EXPECT_EQ(waitFor(*request).verdict, Verdict::kSuccess);
  EXPECT_EQ(*bytes, (std::vector<uint8_t>{'0', '1', '2', '3', '4', '5'}));
}

TEST(Request, BytesMayArriveInAnyOrder) {
  const auto request = makeRead();
  ASSERT_TRUE(request->allocate(1000));
  const std::vector<uint8_t> part(100, 7);
  for (const uint64_t i : {9U, 3U, 3U, 1U, 5U, 7U, 8U, 0U, 2U, 6U, 4U}) {
    EXPECT_THROW(request->end(kDone), std::logic_error);
    request->write(i * 100, part.data(), part.size());
  }
  EXPECT_TRUE(request->end(kDone));
}

TEST(Request, ASecondAttemptStartsAnew) {
  const auto request = makeRead();
  ASSERT_TRUE(request->allocate(4));
  request->write(0, "abcd", 4);
  ASSERT_TRUE(request->allocate(2));
  EXPECT_THROW(request->end(kDone), std::logic_error);
  EXPECT_THROW(request->write(0, "abcd", 4), std::out_of_range);
  request->write(0, "xy", 2);
  EXPECT_TRUE(request->end(kDone));
}

TEST(Request, NothingIsAFullAnswerToo) {
  const auto request = makeRead();
  ASSERT_TRUE(request->allocate(0));
  EXPECT_TRUE(request->end(kDone));
  EXPECT_EQ(waitFor(*request).verdict, Verdict::kSuccess);
}

TEST(Request, FailureNeedsNoBytes) {
  const auto request = makeRead();
  ASSERT_TRUE(request->allocate(4));
  EXPECT_TRUE(request->end({Verdict::kFailed, 2018, "why"}));
  const Result result = waitFor(*request);
  EXPECT_EQ(result.verdict, Verdict::kFailed);
  EXPECT_EQ(result.code, 2018);
  EXPECT_EQ(result.message, "why");
}

TEST(Request, EndsOnce) {
  const std::string content = "x";
  const auto request = makeCreate(content);
  EXPECT_TRUE(request->end({Verdict::kFailed, 1, "first"}));
  EXPECT_FALSE(request->end(kDone));
  EXPECT_EQ(waitFor(*request).message, "first");
  Call call(&Timeouts::call, "GET", "/", nullptr, 0);
  EXPECT_TRUE(call.end({Verdict::kFailed, 1, "first"}));
  EXPECT_FALSE(call.respond({200, "text/plain", "late"}));
  EXPECT_EQ(call.answer().status, 500);
}

TEST(Request, TheDeadlineEndsIt) {
  const auto request = makeRead();
  const auto start = steady_clock::now();
  EXPECT_EQ(waitFor(*request, 50).verdict, Verdict::kTimeout);
  EXPECT_GE(steady_clock::now() - start, milliseconds(50));
  EXPECT_FALSE(request->end(kDone));
}

TEST(Request, ADeadRequestTouchesNothing) {
  // Freed at once, so that the address sanitizer sees any access.
  auto content = std::make_unique<std::string>(4096, 'x');
  const auto create = makeCreate(*content);
  const auto [bytes, reading] = makeReadInto();
  ASSERT_TRUE(reading->allocate(16));
  waitFor(*create);
  waitFor(*reading);
  content.reset();
  std::vector<uint8_t>().swap(*bytes);
  std::array<char, 16> part{};
  EXPECT_FALSE(read(*create, 0, part.data(), part.size()));
  EXPECT_FALSE(read(*create, UINT64_MAX, part.data(), part.size()));
  EXPECT_FALSE(reading->write(0, part.data(), part.size()));
  EXPECT_FALSE(reading->allocate(16));
  EXPECT_FALSE(reading->end(kDone));
}

TEST(Request, AnAnswerReachesTheWaiter) {
  const auto request =
      std::make_shared<Call>(&Timeouts::call, "GET", "/object-storage/x", nullptr, 0);
  EXPECT_EQ(request->name(), "GET");
  EXPECT_EQ(request->argument(), "/object-storage/x");
  std::thread loop([&] { EXPECT_TRUE(request->respond({404, "text/plain", "none"})); });
  EXPECT_EQ(waitFor(*request, 10'000).verdict, Verdict::kSuccess);
  loop.join();
  EXPECT_EQ(request->answer().status, 404);
  EXPECT_EQ(request->answer().contentType, "text/plain");
  EXPECT_EQ(request->answer().body, "none");
}

TEST(Request, OneOfManyThreadsEndsIt) {
  // The waiter's deadline races with two threads that write and end; its memory goes at once.
  for (int round = 0; round < 200; ++round) {
    const auto request = makeRead();
    std::array<bool, 2> won{};
    std::vector<std::thread> threads;
    threads.reserve(won.size());
    for (bool& mine : won) {
      threads.emplace_back([&mine, request] {
        if (request->allocate(8) && request->write(0, "01234567", 8)) {
          try {
            mine = request->end(kDone);
            // NOLINTNEXTLINE(bugprone-empty-catch): the other one has just started anew
          } catch (const std::logic_error&) {
          }
        }
      });
    }
    const Result result = waitFor(*request, round % 3);
    for (std::thread& thread : threads) {
      thread.join();
    }
    const int winners = static_cast<int>(won[0]) + static_cast<int>(won[1]);
    EXPECT_EQ(winners, result.verdict == Verdict::kSuccess ? 1 : 0);
  }
}

}  // namespace
}  // namespace cloudstore
