// SPDX-License-Identifier: GPL-3.0-or-later
// restricted WHAT[=MEGABYTES] COMMAND…: runs a command as systemd does with settings that harden a
// service. Such restrictions can't be undone, hence a program of its own.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// Debian 13's headers have it under this number; those of older systems don't.
constexpr int kSetMdwe = 65;

/** What happens to system calls that a rule names; all others are allowed. */
class Filter {
 public:
  Filter() { load(offsetof(seccomp_data, nr)); }

  void on(long call, uint32_t action) {
    jumpUnless(call, 1);
    end(action);
  }

  /** Where all bits of `mask` are set in the third argument. */
  void on(long call, uint32_t mask, uint32_t action) {
    jumpUnless(call, 5);
    load(offsetof(seccomp_data, args) + 2 * sizeof(uint64_t));
    steps_.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
    jumpUnless(mask, 1);
    end(action);
    load(offsetof(seccomp_data, nr));
  }

  void install() {
    end(SECCOMP_RET_ALLOW);
    const sock_fprog program{static_cast<unsigned short>(steps_.size()), steps_.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
      throw std::runtime_error("no filter of system calls");
    }
  }

 private:
  void load(size_t offset) {
    steps_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)));
  }
  void jumpUnless(long value, uint8_t steps) {
    steps_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(value), 0, steps));
  }
  void end(uint32_t action) { steps_.push_back(BPF_STMT(BPF_RET | BPF_K, action)); }

  std::vector<sock_filter> steps_;
};

void restrict(const std::string& what, rlim_t megabytes) {
  const rlimit limit{megabytes << 20, megabytes << 20};
  // As systemd does it for MemoryDenyWriteExecute= since version 254, with Linux 6.3 or newer …
  if (what == "mdwe" && prctl(kSetMdwe, 1, 0, 0, 0) == 0) {
    return;
  }
  Filter filter;
  if (what == "mdwe" || what == "mdwe-filter") {  // … and before that
    constexpr uint32_t kRefused = SECCOMP_RET_ERRNO | EPERM;
    filter.on(SYS_mmap, PROT_WRITE | PROT_EXEC, kRefused);
    filter.on(SYS_mprotect, PROT_EXEC, kRefused);
    filter.on(SYS_pkey_mprotect, PROT_EXEC, kRefused);
  } else if (what == "no-pkeys") {  // SystemCallFilter=@system-service
    for (const long call : {SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect}) {
      filter.on(call, SECCOMP_RET_KILL_PROCESS);
    }
  } else if (what == "address-space" || what == "data") {
    if (setrlimit(what == "data" ? RLIMIT_DATA : RLIMIT_AS, &limit) != 0) {
      throw std::runtime_error("no such limit");
    }
    return;
  } else {
    throw std::runtime_error("what is " + what + "?");
  }
  filter.install();
}

}  // namespace

int main(int count, char** words) {
  try {
    const std::string what = count > 2 ? words[1] : "";
    const size_t equals = what.find('=');
    restrict(what.substr(0, equals),
             equals == std::string::npos ? 0 : std::stoul(what.substr(equals + 1)));
    execvp(words[2], words + 2);
    std::perror(words[2]);
  } catch (const std::exception& error) {
    std::cerr << "restricted: " << error.what() << "\n";
  }
  return EXIT_FAILURE;
}
