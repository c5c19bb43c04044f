// The items of one prefix of the tree, as far as they are loaded: pages of items, and gaps between
// them. A gap knows its keys where the server has counted them, and stands for as many rows as it
// probably has, so that a list has its full height before it is loaded.

import type { Item } from '../api/keys.ts'
import type { Bytes } from './bytes.ts'

/** Items that are loaded. Segments have the keys from `from` up to `to`; '' is no bound. */
export interface PageOf {
  kind: 'page'
  from: Bytes
  to: Bytes
  items: Item[]
  /** Keys of all items; -1 when one was not counted. */
  keys: number
  /** The items, and the rows of the open branches. */
  rows: number
  /** The open prefixes, in the order of their items. */
  open: { index: number; child: Branch }[]
}

/** Items that are not loaded, or were dropped. */
export interface Gap {
  kind: 'gap'
  from: Bytes
  to: Bytes
  /** -1 when they were not counted. */
  keys: number
  rows: number
  /** Ends when the page that is being loaded is there, or cannot be loaded; null when none is. */
  loading: Promise<void> | null
  error: unknown
}

export type Segment = PageOf | Gap

/** A prefix whose items have been loaded, in part or completely. */
export class Branch {
  readonly prefix: Bytes
  readonly depth: number
  /** The page that has the prefix as an item; null for the root and for a branch that was closed. */
  parent: { branch: Branch; page: PageOf } | null
  segments: Segment[] = []
  /** Rows of this branch and of all open ones below. */
  rows = 0
  started = false

  constructor(prefix: Bytes, parent: { branch: Branch; page: PageOf } | null) {
    this.prefix = prefix
    this.parent = parent
    this.depth = parent ? parent.branch.depth + 1 : 0
  }

  /** Whether all items are loaded. */
  get complete(): boolean {
    return this.started && this.segments.every((s) => s.kind === 'page')
  }

  /** Puts segments in the place of some others. */
  replace(first: number, count: number, by: Segment[]): void {
    const rows = (list: Segment[]) => list.reduce((sum, s) => sum + s.rows, 0)
    const removed = this.segments.splice(first, count, ...by)
    this.grow(rows(by) - rows(removed))
  }

  /** Changes the number of rows of the branch and of those that it is part of. */
  grow(by: number): void {
    this.rows += by
    if (!this.parent) return
    this.parent.page.rows += by
    this.parent.branch.grow(by)
  }

  /** Puts a gap in the place of a page, and merges it with the gaps beside it. */
  drop(page: PageOf): void {
    const at = this.segments.indexOf(page)
    let [first, last] = [at, at]
    let gap: Gap = newGap(page.from, page.to, page.keys, page.items.length)
    const before = this.segments[at - 1]
    if (before && mergeable(before) && gap.keys >= 0) {
      gap = newGap(before.from, gap.to, before.keys + gap.keys, before.rows + gap.rows)
      first--
    }
    const after = this.segments[at + 1]
    if (after && mergeable(after) && gap.keys >= 0) {
      gap = newGap(gap.from, after.to, gap.keys + after.keys, gap.rows + after.rows)
      last++
    }
    this.replace(first, last - first + 1, [gap])
  }
}

const mergeable = (s: Segment): s is Gap => s.kind === 'gap' && !s.loading && s.keys >= 0

export const newGap = (from: Bytes, to: Bytes, keys: number, rows: number): Gap => ({ kind: 'gap', from, to, keys, rows, loading: null, error: null })

/** The gap of a branch of which nothing is loaded. */
export const wholeGap = (): Gap => newGap('', '', -1, 1)

/** What takes the place of a gap when items of it have been loaded.
 * before: rows of the gap in front of the items; skipped: its keys.
 * next: where the keys behind the items begin, '' at the end of the prefix. */
export function fill(gap: Gap, from: Bytes, items: Item[], next: Bytes, before: number, skipped: number): Segment[] {
  const inside = gap.to === '' ? items : items.filter((item) => item.key < gap.to)
  const to = gap.to !== '' && (next === '' || next > gap.to) ? gap.to : next
  const counts = inside.map((item) => (item.kind === 'key' ? 1 : item.count))
  const keys = counts.some((n) => n < 0) ? -1 : counts.reduce((sum, n) => sum + n, 0)
  const segments: Segment[] = []
  if (before > 0) segments.push(newGap(gap.from, from, skipped, before))
  if (inside.length > 0) segments.push({ kind: 'page', from, to, items: inside, keys, rows: inside.length, open: [] })
  if (to !== gap.to) segments.push(rest(gap, to, inside.length, keys, before, skipped))
  return segments
}

/** The gap behind items: it has as many rows for its keys as the items have. */
function rest(gap: Gap, from: Bytes, items: number, keys: number, before: number, skipped: number): Gap {
  if (gap.keys < 0 || keys < 0 || skipped < 0) return newGap(from, gap.to, -1, Math.max(1, gap.rows - before - items))
  const left = Math.max(1, gap.keys - skipped - keys)
  return newGap(from, gap.to, left, keys > 0 ? Math.ceil((left * items) / keys) : left)
}
