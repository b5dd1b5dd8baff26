// SPDX-License-Identifier: GPL-3.0-or-later
#include "node_process.h"

#include <node.h>

#include <cstdlib>
#include <stdexcept>

#include "signal_shield.h"

namespace cloudstore {
namespace {

// Helpers of V8's for garbage collection and compilation, shared by all lanes; machines are small.
constexpr int kPlatformThreads = 2;
// For calls of the system that block: files, and names of hosts. libuv's four would all be taken by
// as many reads of a disk that hangs, and names of the store's host could not be looked up any more
// (src/providers/filesystem/store.ts leaves some free).
constexpr const char* kThreadPoolSize = "16";

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

}  // namespace

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
  // Before Orthanc's servers start their threads. What the user has set stays.
  // NOLINTNEXTLINE(concurrency-mt-unsafe)
  setenv("UV_THREADPOOL_SIZE", kThreadPoolSize, 0);
  initialization_ = node::InitializeOncePerProcess({"orthanc"}, initializationFlags());
  if (!initialization_->errors().empty()) {
    return;
  }
  platform_ = node::MultiIsolatePlatform::Create(kPlatformThreads);
  v8::V8::InitializePlatform(platform_.get());
  v8::V8::Initialize();
}

const std::vector<std::string>& NodeProcess::arguments() const { return initialization_->args(); }
const std::vector<std::string>& NodeProcess::execArguments() const {
  return initialization_->exec_args();
}

}  // namespace cloudstore
