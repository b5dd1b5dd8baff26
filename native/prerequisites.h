// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <cstddef>

namespace cloudstore {

/** Tries what Node and V8 take from the system at their start: executable memory, address space,
 * threads. Where they don't get it they abort the process, that is Orthanc, without a word in its
 * log. All of it is taken at once, never touched, and given back within milliseconds.
 *  thread: Initialize's, before Node runs.
 *  @param threads how many Node starts
 *  @throws std::runtime_error that says what the system refuses, and which setting changes that */
void checkPrerequisites(size_t threads);

}  // namespace cloudstore
