// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <orthanc/OrthancCPlugin.h>

namespace cloudstore {

/** Asks TypeScript for its figures whenever somebody reads Orthanc's metrics. */
void registerMetrics(OrthancPluginContext* context);

}  // namespace cloudstore
