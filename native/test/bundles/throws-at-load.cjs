// SPDX-License-Identifier: GPL-3.0-or-later
throw new Error('not loadable');
