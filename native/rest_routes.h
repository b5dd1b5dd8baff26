// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <orthanc/OrthancCPlugin.h>

namespace cloudstore {

/** Forwards /object-storage/… and /move-storage of Orthanc's REST API to TypeScript, which knows
 * what each path means. */
void registerRestRoutes(OrthancPluginContext* context);

}  // namespace cloudstore
