// SPDX-License-Identifier: GPL-3.0-or-later
#include "bundle.h"

// bundle.S
extern "C" const char cloudstoreBundleStart[];  // NOLINT(modernize-avoid-c-arrays)
extern "C" const char cloudstoreBundleEnd[];    // NOLINT(modernize-avoid-c-arrays)

namespace cloudstore {

std::string_view embeddedBundle() {
  return {cloudstoreBundleStart, static_cast<size_t>(cloudstoreBundleEnd - cloudstoreBundleStart)};
}

}  // namespace cloudstore
