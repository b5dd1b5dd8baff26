// SPDX-License-Identifier: GPL-3.0-or-later
#include "node_process.h"

#include <node.h>

#include <stdexcept>

#include "signal_shield.h"

namespace cloudstore {
namespace {

// Helpers of V8's for garbage collection and compilation; our loop is the only one, and machines
// are small.
constexpr int kPlatformThreads = 2;

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
