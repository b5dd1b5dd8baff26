// SPDX-License-Identifier: GPL-3.0-or-later
#include "node_process.h"

#include <dlfcn.h>
#include <node.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>

#include "prerequisites.h"
#include "signal_shield.h"
#include "thread_name.h"

namespace cloudstore {
namespace {

// Helpers of V8's for garbage collection and compilation, shared by all lanes; machines are small.
constexpr int kPlatformThreads = 2;
// For calls of the system that block: files, and names of hosts. libuv's four would all be taken by
// as many reads of a disk that hangs, and names of the store's host could not be looked up any more
// (src/providers/filesystem/store.ts leaves some free).
constexpr size_t kThreadPoolSize = 16;
// Beside them: V8's timer, the loop and its supervisor.
constexpr size_t kThreads = kPlatformThreads + kThreadPoolSize + 3;

node::ProcessInitializationFlags::Flags initializationFlags() {
  // Node is a guest here: V8 and the platform are set up by us, once; stdio, signals and limits are
  // Orthanc's; NODE_OPTIONS is meant for programs of Node's own.
  using Flags = node::ProcessInitializationFlags::Flags;
  // NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): flags of one bit each
  return static_cast<Flags>(Flags::kNoInitializeV8 | Flags::kNoInitializeNodeV8Platform |
                            Flags::kNoStdioInitialization | Flags::kNoDefaultSignalHandling |
                            Flags::kDisableNodeOptionsEnv | Flags::kNoAdjustResourceLimits |
                            Flags::kNoParseGlobalDebugVariables | Flags::kNoUseLargePages |
                            Flags::kNoPrintHelpOrVersionOutput);
}

/** The name under which the loader knows this very library, which is the path that Orthanc loaded
 * it by. */
std::string libraryName() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&libraryName), &info) == 0 ||
      info.dli_fname == nullptr) {
    return "/libOrthancObjectStorage.so";
  }
  return info.dli_fname;
}

/** @returns whether a library of this name is loaded, and is not this one: they are never unloaded,
 * and a new file in the place of one that is loaded is the old one to the loader */
bool isAnotherLoaded(const std::string& name) {
  const auto find = [](const std::string& file) {
    const auto close = [](void* library) { dlclose(library); };
    return std::unique_ptr<void, decltype(close)>(
        dlopen(file.c_str(), RTLD_LAZY | RTLD_NOLOAD | RTLD_LOCAL), close);
  };
  const auto other = find(name);
  return other != nullptr && other != find(libraryName());
}

/** Takes note in the process that Node runs in it, and by which file, for a copy of this library
 * that is loaded from another file after this one: Node, which it would share, aborts at a second
 * initialization. The mark is in the environment, so that children and programs that this process
 * executes have it, too: the first have another number, in the second that file is not loaded.
 *  @throws std::runtime_error where another copy has been here before */
void claimProcess() {
  constexpr const char* kMark = "ORTHANC_OBJECT_STORAGE_PROCESS";
  const std::string process = std::to_string(getpid()) + " ";
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  const char* found = std::getenv(kMark);
  const std::string mark = found == nullptr ? "" : found;
  if (mark.starts_with(process) && isAnotherLoaded(mark.substr(process.size()))) {
    throw std::runtime_error(
        "Another copy of the object storage plugin has run in this process, from another file: "
        "restart Orthanc instead of resetting it, and keep one copy in \"Plugins\"");
  }
  // NOLINTNEXTLINE(concurrency-mt-unsafe): before Orthanc's servers start their threads
  setenv(kMark, (process + libraryName()).c_str(), 1);
}

}  // namespace

std::filesystem::path libraryFile() { return std::filesystem::absolute(libraryName()); }

bool isLibraryFileReplaced() {
  static const std::filesystem::path file = libraryFile();
  std::error_code error;
  const auto time = std::filesystem::last_write_time(file, error);
  static const auto firstTime = time;
  return !error && time != firstTime;
}

NodeProcess& NodeProcess::instance() {
  static NodeProcess& process =
      *new NodeProcess();  // NOLINT(cppcoreguidelines-owning-memory): lives until the process ends
  if (!process.initialization_->errors().empty()) {
    throw std::runtime_error("Node does not start: " + process.initialization_->errors().front());
  }
  return process;
}

NodeProcess::NodeProcess() {
  const SignalShield shield;
  const ThreadName name("storage-v8");
  checkPrerequisites(kThreads);
  claimProcess();
  // Before Orthanc's servers start their threads. What the user has set stays.
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  setenv("UV_THREADPOOL_SIZE", std::to_string(kThreadPoolSize).c_str(), 0);
  initialization_ = node::InitializeOncePerProcess({"orthanc"}, initializationFlags());
  if (!initialization_->errors().empty()) {
    return;
  }
  platform_ = node::MultiIsolatePlatform::Create(kPlatformThreads);
  v8::V8::InitializePlatform(platform_.get());
  v8::V8::Initialize();
}

}  // namespace cloudstore
