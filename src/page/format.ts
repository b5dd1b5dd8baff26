// SPDX-License-Identifier: GPL-3.0-or-later
// Figures as people read them. Units are decimal: 1 MB is 1,000,000 bytes, as in what stores and networks bill.

const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'] as const;

export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // Rounding must not lead to "1000 kB".
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? String(Math.round(value)) : digits(value, 3)} ${BYTE_UNITS[unit]}`;
}

export function formatByteRate(bytesPerSecond: number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

export function formatMs(ms: number): string {
  if (ms >= 995) return `${digits(ms / 1000, 2)} s`;
  return `${digits(ms, 2)} ms`;
}

export function formatRate(perSecond: number): string {
  return `${digits(perSecond, 3)}/s`;
}

export function formatCount(count: number): string {
  return Math.round(count)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');
}

/** @param share 0 to 1 */
export function formatShare(share: number): string {
  const percent = share * 100;
  return `${percent > 0 && percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
}

const DURATION_UNITS = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
] as const;

/** Its two largest units. */
export function formatDuration(seconds: number): string {
  for (const [index, [size, unit]] of DURATION_UNITS.entries()) {
    if (seconds < size) continue;
    const whole = Math.floor(seconds / size);
    const [nextSize, nextUnit] = DURATION_UNITS[index + 1] ?? [1, 's'];
    const rest = Math.floor((seconds - whole * size) / nextSize);
    return rest === 0 ? `${whole} ${unit}` : `${whole} ${unit} ${rest} ${nextUnit}`;
  }
  return `${Math.floor(seconds)} s`;
}

/** @param seconds since 1970 @returns the local time of day */
export function formatTime(seconds: number, withSeconds = false): string {
  const date = new Date(seconds * 1000);
  const parts = [date.getHours(), date.getMinutes(), ...(withSeconds ? [date.getSeconds()] : [])];
  return parts.map(twoDigits).join(':');
}

/** @returns local date and time; the text itself where it is no date */
export function formatDateTime(text: string): string {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return text;
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(twoDigits).join('-');
  return `${day} ${formatTime(date.getTime() / 1000, true)}`;
}

/** @param text DICOM's, such as "20261130" */
export function formatDicomDate(text: string): string {
  return text.replace(/^(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3');
}

/** @param text Orthanc's, such as "20261130T142233.123456", which is UTC */
export function formatOrthancTime(text: string): string {
  return formatDateTime(
    text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:\.\d+)?$/, '$1-$2-$3T$4:$5:$6Z'),
  );
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** @param count so many significant digits, but no zeros in the place of digits before the point */
function digits(value: number, count: 2 | 3): string {
  const before = value >= 100 ? 3 : value >= 10 ? 2 : 1;
  return String(Number(value.toFixed(Math.max(0, count - before))));
}

function twoDigits(number: number): string {
  return String(number).padStart(2, '0');
}
