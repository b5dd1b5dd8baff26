// SPDX-License-Identifier: GPL-3.0-or-later
// BUNDLE_PATH is set by CMake.
    .section .rodata
    .global cloudstoreBundleStart
    .hidden cloudstoreBundleStart
    .global cloudstoreBundleEnd
    .hidden cloudstoreBundleEnd
    .balign 16
cloudstoreBundleStart:
    .incbin BUNDLE_PATH
cloudstoreBundleEnd:
    .section .note.GNU-stack, "", %progbits
