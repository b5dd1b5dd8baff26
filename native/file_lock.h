// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace cloudstore {

/** The lock of a file, as flock(1) takes it, too. The system gives it back when the process ends,
 * however that happens. thread: any; owned by one */
class FileLock {
 public:
  /** Creates the file if it is not there. @throws std::system_error if it cannot be opened, or if
   * someone else has the lock (EWOULDBLOCK) */
  explicit FileLock(const std::string& path)
      : file_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kMode)) {
    if (file_ < 0) {
      throw std::system_error(errno, std::generic_category());
    }
    if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      close(file_);
      throw std::system_error(error, std::generic_category());
    }
  }
  ~FileLock() { close(file_); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  static constexpr mode_t kMode = 0600;

  const int file_;
};

}  // namespace cloudstore
