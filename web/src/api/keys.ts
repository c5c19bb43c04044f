// Keys: pages of the tree, search, single values, history, and writes by compare-and-swap.

import { type Bytes, fromBase64, prefixEnd, toBase64 } from '../lib/bytes.ts'
import { api, v3 } from './call.ts'
import { refreshSession } from './session.ts'

/** What is known of a key besides its value. */
export interface KeyInfo {
  kind: 'key'
  key: Bytes
  name: Bytes
  size: number
  version: number
  create: number
  mod: number
  lease: string
  /** The cluster's time at which the key ends, in ms of this browser's clock; 0 when it does not. */
  ends: number
}

/** A prefix that ends with the separator, or an explicit v2 directory. */
export interface DirInfo {
  kind: 'prefix' | 'dir'
  key: Bytes
  name: Bytes
  /** Keys below; -1 when they were not counted. */
  count: number
  ends: number
}

export type Item = KeyInfo | DirInfo

export interface Page<T> {
  revision: number
  items: T[]
  next: Bytes
  /** Keys below the prefix; -1 when they were not counted. */
  count: number
  /** Keys between the requested start and the first item; -1 when they were not counted. */
  skipped: number
}

interface WireItem {
  kind: 'key' | 'prefix' | 'dir'
  key: string
  name: string
  size?: number
  version?: number
  create_revision?: number
  mod_revision?: number
  lease?: string
  ttl?: number
  count?: number
}

const ends = (ttl: number | undefined): number => (ttl === undefined || ttl < 0 ? 0 : Date.now() + ttl * 1000)

function item(w: WireItem): Item {
  const key = fromBase64(w.key)
  const name = w.name === undefined ? key : fromBase64(w.name)
  if (w.kind !== 'key') return { kind: w.kind, key, name, count: w.count ?? -1, ends: ends(w.ttl) }
  return {
    kind: 'key',
    key,
    name,
    size: w.size ?? 0,
    version: w.version ?? 0,
    create: w.create_revision ?? 0,
    mod: w.mod_revision ?? 0,
    lease: w.lease ?? '0',
    ends: ends(w.ttl),
  }
}

interface WirePage {
  revision: number
  items: WireItem[] | null
  next: string
  count?: number
  skipped?: number
}

/** A page of what is directly below a prefix: from a key on, at a key behind it, or behind a number of keys. */
export async function tree(
  q: { prefix: Bytes; separator: Bytes; from?: Bytes; at?: Bytes; skip?: number; limit: number; revision?: number },
  stop?: AbortSignal,
): Promise<Page<Item>> {
  const page = await api<WirePage>(
    'tree',
    {
      prefix: toBase64(q.prefix),
      separator: toBase64(q.separator),
      from: toBase64(q.from ?? ''),
      at: toBase64(q.at ?? ''),
      skip: q.skip ?? 0,
      limit: q.limit,
      revision: q.revision ?? 0,
    },
    stop,
  )
  const items = (page.items ?? []).map(item)
  return { revision: page.revision, items, next: fromBase64(page.next), count: page.count ?? -1, skipped: page.skipped ?? 0 }
}

/** A page of the keys whose name, or value, has a text in it. */
export async function search(
  q: { prefix: Bytes; text: Bytes; in: 'key' | 'value'; ignoreCase: boolean; from?: Bytes; limit: number; revision?: number },
  stop?: AbortSignal,
): Promise<Page<KeyInfo> & { scanned: number }> {
  const page = await api<WirePage & { scanned: number }>(
    'search',
    {
      prefix: toBase64(q.prefix),
      text: toBase64(q.text),
      in: q.in,
      ignore_case: q.ignoreCase,
      limit: q.limit,
      from: toBase64(q.from ?? ''),
      revision: q.revision ?? 0,
    },
    stop,
  )
  const items = (page.items ?? []).map((w) => item({ ...w, kind: 'key' }) as KeyInfo)
  return { revision: page.revision, items, next: fromBase64(page.next), count: -1, skipped: 0, scanned: page.scanned }
}

/** A version of a key with its value. */
export interface Version {
  key: Bytes
  value: Bytes
  create: number
  mod: number
  version: number
  lease: string
}

interface WireKv {
  key: string
  value?: string
  create_revision?: string
  mod_revision?: string
  version?: string
  lease?: string
}

interface WireRange {
  kvs?: WireKv[]
  count?: string
}

const versionOf = (kv: WireKv): Version => ({
  key: fromBase64(kv.key),
  value: fromBase64(kv.value),
  create: Number(kv.create_revision ?? 0),
  mod: Number(kv.mod_revision ?? 0),
  version: Number(kv.version ?? 0),
  lease: kv.lease ?? '0',
})

/** The version of a key now, or as of a revision; null when the key does not exist. */
export async function read(key: Bytes, revision = 0, stop?: AbortSignal): Promise<Version | null> {
  const r = await v3<WireRange>('kv/range', { key: toBase64(key), revision: String(revision) }, stop)
  return r.kvs?.length ? versionOf(r.kvs[0]) : null
}

/** How many keys have a prefix. */
export async function countPrefix(prefix: Bytes): Promise<number> {
  const r = await v3<WireRange>('kv/range', { ...rangeOf(prefix), count_only: true })
  return Number(r.count ?? 0)
}

const rangeOf = (prefix: Bytes) => ({ key: toBase64(prefix === '' ? '\0' : prefix), range_end: toBase64(prefixEnd(prefix)) })

export interface Outcome {
  done: boolean
  /** Of the write when done. */
  revision: number
  /** The version that another writer left, when not done; null when there is none. */
  current: Version | null
}

interface WireTxn {
  header?: { revision?: string }
  succeeded?: boolean
  responses?: { response_range?: WireRange }[]
}

/** Shows the revision, and the number of keys, that a write has made. */
async function written<T>(write: Promise<T>): Promise<T> {
  const result = await write
  void refreshSession()
  return result
}

async function txn(key: Bytes, ifMod: number, op: object): Promise<Outcome> {
  const r = await v3<WireTxn>('kv/txn', {
    compare: [{ key: toBase64(key), target: 'MOD', result: 'EQUAL', mod_revision: String(ifMod) }],
    success: [op],
    failure: [{ request_range: { key: toBase64(key) } }],
  })
  const kvs = r.responses?.[0]?.response_range?.kvs
  return {
    done: !!r.succeeded,
    revision: Number(r.header?.revision ?? 0),
    current: !r.succeeded && kvs?.length ? versionOf(kvs[0]) : null,
  }
}

/** Writes a value if the key's mod revision is still ifMod; 0 means that the key does not exist.
 * The key keeps the lease it has, unless another is given. */
export const put = (key: Bytes, value: Bytes, ifMod: number, lease: string): Promise<Outcome> =>
  written(txn(key, ifMod, { request_put: { key: toBase64(key), value: toBase64(value), lease } }))

/** Deletes a key if its mod revision is still ifMod. */
export const deleteKey = (key: Bytes, ifMod: number): Promise<Outcome> =>
  written(txn(key, ifMod, { request_delete_range: { key: toBase64(key) } }))

/** Deletes all keys with a prefix, and returns how many there were. */
export async function deletePrefix(prefix: Bytes): Promise<number> {
  const r = await written(v3<{ deleted?: string }>('kv/deleterange', rangeOf(prefix)))
  return Number(r.deleted ?? 0)
}

/** Creates or changes a v2 node: a directory or a key with a TTL. */
export const v2Set = (q: { key: string; value?: Bytes; dir: boolean; ttl: number; prevExist: boolean | null }): Promise<unknown> =>
  written(
    api('v2/set', {
      key: toBase64(q.key),
      ...(q.value === undefined ? {} : { value: toBase64(q.value) }),
      dir: q.dir,
      ttl: q.ttl,
      prev_exist: q.prevExist,
    }),
  )

/** Deletes a v2 node. */
export const v2Delete = (key: Bytes, dir: boolean, recursive: boolean): Promise<unknown> =>
  written(api('v2/delete', { key: toBase64(key), dir, recursive }))
