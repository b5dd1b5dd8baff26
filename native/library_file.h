// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <filesystem>
#include <string>

namespace cloudstore {

/** The name under which the loader knows this very library, which is the path that Orthanc loaded
 * it by. */
std::string libraryName();

/** Where this very library has been loaded from, absolute. Orthanc's configuration may have it
 * relative to the current folder. */
std::filesystem::path libraryFile();

/** Whether another file has taken its place since this was first asked. The library stays in memory
 * until the process ends, so that a reset of Orthanc's goes on with the old one. */
bool isLibraryFileReplaced();

}  // namespace cloudstore
