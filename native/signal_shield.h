// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <memory>

namespace cloudstore {

/** While it lives, the calling thread and the threads that it starts get no signals, so that
 * Orthanc's are delivered to Orthanc's threads. SIGPIPE in particular stays pending on the thread
 * that wrote to a closed connection, whose write fails with EPIPE. */
class SignalShield {
 public:
  SignalShield();
  ~SignalShield();
  SignalShield(const SignalShield&) = delete;
  SignalShield& operator=(const SignalShield&) = delete;

 private:
  struct Mask;
  std::unique_ptr<Mask> before_;
};

}  // namespace cloudstore
