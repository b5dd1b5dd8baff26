// SPDX-License-Identifier: GPL-3.0-or-later
#include "prerequisites.h"

#include <linux/seccomp.h>
#include <node_version.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <future>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace cloudstore {
namespace {

// As strace shows it of libnode 20 and 24 on x86-64. Too little here, and Node aborts Orthanc as
// before; too much, and an Orthanc is refused that would run. So it is the least that a start
// takes; Orthanc's own servers need more than that afterwards.
constexpr size_t kMegabyte = size_t{1} << 20;
/** Reserved for machine code. */
constexpr size_t kCodeRange = 512 * kMegabyte;
/** How much of it is made writable and executable at the start. */
constexpr size_t kCode = NODE_MAJOR_VERSION < 22 ? kMegabyte : kCodeRange;
/** Reserved for V8's tables of pointers, and by malloc for the threads, 64 MB each time. */
constexpr size_t kOthers = (NODE_MAJOR_VERSION < 24 ? 256 : 640) * kMegabyte;
/** JavaScript's heap, and what V8 takes from malloc, until the plugin is ready. */
constexpr size_t kHeap = 64 * kMegabyte;

std::runtime_error createRefusal(const std::string& why) {
  return std::runtime_error("The object storage plugin does not start: " + why);
}

std::string textOf(int error) { return std::generic_category().message(error); }

/** @returns which limits of memory this process has, as a sentence; empty where there are none */
std::string listMemoryLimits() {
  const auto add = [](std::string& list, __rlimit_resource_t resource, const char* name) {
    rlimit limit{};
    if (getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
      list += (list.empty() ? " This process is limited to " : " and to ") +
              std::to_string(limit.rlim_cur / kMegabyte) + " MB of " + name;
    }
  };
  std::string list;
  add(list, RLIMIT_AS, "address space (LimitAS= of systemd, ulimit -v)");
  add(list, RLIMIT_DATA, "data (LimitDATA= of systemd, ulimit -d)");
  return list.empty() ? list
                      : list + ": lift that, and limit what is really used, by MemoryMax= " +
                            "of systemd or Docker's --memory.";
}

std::runtime_error explainMemory(int error) {
  if (error == EACCES || error == EPERM) {
    return createRefusal(
        "the system does not let Orthanc make memory executable (" + textOf(error) +
        "). Node, in which the plugin runs, compiles JavaScript and WebAssembly into such memory. "
        "Allow it:\n"
        "  systemd: \"systemctl edit orthanc\", write the two lines \"[Service]\" and "
        "\"MemoryDenyWriteExecute=no\", and restart Orthanc\n"
        "  SELinux: \"setsebool -P deny_execmem off\", or allow execmem to Orthanc's domain");
  }
  const std::string limits = listMemoryLimits();
  constexpr size_t kAll = kCodeRange + kOthers + kHeap;
  return createRefusal(
      "Node, in which the plugin runs, reserves " + std::to_string(kAll / kMegabyte) +
      " MB of addresses at its start, most of which it never uses, and the system "
      "refuses (" +
      textOf(error) + ")." +
      (limits.empty() ? " Look at vm.overcommit_memory: with 2, the system refuses "
                        "what may never be used."
                      : limits));
}

/** Memory that nobody touches, so that it costs addresses only. As V8 asks for it: PROT_NONE first,
 * then what it really needs, which is what memory protection refuses. */
class Reservation {
 public:
  explicit Reservation(size_t size)
      : size_(size),
        data_(mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (data_ == MAP_FAILED) {
      throw explainMemory(errno);
    }
  }
  ~Reservation() { munmap(data_, size_); }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  void protect(size_t size, int protection) {
    if (mprotect(data_, size, protection) != 0) {
      throw explainMemory(errno);
    }
  }

 private:
  const size_t size_;
  void* const data_;
};

void tryThreads(size_t count) {
  std::promise<void> over;
  const std::shared_future<void> end = over.get_future().share();
  std::vector<std::jthread> threads;
  threads.reserve(count);
  std::string error;
  try {
    while (threads.size() < count) {
      threads.emplace_back([end] { end.wait(); });
    }
  } catch (const std::system_error& refused) {
    error = refused.code().message();
  }
  over.set_value();
  if (!error.empty()) {
    throw createRefusal("Node, in which the plugin runs, starts " + std::to_string(count) +
                        " threads, and the system gives " + std::to_string(threads.size()) + " (" +
                        error +
                        "). Raise what limits them: TasksMax= or LimitNPROC= of systemd, ulimit "
                        "-u, Docker's --pids-limit." +
                        listMemoryLimits());
  }
}

/** V8 of Node 20 asks for memory protection keys, without which it goes on. But a filter may kill
 * who makes a system call that it does not list, so that a child asks here. */
void tryProtectionKeys() {
#if defined(__x86_64__) && NODE_MAJOR_VERSION < 22
  if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != SECCOMP_MODE_FILTER) {
    return;
  }
  const pid_t child = _Fork();
  if (child == 0) {
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // no core dump of a child that is expected to die
    const int key = static_cast<int>(syscall(SYS_pkey_alloc, 0, PKEY_DISABLE_ACCESS));
    if (key >= 0) {
      syscall(SYS_pkey_mprotect, nullptr, 0, PROT_NONE, key);
    }
    _exit(0);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) {
    throw createRefusal(
        "a filter of system calls would kill Orthanc when Node, in which the plugin runs, asks for "
        "memory protection keys (pkey_alloc, pkey_mprotect). Allow them:\n"
        "  systemd: \"systemctl edit orthanc\", write the two lines \"[Service]\" and "
        "\"SystemCallFilter=@pkey\", which adds to the calls that are allowed already, and restart "
        "Orthanc; \"SystemCallErrorNumber=EPERM\" does, too\n"
        "  Docker: add the two to the profile of --security-opt seccomp");
  }
#endif
}

}  // namespace

void checkPrerequisites(size_t threads) {
  Reservation codeRange(kCodeRange);
  codeRange.protect(kCode, PROT_READ | PROT_WRITE | PROT_EXEC);
  const Reservation others(kOthers);
  Reservation heap(kHeap);
  heap.protect(kHeap, PROT_READ | PROT_WRITE);
  // Code that V8 writes first and makes executable later.
  heap.protect(kMegabyte, PROT_READ | PROT_EXEC);
  tryThreads(threads);
  tryProtectionKeys();
}

}  // namespace cloudstore
