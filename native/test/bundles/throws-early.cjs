// SPDX-License-Identifier: GPL-3.0-or-later
// What nobody catches, before any handler is there.
exports.main = () => {
  setTimeout(() => {
    throw new Error('too early');
  }, 1);
};
