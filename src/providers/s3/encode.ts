// SPDX-License-Identifier: GPL-3.0-or-later

/** As SigV4 wants it: all but letters, digits, "-", ".", "_" and "~".
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html */
export function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
