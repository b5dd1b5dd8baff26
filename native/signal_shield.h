// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <pthread.h>

#include <csignal>

namespace cloudstore {

/** While it lives, the calling thread and the threads that it starts get no signals, so that
 * Orthanc's are delivered to Orthanc's threads. SIGPIPE in particular stays pending on the thread
 * that wrote to a closed connection, whose write fails with EPIPE. */
class SignalShield {
 public:
  SignalShield() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int fatal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS}) {
      sigdelset(&blocked, fatal);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~SignalShield() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalShield(const SignalShield&) = delete;
  SignalShield& operator=(const SignalShield&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace cloudstore
