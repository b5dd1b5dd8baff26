// SPDX-License-Identifier: GPL-3.0-or-later
#include "library_file.h"

#include <dlfcn.h>

#include <system_error>

namespace cloudstore {

std::string libraryName() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&libraryName), &info) == 0 ||
      info.dli_fname == nullptr) {
    return "/libOrthancObjectStorage.so";
  }
  return info.dli_fname;
}

std::filesystem::path libraryFile() { return std::filesystem::absolute(libraryName()); }

bool isLibraryFileReplaced() {
  static const std::filesystem::path file = libraryFile();
  std::error_code error;
  const auto time = std::filesystem::last_write_time(file, error);
  static const auto firstTime = time;
  return !error && time != firstTime;
}

}  // namespace cloudstore
