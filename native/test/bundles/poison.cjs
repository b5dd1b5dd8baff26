// SPDX-License-Identifier: GPL-3.0-or-later
// For NODE_OPTIONS=--require: whoever loads it is not protected.
process.exit(99);
