// Where text goes: a terminal, a file, or a test's string.

export interface CliOutput {
  write(text: string): void;
  /** True on a terminal: lines may be redrawn. */
  isTTY: boolean;
  /** True where escape codes for colour are wanted. */
  colour: boolean;
  columns: number;
}

export interface Paint {
  bold: (text: string) => string;
  dim: (text: string) => string;
  green: (text: string) => string;
  yellow: (text: string) => string;
  red: (text: string) => string;
}

/** What a text needs to know of where it will stand. */
export interface Screen {
  io: { stdout: CliOutput };
  paint: Paint;
}
