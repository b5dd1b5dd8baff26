// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <orthanc/OrthancCPlugin.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "request.h"

namespace cloudstore {

enum class LogLevel : uint8_t { kError, kWarning, kInfo, kTrace };

/** Orthanc, as one Initialize handed it over. All its memory is allocated and freed here. thread:
 * any. */
class OrthancContext {
 public:
  explicit OrthancContext(OrthancPluginContext* context) : context_(context) {}

  /** Finalize is about to return, and the context to go: from now on nothing here touches it.
   * Threads that had to be left behind may still come back. */
  void leave() { gone_ = true; }
  [[nodiscard]] bool gone() const { return gone_; }

  [[nodiscard]] OrthancPluginContext* raw() const { return context_; }
  [[nodiscard]] std::string orthancVersion() const { return context_->orthancVersion; }

  /** @param source what Orthanc shows in the place of the source file, before the message */
  void log(LogLevel level, const std::string& message, const char* source = "shim") const;
  /** Names the calling thread in Orthanc's log. @param name at most 15 characters, a limit of Linux
   */
  void nameThread(const char* name) const;

  /** The whole configuration of Orthanc as JSON. @throws std::runtime_error */
  [[nodiscard]] std::string configuration() const;

  /** Calls Orthanc's REST API, plugins included. It may come back into this plugin, so never on the
   * loop's thread.
   *  @param method GET, POST, PUT or DELETE
   *  @returns status 500 with Orthanc's error code as its body where Orthanc gives no status */
  [[nodiscard]] RestAnswer callRest(const std::string& method, const std::string& path,
                                    const std::string& body) const;

 private:
  OrthancPluginContext* const context_;
  std::atomic<bool> gone_{false};
};

/** Memory for an answer of unknown size, from Orthanc's allocator; freed unless it was handed over.
 */
class OwnedDestination final : public Destination {
 public:
  explicit OwnedDestination(const OrthancContext& orthanc) : orthanc_(orthanc) {}
  ~OwnedDestination() override;
  OwnedDestination(const OwnedDestination&) = delete;
  OwnedDestination& operator=(const OwnedDestination&) = delete;

  uint8_t* allocate(uint64_t size) override;
  /** Gives the memory to Orthanc, which frees it. */
  void release(OrthancPluginMemoryBuffer64* target);

 private:
  void free();

  const OrthancContext& orthanc_;
  OrthancPluginMemoryBuffer64 buffer_{nullptr, 0};
};

/** Memory that Orthanc has allocated, for exactly the bytes that it asked for. */
class GivenDestination final : public Destination {
 public:
  explicit GivenDestination(const OrthancPluginMemoryBuffer64& target)
      : data_(static_cast<uint8_t*>(target.data)), size_(target.size) {}

  uint8_t* allocate(uint64_t size) override { return size == size_ ? data_ : nullptr; }

 private:
  uint8_t* const data_;
  const uint64_t size_;
};

}  // namespace cloudstore
