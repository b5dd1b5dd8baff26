// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <string_view>

namespace cloudstore {

/** The bundled TypeScript (build/bundle/plugin.parts), pure ASCII, as it was when the library was
 * built. Lives forever. */
std::string_view embeddedBundle();

}  // namespace cloudstore
