// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <orthanc/OrthancCPlugin.h>

namespace cloudstore {

/** Makes this plugin Orthanc's storage area.
 *  @param rangeReads whether parts of an attachment can be read; if not, Orthanc keeps headers in
 * attachments of their own
 *  @returns what Orthanc says: StorageAreaAlreadyRegistered where another plugin has been faster */
OrthancPluginErrorCode registerStorageArea(OrthancPluginContext* context, bool rangeReads);

/** Forwards /object-storage/… and /move-storage of Orthanc's REST API to TypeScript, which knows
 * what each path means, and asks TypeScript for its figures whenever somebody reads Orthanc's
 * metrics. */
void registerRestAndMetrics(OrthancPluginContext* context);

}  // namespace cloudstore
