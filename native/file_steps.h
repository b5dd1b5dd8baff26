// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <napi.h>

namespace cloudstore {

/** What src/local/file-steps.ts describes: steps on one file, one after the other, on one thread of
 * libuv's. Node's own functions change threads for each step.
 *
 *  thread: it is called on js-loop. The steps own what they need, and keep alive the memory that
 * they read and write, until js-loop has settled their promise */
Napi::Function defineFileSteps(Napi::Env env);

}  // namespace cloudstore
