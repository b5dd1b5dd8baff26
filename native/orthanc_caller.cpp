// SPDX-License-Identifier: GPL-3.0-or-later
#include "orthanc_caller.h"

#include <exception>

namespace cloudstore {

OrthancCaller::~OrthancCaller() {
  close();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void OrthancCaller::close() {
  std::deque<Question> dropped;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    dropped.swap(questions_);
  }
  changed_.notify_all();
  for (const Question& question : dropped) {
    question.asker->post({question.ticket, notCalled()});
  }
}

bool OrthancCaller::awaitStop(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_until(lock, deadline, [this] { return !busy_; });
}

void OrthancCaller::submit(Question question) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!closed_) {
      // Before it is queued, lest one be asked later whose asker was told that it failed.
      if (!thread_.joinable()) {
        thread_ = std::thread([this] { run(); });
      }
      questions_.push_back(std::move(question));
      changed_.notify_all();
      return;
    }
  }
  question.asker->post({question.ticket, notCalled()});
}

void OrthancCaller::run() {
  nameThread_();
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return closed_ || !questions_.empty(); });
    if (closed_) {
      return;
    }
    const Question question = std::move(questions_.front());
    questions_.pop_front();
    busy_ = true;
    lock.unlock();
    Answer answer;
    try {
      answer = question.ask();
    } catch (const std::exception& error) {
      answer.body = error.what();
    } catch (...) {
      answer.body = "unknown error";
    }
    question.asker->post({question.ticket, std::move(answer)});
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace cloudstore
