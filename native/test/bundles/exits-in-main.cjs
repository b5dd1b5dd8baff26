// SPDX-License-Identifier: GPL-3.0-or-later
// Ends before it is ready.
exports.main = () => process.exit(3);
