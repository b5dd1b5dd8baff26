// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <filesystem>
#include <memory>

namespace node {
class InitializationResult;
class MultiIsolatePlatform;
}  // namespace node

namespace cloudstore {

/** What Node and V8 keep per process. They can be set up only once and must not be torn down,
 * whereas Orthanc initialises its plugins again and again in one process (/tools/reset). Hence a
 * singleton that lives until the process ends, in a library that is never unloaded. */
class NodeProcess {
 public:
  /** thread: Initialize's. @throws std::runtime_error where Node refuses to start; so it does at
   * each later call */
  static NodeProcess& instance();

  [[nodiscard]] node::MultiIsolatePlatform* platform() const { return platform_.get(); }
  [[nodiscard]] const node::InitializationResult& initialization() const {
    return *initialization_;
  }

  NodeProcess(const NodeProcess&) = delete;
  NodeProcess& operator=(const NodeProcess&) = delete;

 private:
  NodeProcess();
  ~NodeProcess() = default;  // never called

  std::shared_ptr<node::InitializationResult> initialization_;
  std::unique_ptr<node::MultiIsolatePlatform> platform_;
};

/** Where this very library has been loaded from, absolute. Orthanc's configuration may have it
 * relative to the current folder. */
std::filesystem::path libraryFile();

/** Whether another file has taken its place since this was first asked. The library stays in memory
 * until the process ends, so that a reset of Orthanc's goes on with the old one. */
bool isLibraryFileReplaced();

}  // namespace cloudstore
