// SPDX-License-Identifier: GPL-3.0-or-later
// A box with Docker: an image on top of the official Orthanc image.

export async function ensureImage() {
  throw new Error('todo');
}
export function spawnInContainer() {
  throw new Error('todo');
}
