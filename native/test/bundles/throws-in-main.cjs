// SPDX-License-Identifier: GPL-3.0-or-later
exports.main = () => {
  throw new Error('no main today');
};
