// Keys and values are bytes. The console holds them as binary strings: one character per byte, so
// that comparing two strings compares their bytes, and browsers store them with one byte each.

/** A string whose characters are bytes, 0 to 255. */
export type Bytes = string

const encoder = new TextEncoder()
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export const fromBase64 = (text: string | undefined): Bytes => (text ? atob(text) : '')
export const toBase64 = (b: Bytes): string => btoa(b)

export function fromArray(a: Uint8Array): Bytes {
  let out = ''
  for (let i = 0; i < a.length; i += 8192) out += String.fromCharCode(...a.subarray(i, i + 8192))
  return out
}

export function toArray(b: Bytes): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(b.length)
  for (let i = 0; i < b.length; i++) out[i] = b.charCodeAt(i)
  return out
}

/** The bytes of a text in UTF-8. */
export const fromText = (text: string): Bytes => fromArray(encoder.encode(text))

/** The text of bytes in UTF-8, or null when they are not UTF-8. */
export function toText(b: Bytes): string | null {
  try {
    return strict.decode(toArray(b))
  } catch {
    return null
  }
}

// What is not seen, or changes how its neighbours are seen: control characters, marks of
// direction, characters without width, line separators, private use, unpaired surrogates.
const unseen = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u

export const hex = (n: number, digits: number): string => n.toString(16).padStart(digits, '0')

/** Bytes as a text that a person can read and type: characters that are not seen, and bytes that
 * are not UTF-8, are escaped as \xNN or \u{NNNN}, and a backslash is \\. */
export function show(b: Bytes): string {
  const text = toText(b)
  if (text !== null) return escapeText(text)
  let out = ''
  for (let i = 0; i < b.length; ) {
    const length = sequence(b.charCodeAt(i))
    const part = length > 0 ? toText(b.slice(i, i + length)) : null
    if (part !== null && i + length <= b.length) {
      out += escapeText(part)
      i += length
    } else {
      out += '\\x' + hex(b.charCodeAt(i), 2)
      i++
    }
  }
  return out
}

/** The length of a UTF-8 sequence by its first byte, or 0. */
function sequence(first: number): number {
  if (first < 0x80) return 1
  if (first >= 0xc2 && first < 0xe0) return 2
  if (first >= 0xe0 && first < 0xf0) return 3
  return first >= 0xf0 && first < 0xf5 ? 4 : 0
}

function escapeText(text: string): string {
  if (!/[\\]/.test(text) && !unseen.test(text)) return text
  let out = ''
  for (const c of text) {
    const code = c.codePointAt(0)!
    if (c === '\\') out += '\\\\'
    else if (code < 0x80 && unseen.test(c)) out += '\\x' + hex(code, 2)
    else if (unseen.test(c)) out += `\\u{${hex(code, 4)}}`
    else out += c
  }
  return out
}

/** The bytes that a person typed: the reverse of show. Other backslashes stand for themselves. */
export function parse(text: string): Bytes {
  return text
    .split(/(\\\\|\\x[0-9a-fA-F]{2}|\\u\{[0-9a-fA-F]{1,6}\})/)
    .map((part, i) => {
      if (i % 2 === 0) return fromText(part)
      if (part === '\\\\') return '\\'
      if (part[1] === 'x') return String.fromCharCode(parseInt(part.slice(2), 16))
      const code = parseInt(part.slice(3, -1), 16)
      return code <= 0x10ffff ? fromText(String.fromCodePoint(code)) : fromText(part)
    })
    .join('')
}

/** The end of the range of all keys with a prefix, as etcd wants it; "\0" stands for no end. */
export function prefixEnd(prefix: Bytes): Bytes {
  for (let i = prefix.length - 1; i >= 0; i--) {
    const c = prefix.charCodeAt(i)
    if (c < 0xff) return prefix.slice(0, i) + String.fromCharCode(c + 1)
  }
  return '\0'
}

/** The first bytes of a value as one line, for lists. */
export function preview(b: Bytes, max = 160): string {
  const text = show(b.slice(0, max))
  return b.length > max ? text + '…' : text
}
