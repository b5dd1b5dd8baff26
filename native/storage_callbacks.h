// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <orthanc/OrthancCPlugin.h>

namespace cloudstore {

/** Makes this plugin Orthanc's storage area.
 *  @param rangeReads whether parts of an attachment can be read; if not, Orthanc keeps headers in
 * attachments of their own
 *  @returns what Orthanc says: StorageAreaAlreadyRegistered where another plugin has been faster */
OrthancPluginErrorCode registerStorageArea(OrthancPluginContext* context, bool rangeReads);

}  // namespace cloudstore
