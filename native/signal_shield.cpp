// SPDX-License-Identifier: GPL-3.0-or-later
#include "signal_shield.h"

#include <pthread.h>

#include <csignal>

namespace cloudstore {

struct SignalShield::Mask {
  sigset_t signals;
};

SignalShield::SignalShield() : before_(std::make_unique<Mask>()) {
  sigset_t blocked;
  sigfillset(&blocked);
  for (const int fatal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS}) {
    sigdelset(&blocked, fatal);
  }
  pthread_sigmask(SIG_SETMASK, &blocked, &before_->signals);
}

SignalShield::~SignalShield() { pthread_sigmask(SIG_SETMASK, &before_->signals, nullptr); }

}  // namespace cloudstore
