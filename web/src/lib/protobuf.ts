// Protobuf without a schema: fields by their numbers. Kubernetes stores its objects so, behind the
// four bytes "k8s\0" (k8s.io/apimachinery, runtime/serializer/protobuf).

import { type Bytes, fromArray, preview, show, toArray, toText } from './bytes.ts'

export interface Field {
  number: number
  /** A number for varints and fixed-width fields, bytes for the others. */
  value: bigint | Uint8Array
}

/** The fields of a message, or null when the bytes are not one. */
export function fields(b: Uint8Array): Field[] | null {
  const out: Field[] = []
  let at = 0
  const varint = (): bigint | null => {
    let value = 0n
    for (let shift = 0n; shift < 70n && at < b.length; shift += 7n) {
      const byte = b[at++]
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asUintN(64, value)
    }
    return null
  }
  const fixed = (n: number): bigint | null => {
    if (at + n > b.length) return null
    let value = 0n
    for (let i = n - 1; i >= 0; i--) value = (value << 8n) | BigInt(b[at + i])
    at += n
    return value
  }
  while (at < b.length) {
    const tag = varint()
    if (tag === null || tag >> 3n === 0n || tag >> 3n > 0x1fffffffn) return null
    const number = Number(tag >> 3n)
    const type = Number(tag & 7n)
    let value: bigint | Uint8Array | null = null
    if (type === 0) value = varint()
    else if (type === 1) value = fixed(8)
    else if (type === 5) value = fixed(4)
    else if (type === 2) {
      const length = varint()
      if (length !== null && length <= BigInt(b.length - at)) {
        value = b.subarray(at, at + Number(length))
        at += Number(length)
      }
    }
    if (value === null) return null
    out.push({ number, value })
  }
  return out
}

const magic = 'k8s\0'

/** An object of Kubernetes, as far as it can be read without its schema. */
export interface KubeObject {
  apiVersion: string
  kind: string
  name: string
  namespace: string
  uid: string
  created: string
  labels: [string, string][]
  annotations: [string, string][]
  /** All fields by number, as indented text. */
  outline: string
}

const text = (v: bigint | Uint8Array | undefined): string => (v instanceof Uint8Array ? show(fromArray(v)) : v === undefined ? '' : String(v))

const first = (list: Field[], number: number): bigint | Uint8Array | undefined => list.find((f) => f.number === number)?.value

function message(v: bigint | Uint8Array | undefined): Field[] {
  return v instanceof Uint8Array ? (fields(v) ?? []) : []
}

const pairs = (list: Field[], number: number): [string, string][] =>
  list.filter((f) => f.number === number).map((f) => [text(first(message(f.value), 1)), text(first(message(f.value), 2))])

/** Reads a value that Kubernetes stored as protobuf; null when it is none. */
export function kubernetes(value: Bytes): KubeObject | null {
  if (!value.startsWith(magic)) return null
  const unknown = fields(toArray(value.slice(magic.length)))
  if (!unknown) return null
  const type = message(first(unknown, 1))
  const raw = first(unknown, 2)
  const object = message(raw)
  const meta = message(first(object, 1))
  const seconds = first(message(first(meta, 8)), 1)
  const time = typeof seconds === 'bigint' ? new Date(Number(seconds) * 1000) : null
  return {
    apiVersion: text(first(type, 1)),
    kind: text(first(type, 2)),
    name: text(first(meta, 1)),
    namespace: text(first(meta, 3)),
    uid: text(first(meta, 5)),
    created: time && !Number.isNaN(time.getTime()) ? time.toISOString() : '',
    labels: pairs(meta, 11),
    annotations: pairs(meta, 12),
    outline: raw instanceof Uint8Array ? outline(raw, 0) : '',
  }
}

const depthMax = 12
const printable = /^[^\p{Cc}\p{Cf}\p{Co}\p{Cs}]*$/u

/** A message as lines "NUMBER: VALUE". Bytes that are a readable text are shown as one; others that
 * are a message are shown as one, indented. */
function outline(b: Uint8Array, depth: number): string {
  const pad = '  '.repeat(depth)
  return (fields(b) ?? [])
    .map(({ number, value }) => {
      if (typeof value === 'bigint') return `${pad}${number}: ${value}\n`
      const bytes = fromArray(value)
      const readable = toText(bytes)
      if (readable !== null && printable.test(readable)) return `${pad}${number}: ${JSON.stringify(readable)}\n`
      if (depth < depthMax && fields(value)?.length) return `${pad}${number} {\n${outline(value, depth + 1)}${pad}}\n`
      return `${pad}${number}: ${preview(bytes, 2000)}\n`
    })
    .join('')
}
