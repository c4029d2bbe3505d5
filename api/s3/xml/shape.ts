// What a configuration may look like, said once: a shape checks an element strictly and writes it
// again in canonical form. For documents that are kept and shown. The danger: a setting that is
// stored though nobody understands it, and a second reader that takes it otherwise than the first.

import { childrenOf, malformed, textOf, type XmlElement } from './parse.ts';
import { escapeText, wrap, xmlDocument } from './write.ts';

/** The element's content in canonical form. Throws MalformedXML. */
export type Shape = (given: XmlElement) => string;

interface Repeated {
  shape: Shape;
  from: number;
  to: number;
}

export function canonicalDocument(root: XmlElement, shape: Shape): string {
  return xmlDocument(root.name, shape(root));
}

/** A text of a length in characters and of a form. */
export function text(bounds: { from?: number; to: number; form?: RegExp }): Shape {
  const { from = 1, to, form } = bounds;
  return (given) => {
    const value = textOf(given) as string;
    const isFit = value.length >= from && value.length <= to && (form?.test(value) ?? true);
    if (!isFit) throw malformed(`${given.name} is not of the right form`);
    return escapeText(value);
  };
}

export function oneOf(...values: readonly string[]): Shape {
  return (given) => {
    const value = textOf(given) as string;
    if (!values.includes(value)) throw malformed(`${given.name} must be ${values.join(' or ')}`);
    return value;
  };
}

export function wholeNumber(from: number, to: number): Shape {
  return (given) => {
    const value = (textOf(given) as string).trim();
    if (!/^\d{1,9}$/.test(value) || Number(value) < from || Number(value) > to) {
      throw malformed(`${given.name} must be a whole number from ${from} to ${to}`);
    }
    return String(Number(value));
  };
}

export function maybe(shape: Shape): Repeated {
  return { shape, from: 0, to: 1 };
}

export function many(shape: Shape, from: number, to: number): Repeated {
  return { shape, from, to };
}

type Known = Readonly<Record<string, Repeated | Shape>>;

/** Children of these names, written in this order; a bare shape stands for exactly one. */
export function fields(known: Known): Shape {
  const all = Object.entries(known).map(([name, field]) => ({
    name,
    ...(typeof field === 'function' ? { shape: field, from: 1, to: 1 } : field),
  }));
  const once = all.filter(({ to }) => to === 1).map(({ name }) => name);
  const often = all.filter(({ to }) => to > 1).map(({ name }) => name);
  return (given) => {
    requireElements(given);
    const found = childrenOf(given, once, often);
    let xml = '';
    for (const { name, shape, from, to } of all) {
      const children = found.all(name);
      if (children.length < from) throw malformed(`${given.name} needs ${name}`);
      if (children.length > to) throw malformed(`${given.name} has more than ${to} ${name}`);
      for (const child of children) xml += wrap(name, shape(child));
    }
    return xml;
  };
}

/** Exactly one child, of one of these names; none at all where `empty`. */
export function choice(known: Readonly<Record<string, Shape>>, empty = false): Shape {
  return (given) => {
    requireElements(given);
    const [child, another] = given.children;
    if (child === undefined && empty) return '';
    const shape = child && Object.hasOwn(known, child.name) ? known[child.name] : undefined;
    if (child === undefined || shape === undefined || another !== undefined) {
      throw malformed(`${given.name} must have one of ${Object.keys(known).join(', ')}`);
    }
    return wrap(child.name, shape(child));
  };
}

/** The shape, and what else must hold of an element that has it. */
export function checked(shape: Shape, check: (given: XmlElement) => void): Shape {
  return (given) => {
    const xml = shape(given);
    check(given);
    return xml;
  };
}

/** Text of a child that a shape has found to be text, if it is there. */
export function childText(given: XmlElement, name: string): string | undefined {
  return given.children.find((child) => child.name === name)?.text;
}

function requireElements(given: XmlElement): void {
  if (/[^ \t\r\n]/.test(given.text)) throw malformed(`${given.name} must hold elements`);
}
