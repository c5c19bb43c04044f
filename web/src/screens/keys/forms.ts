// The forms in which a value is shown and edited.

import { type Bytes, fromText, hex, toText } from '../../lib/bytes.ts'
import { compact, isCompact, isJson, isJsonDocument, layOut } from '../../lib/json.ts'
import { kubernetes } from '../../lib/protobuf.ts'

export type Form = 'text' | 'json' | 'hex' | 'kube'

const jsonMax = 8 << 20

/** The forms in which a value can be shown, the best one first. */
export function formsOf(value: Bytes): Form[] {
  const text = toText(value)
  const forms: Form[] = []
  if (kubernetes(value)) forms.push('kube')
  if (text !== null && text.length <= jsonMax && isJsonDocument(text)) forms.push('json')
  if (text !== null) forms.push('text')
  forms.push('hex')
  return forms
}

/** A value as the text that is edited, and how to get the value back; null when the text is not a
 * value of this form. */
export interface Draft {
  text: string
  json: boolean
  value: (text: string) => Bytes | null
}

export function draftOf(value: Bytes, form: Form): Draft {
  const text = toText(value)
  if (form === 'hex' || form === 'kube' || text === null) return { text: hexText(value), json: false, value: parseHex }
  if (form === 'text') return { text, json: false, value: fromText }
  // JSON in one line is laid out to be edited, and stored in one line again.
  const narrow = isCompact(text)
  return {
    text: narrow ? layOut(text) : text,
    json: true,
    value: (t) => (isJson(t) ? fromText(narrow ? compact(t) : t) : null),
  }
}

const hexByte = (c: string) => hex(c.charCodeAt(0), 2)

/** Bytes as lines of 16 pairs of digits. */
export function hexText(b: Bytes): string {
  const lines: string[] = []
  for (let i = 0; i < b.length; i += 16) lines.push(Array.from(b.slice(i, i + 16), hexByte).join(' '))
  return lines.join('\n')
}

export function parseHex(text: string): Bytes | null {
  const digits = text.replace(/\s+/g, '')
  if (digits.length % 2 || /[^0-9a-fA-F]/.test(digits)) return null
  let out = ''
  for (let i = 0; i < digits.length; i += 2) out += String.fromCharCode(parseInt(digits.slice(i, i + 2), 16))
  return out
}

/** A row of a hex view: offset, 16 bytes, and their ASCII characters. */
export function hexRow(b: Bytes, row: number): [string, string, string] {
  const bytes = b.slice(row * 16, row * 16 + 16)
  const pairs = Array.from(bytes, hexByte)
  return [
    (row * 16).toString(16).padStart(8, '0'),
    [pairs.slice(0, 8).join(' '), pairs.slice(8).join(' ')].join('  '),
    bytes.replace(/[^\x20-\x7e]/g, '·'),
  ]
}
