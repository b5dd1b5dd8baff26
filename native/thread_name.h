// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <pthread.h>

#include <array>

namespace cloudstore {

/** While it lives, the calling thread has a name of its own, and the threads that it starts get it,
 * so that `top -H` and benches can tell them from Orthanc's. Any thread may make one. */
class ThreadName {
 public:
  /** @param name of 15 characters at most */
  explicit ThreadName(const char* name) {
    pthread_getname_np(pthread_self(), before_.data(), before_.size());
    pthread_setname_np(pthread_self(), name);
  }
  ~ThreadName() { pthread_setname_np(pthread_self(), before_.data()); }
  ThreadName(const ThreadName&) = delete;
  ThreadName& operator=(const ThreadName&) = delete;

 private:
  std::array<char, 16> before_{};
};

}  // namespace cloudstore
