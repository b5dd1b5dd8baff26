// SPDX-License-Identifier: GPL-3.0-or-later
// What the sanitizers are told, so that the tests need no environment variables. Without a
// sanitizer nobody calls these.
extern "C" {

// NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): the names are given

const char* __asan_default_options();
const char* __lsan_default_suppressions();
const char* __tsan_default_options();
const char* __tsan_default_suppressions();

const char* __asan_default_options() { return "detect_leaks=1:abort_on_error=1"; }

// A promise that Orthanc had not answered when its environment ended: 8 bytes, which N-API frees
// only by settling it, and it refuses that once JavaScript is being terminated.
const char* __lsan_default_suppressions() { return "leak:napi_create_promise\n"; }

const char* __tsan_default_options() { return "halt_on_error=1:second_deadlock_stack=1"; }

// Debian's libnode is not instrumented: the sanitizer can't see what orders its own accesses. What
// the shim does in calls from it is still checked.
const char* __tsan_default_suppressions() { return "race:libnode.so\n"; }

// NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)

}  // extern "C"
