// The revisions of a key that are kept.

import { type Bytes, fromBase64, toBase64 } from '../lib/bytes.ts'
import { api } from './call.ts'

export interface Change {
  /** Unique among the changes of the key. */
  id: string
  type: 'put' | 'delete'
  mod: number
  version: number
  lease: string
  size: number
  /** null for a delete; undefined when it has to be read by itself. */
  value: Bytes | null | undefined
  action: string
  expired: boolean
  after: string
  before: string
}

interface WireChange {
  type: 'put' | 'delete'
  mod_revision: number
  sub?: number
  version?: number
  lease?: string
  action?: string
  size?: number
  value?: string
  time_after?: string
  time_before?: string
  expired?: boolean
}

export interface Changes {
  compacted: number
  changes: Change[]
  more: boolean
}

/** A page of a key's revisions, newest first; before is 0 or the oldest one that is known. */
export async function history(key: Bytes, before: number, stop?: AbortSignal): Promise<Changes> {
  const r = await api<{ compact_revision?: number; revisions: WireChange[] | null; more?: boolean }>(
    'history',
    { key: toBase64(key), before, limit: 50, values: true },
    stop,
  )
  return {
    compacted: r.compact_revision ?? 0,
    more: r.more ?? false,
    changes: (r.revisions ?? []).map((w) => ({
      id: `${w.mod_revision}.${w.sub ?? 0}`,
      type: w.type,
      mod: w.mod_revision,
      version: w.version ?? 0,
      lease: w.lease ?? '0',
      size: w.size ?? 0,
      value: w.type === 'delete' ? null : w.value !== undefined ? fromBase64(w.value) : w.size ? undefined : '',
      action: w.action ?? '',
      expired: w.expired ?? false,
      after: w.time_after ?? '',
      before: w.time_before ?? '',
    })),
  }
}

/** What is known of the times at which revisions were made, oldest first. */
export async function times(): Promise<{ revision: number; time: Date }[]> {
  const r = await api<{ samples: { revision: number; time: string }[] | null }>('times')
  return (r.samples ?? []).map((s) => ({ revision: s.revision, time: new Date(s.time) }))
}
