// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <orthanc/OrthancCPlugin.h>

namespace cloudstore {

/** Links the plugin's page from Orthanc Explorer, and from Orthanc Explorer 2, which lists plugins.
 * thread: Initialize's. */
void addToOrthancExplorer(OrthancPluginContext* context);

}  // namespace cloudstore
