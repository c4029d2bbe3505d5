// Reads what `smartctl --json` says of one drive (its own JSON schema, format 1.x, smartmontools
// 7.0 and newer). Drives tell very different things: everything is optional here, and a field of
// an unexpected type counts as absent, because a warning made of rubbish costs more trust than
// none.

import type { HealthSilence, SmartReading } from '../model/drive-health.ts';

type Json = Readonly<Record<string, unknown>>;

export interface SmartAnswer {
  reading?: SmartReading;
  /** Bits of NVMe's critical warning; 0 where the drive is none. */
  criticalWarning: number;
  /** Names of ATA attributes that fell below their threshold, now. */
  failingNow: readonly string[];
  spinning: boolean;
  silence?: { why: HealthSilence; text: string };
}

const at = (value: unknown, ...path: (string | number)[]): unknown => {
  let here = value;
  for (const name of path) {
    if (typeof here !== 'object' || here === null) return undefined;
    here = (here as Json)[name];
  }
  return here;
};

const numberAt = (value: unknown, ...path: (string | number)[]): number | undefined => {
  const found = at(value, ...path);
  return typeof found === 'number' && Number.isFinite(found) && found >= 0 ? found : undefined;
};

const textAt = (value: unknown, ...path: (string | number)[]): string | undefined => {
  const found = at(value, ...path);
  return typeof found === 'string' && found.trim() !== '' ? found.trim() : undefined;
};

interface Attribute {
  id: number;
  name: string;
  value: number | undefined;
  raw: number | undefined;
  failing: boolean;
}

function attributesOf(json: unknown): Map<number, Attribute> {
  const table = at(json, 'ata_smart_attributes', 'table');
  const found = new Map<number, Attribute>();
  for (const row of Array.isArray(table) ? table : []) {
    const id = numberAt(row, 'id');
    if (id === undefined) continue;
    found.set(id, {
      id,
      name: textAt(row, 'name') ?? `attribute ${id}`,
      value: numberAt(row, 'value'),
      raw: numberAt(row, 'raw', 'value'),
      failing: at(row, 'when_failed') === 'now',
    });
  }
  return found;
}

/** Makers give wear of flash under several ids; the name says whether it is that. */
const WEAR_NAMES = new Set([
  'Media_Wearout_Indicator',
  'Wear_Leveling_Count',
  'SSD_Life_Left',
  'Percent_Lifetime_Remain',
  'Remaining_Lifetime_Perc',
  'Perc_Rated_Life_Remain',
]);

/** The drive's own percentage (device statistics, page 7), or an attribute from 100 down. */
function ataWear(json: unknown, attributes: ReadonlyMap<number, Attribute>): number | undefined {
  const told = numberAt(json, 'endurance_used', 'current_percent');
  if (told !== undefined) return told;
  const pages = at(json, 'ata_device_statistics', 'pages');
  for (const page of Array.isArray(pages) ? pages : []) {
    if (numberAt(page, 'number') !== 7) continue;
    const table = at(page, 'table');
    for (const row of Array.isArray(table) ? table : []) {
      if (textAt(row, 'name') === 'Percentage Used Endurance Indicator') {
        return numberAt(row, 'value');
      }
    }
  }
  for (const { name, value } of attributes.values()) {
    if (value !== undefined && value <= 100 && WEAR_NAMES.has(name)) return 100 - value;
  }
  return undefined;
}

function ataReading(json: unknown, attributes: ReadonlyMap<number, Attribute>): SmartReading {
  const raw = (id: number): number | undefined => attributes.get(id)?.raw;
  // 187: errors told to the host; 198: sectors that failed offline. The worse of the two.
  const uncorrectable = [raw(187), raw(198)].filter((count) => count !== undefined);
  return {
    kind: 'ata',
    ...given('reallocatedSectors', raw(5)),
    ...given('pendingSectors', raw(197)),
    ...given(
      'uncorrectableErrors',
      uncorrectable.length > 0 ? Math.max(...uncorrectable) : undefined,
    ),
    ...given('wearPercent', ataWear(json, attributes)),
    ...given('sparePercent', numberAt(json, 'spare_available', 'current_percent')),
    ...given('spareThresholdPercent', numberAt(json, 'spare_available', 'threshold_percent')),
  };
}

function nvmeReading(log: unknown): SmartReading {
  return {
    kind: 'nvme',
    ...given('wearPercent', numberAt(log, 'percentage_used')),
    ...given('sparePercent', numberAt(log, 'available_spare')),
    ...given('spareThresholdPercent', numberAt(log, 'available_spare_threshold')),
    ...given('mediaErrors', numberAt(log, 'media_errors')),
  };
}

function scsiReading(json: unknown): SmartReading {
  const counters = at(json, 'scsi_error_counter_log');
  const uncorrected = ['read', 'write', 'verify']
    .map((way) => numberAt(counters, way, 'total_uncorrected_errors'))
    .filter((count) => count !== undefined);
  const sum = uncorrected.reduce((all, count) => all + count, 0);
  return {
    kind: 'scsi',
    ...given('reallocatedSectors', numberAt(json, 'scsi_grown_defect_list')),
    ...given('uncorrectableErrors', uncorrected.length > 0 ? sum : undefined),
    ...given('wearPercent', numberAt(json, 'scsi_percentage_used_endurance_indicator')),
  };
}

const given = <Name extends string, Value>(
  name: Name,
  value: Value | undefined,
): Partial<Record<Name, Value>> =>
  value === undefined ? {} : ({ [name]: value } as Record<Name, Value>);

/** `json`: parsed output of `smartctl --json -a`, whatever its exit status was. */
export function readSmart(json: unknown): SmartAnswer {
  const attributes = attributesOf(json);
  const log = at(json, 'nvme_smart_health_information_log');
  const protocol = textAt(json, 'device', 'protocol');
  const none = { criticalWarning: 0, failingNow: [], spinning: false };
  let reading: SmartReading;
  if (log !== undefined) reading = nvmeReading(log);
  else if (attributes.size > 0) reading = ataReading(json, attributes);
  else if (protocol === 'SCSI' && at(json, 'smart_status') !== undefined)
    reading = scsiReading(json);
  else return { ...none, silence: silenceOf(json) };
  const model = textAt(json, 'model_name') ?? textAt(json, 'scsi_model_name');
  return {
    reading: {
      ...reading,
      ...given('model', model),
      ...given('serial', textAt(json, 'serial_number')),
      ...given('firmware', textAt(json, 'firmware_version') ?? textAt(json, 'scsi_revision')),
      ...given('temperatureC', numberAt(json, 'temperature', 'current')),
      ...given('powerOnHours', numberAt(json, 'power_on_time', 'hours')),
      ...given('passed', passedOf(json)),
    },
    criticalWarning: numberAt(log, 'critical_warning') ?? 0,
    failingNow: [...attributes.values()].filter(({ failing }) => failing).map(({ name }) => name),
    spinning: (numberAt(json, 'rotation_rate') ?? 0) > 0,
  };
}

function passedOf(json: unknown): boolean | undefined {
  const passed = at(json, 'smart_status', 'passed');
  return typeof passed === 'boolean' ? passed : undefined;
}

const SILENCES: readonly [RegExp, HealthSilence][] = [
  [/Permission denied|Operation not permitted|must be root/i, 'not-permitted'],
  [/STANDBY|SLEEP mode/, 'asleep'],
  [/Unknown USB bridge|specify device type|Unable to detect device type/i, 'unsupported'],
  [/Unavailable|not supported|lacks SMART|Inappropriate ioctl/i, 'unsupported'],
  [/No such (device|file)/i, 'no-device'],
];

function silenceOf(json: unknown): { why: HealthSilence; text: string } {
  const messages = at(json, 'smartctl', 'messages');
  const texts = (Array.isArray(messages) ? messages : [])
    .map((message) => textAt(message, 'string'))
    .filter((text) => text !== undefined);
  for (const text of texts) {
    const known = SILENCES.find(([pattern]) => pattern.test(text));
    if (known !== undefined) return { why: known[1], text };
  }
  if (at(json, 'smart_support', 'available') === false) {
    return { why: 'unsupported', text: 'the drive has no SMART' };
  }
  if (at(json, 'smart_support', 'enabled') === false) {
    return { why: 'unsupported', text: 'SMART is switched off on the drive: smartctl -s on' };
  }
  return { why: texts.length > 0 ? 'failed' : 'unsupported', text: texts[0] ?? 'it tells nothing' };
}
