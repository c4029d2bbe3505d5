// Sizes, times and money as people read them. Every figure here is for eyes only: `--json` gives
// bytes and RFC 3339. Sizes are binary (1 MiB = 2^20), and say so.

const SIZE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const;

/** Three significant digits at most: `812 B`, `4.02 KiB`, `96.0 MiB`. */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1023.5 && unit < SIZE_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${value.toFixed(digits)} ${SIZE_UNITS[unit] ?? 'B'}`;
}

/** `3,003`. */
export function countText(count: number): string {
  return Math.round(count)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `3,003 objects`, `1 object`. */
export function countOf(count: number, noun: string): string {
  return `${countText(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/**
 * UTC, to the minute: `2026-11-24 06:15`. Takes ms or RFC 3339; anything else is shown as it came.
 */
export function timeText(at: number | string | undefined): string {
  if (at === undefined) return '–';
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return String(at);
  return date.toISOString().slice(0, 16).replace('T', ' ');
}

export function dayText(at: number | string | undefined): string {
  return timeText(at).slice(0, 10);
}

/** `0.8 s`, `12 s`, `4 min 05 s`, `3 h 20 min`, `2 d 4 h`. */
export function durationText(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad2(whole % 60)} s`;
  if (whole < 86_400)
    return `${Math.floor(whole / 3600)} h ${pad2(Math.floor(whole / 60) % 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor(whole / 3600) % 24} h`;
}

const pad2 = (value: number): string => String(value).padStart(2, '0');

/**
 * Money keeps enough digits to be more than zero: an archive of a laptop costs fractions of a cent,
 * and "0.00" would be a lie. `$1,204.50`, `$0.0042`, `$0.00`.
 */
export function moneyText(amount: number, currency = 'USD'): string {
  const sign = amount < 0 ? '-' : '';
  const size = Math.abs(amount);
  const symbol = currency === 'USD' ? '$' : `${currency} `;
  if (size > 0 && size < 0.5e-8) return `under ${symbol}0.00000001`;
  const digits = size === 0 || size >= 0.995 ? 2 : Math.min(8, 1 - Math.floor(Math.log10(size)));
  const text = size.toFixed(Math.max(2, digits));
  const [whole = '0', part = '00'] = text.split('.');
  return `${sign}${symbol}${countText(Number(whole))}.${part}`;
}
