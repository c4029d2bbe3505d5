// Amounts as people read them: bytes, counts, dollars.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `1.4 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** `12,345`. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** `$12.34`; small sums keep what shows them: `$0.0021`. */
export function formatMoney(amount: number): string {
  const size = Math.abs(amount);
  if (size === 0) return '$0';
  const sign = amount < 0 ? '-' : '';
  if (size < 0.000_001) return `${sign}$0.000001`.replace('$', '<$');
  const digits = size >= 0.1 ? 2 : Math.min(6, 1 - Math.floor(Math.log10(size)));
  const fixed = size.toFixed(digits);
  const [whole = '0', fraction = ''] = fixed.split('.');
  return `${sign}$${Number(whole).toLocaleString('en-US')}.${fraction}`;
}
