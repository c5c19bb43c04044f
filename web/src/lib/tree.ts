// The rows of a tree of keys. Items are loaded page by page where rows are seen, at any place of a
// prefix, since the server finds the n-th key of a prefix. Pages far from the rows in sight are
// dropped, so that the memory does not grow with the number of keys.

import type { Item, Page } from '../api/keys.ts'
import type { Bytes } from './bytes.ts'
import { Branch, fill, type Gap, newGap, type PageOf, wholeGap } from './branch.ts'

/** Where a page starts: behind a number of keys, or at a key, from a key on. */
export interface Start {
  from: Bytes
  skip?: number
  at?: Bytes
}

export type Load = (prefix: Bytes, start: Start) => Promise<Page<Item>>

/** Items in a request. */
export const pageSize = 500
/** Items that are kept; pages far from sight are dropped when there are more. */
export const itemsMax = 10_000

/** A row of the list: an item, or one that is not loaded. */
export type Row =
  | { kind: 'item'; item: Item; branch: Branch; page: PageOf | null; index: number; depth: number; open: boolean }
  | { kind: 'more'; branch: Branch; gap: Gap; offset: number; depth: number }

interface Options {
  load: Load
  changed: () => void
  /** Called when the rows from end on have moved by a number of rows, since those from start to end
   * were replaced by others. */
  moved?: (start: number, end: number, by: number) => void
  /** Whether the page with an item must not be dropped. */
  keeps?: (item: Item) => boolean
}

export class Tree {
  readonly root: Branch
  /** The rows in sight: pages far from them are dropped. */
  view = { first: 0, last: 0 }
  readonly #o: Options

  constructor(prefix: Bytes, options: Options) {
    this.root = new Branch(prefix, null)
    this.root.replace(0, 0, [wholeGap()])
    this.#o = options
  }

  get length(): number {
    return this.root.rows
  }

  /** The row at a position of the list. */
  at(position: number): Row | undefined {
    return position < 0 || position >= this.length ? undefined : rowOf(this.root, position)
  }

  /** The rows from first to last that are not loaded: one of each gap. */
  missing(first: number, last: number): Row[] {
    const rows: Row[] = []
    for (let i = Math.max(0, first); i <= Math.min(last, this.length - 1); ) {
      const row = this.at(i)!
      if (row.kind === 'more') rows.push(row)
      // The next row that can be in another gap.
      i += row.kind === 'more' ? row.gap.rows - row.offset : 1
    }
    return rows
  }

  /** The loaded items, in the order of their rows. */
  *items(branch: Branch = this.root): Generator<Row & { kind: 'item' }> {
    for (const page of branch.segments) {
      if (page.kind === 'gap') continue
      for (const [index, item] of page.items.entries()) {
        const child = page.open.find((o) => o.index === index)?.child
        yield { kind: 'item', item, branch, page, index, depth: branch.depth, open: !!child }
        if (child) yield* this.items(child)
      }
    }
  }

  /** The position of an item of a page, or of the first row of a gap, in the list. */
  positionOf(branch: Branch, segment: PageOf | Gap, index = 0): number {
    let position = branch.parent ? this.#positionOfBranch(branch) : 0
    for (const s of branch.segments) {
      if (s === segment) break
      position += s.rows
    }
    if (segment.kind === 'gap') return position + index
    for (const o of segment.open) if (o.index < index) position += o.child.rows
    return position + index
  }

  /** The position of the first row of a branch that is open. */
  #positionOfBranch(branch: Branch): number {
    const { branch: above, page } = branch.parent!
    const at = page.open.find((o) => o.child === branch)?.index ?? 0
    return this.positionOf(above, page, at) + 1
  }

  /** The position of the row of the prefix that a branch is below; -1 for the root. */
  parentPosition(branch: Branch): number {
    return branch.parent ? this.#positionOfBranch(branch) - 1 : -1
  }

  /** Loads the page with a row that is not loaded. */
  async loadRow(row: Row): Promise<void> {
    if (row.kind === 'item') return
    const { branch, gap } = row
    const first = gap.keys < 0 ? 0 : row.offset - (row.offset % pageSize)
    await this.#load(branch, gap, first === 0 ? {} : { skip: Math.floor((gap.keys * first) / gap.rows) }, first)
  }

  /** Loads rows until all from first to last are there, or cannot be loaded. */
  async loadRows(first: number, last: number): Promise<void> {
    for (;;) {
      const rows = this.missing(first, last).filter((r) => r.kind === 'more' && !r.gap.error)
      if (rows.length === 0) return
      await this.loadRow(rows[0])
    }
  }

  /** Loads the page with a key of a branch, and returns its row, or that of the next key. */
  async reveal(branch: Branch, key: Bytes): Promise<(Row & { kind: 'item' }) | undefined> {
    const holds = (s: { from: Bytes; to: Bytes }) => s.from <= key && (s.to === '' || key < s.to)
    let gap = branch.segments.find(holds)
    if (gap?.kind === 'gap' && gap.loading) {
      await gap.loading // of another page, perhaps
      gap = branch.segments.find(holds)
    }
    if (gap?.kind === 'gap') await this.#load(branch, gap, { at: key }, -1)
    for (const page of branch.segments) {
      if (page.kind === 'gap') continue
      const index = page.items.findIndex((item) => item.key >= key)
      if (index < 0) continue
      return { kind: 'item', item: page.items[index], branch, page, index, depth: branch.depth, open: page.open.some((o) => o.index === index) }
    }
    return undefined
  }

  /** Loads a page of a gap, or waits for the page that is being loaded. before is the number of rows of the gap in front of the page; -1 stands
   * for the number that the skipped keys probably have. */
  #load(branch: Branch, gap: Gap, start: { skip?: number; at?: Bytes }, before: number): Promise<void> {
    return (gap.loading ??= this.#loadPage(branch, gap, start, before))
  }

  async #loadPage(branch: Branch, gap: Gap, start: { skip?: number; at?: Bytes }, before: number): Promise<void> {
    gap.error = null
    try {
      const { from } = gap
      let page = await this.#o.load(branch.prefix, { from, ...start })
      const { skipped } = page
      if (!branch.started && from === '' && page.count >= 0) gap.keys = page.count
      // The server bounds the work of a page: one without items says only where to go on.
      let cursor = from
      while (page.items.length === 0 && page.next !== '' && (gap.to === '' || page.next < gap.to)) {
        cursor = page.next
        page = await this.#o.load(branch.prefix, { from: cursor })
      }
      if (this.#has(branch)) this.#put(branch, gap, page, cursor, skipped, before)
    } catch (e) {
      gap.error = e
    }
    gap.loading = null
    this.#drop()
    this.#o.changed()
  }

  /** Whether a branch is the root, or open below it. */
  #has(branch: Branch): boolean {
    return branch === this.root || (branch.parent !== null && this.#has(branch.parent.branch))
  }

  /** Puts a page that was loaded in the place of its gap. */
  #put(branch: Branch, gap: Gap, page: Page<Item>, cursor: Bytes, skipped: number, before: number): void {
    branch.started = true
    const at = branch.segments.indexOf(gap)
    const start = this.positionOf(branch, gap)
    const rows = branch.rows
    if (skipped === 0) before = 0
    else if (before < 0) before = gap.keys > 0 && skipped > 0 ? Math.round((skipped * gap.rows) / gap.keys) || 1 : Math.max(1, gap.rows - page.items.length)
    if (before > 0 && page.items.length === 0) {
      // The gap has fewer keys than it had when they were counted.
      branch.replace(at, 1, [newGap(gap.from, gap.to, skipped, Math.min(gap.rows, before))])
    } else {
      const from = before > 0 ? page.items[0].key : cursor
      branch.replace(at, 1, fill(gap, from, page.items, page.next, before, skipped))
    }
    if (branch.rows !== rows) this.#o.moved?.(start, start + gap.rows, branch.rows - rows)
  }

  /** Drops pages while more items than itemsMax are kept, those farthest from sight first. */
  #drop(): void {
    const pages: { branch: Branch; page: PageOf; distance: number }[] = []
    let kept = 0
    const visit = (branch: Branch, position: number) => {
      for (const s of branch.segments) {
        if (s.kind === 'page') {
          kept += s.items.length
          let below = 0
          for (const { index, child } of s.open) {
            visit(child, position + index + 1 + below)
            below += child.rows
          }
          if (s.open.length === 0) pages.push({ branch, page: s, distance: Math.max(position - this.view.last, this.view.first - position - s.rows) })
        }
        position += s.rows
      }
    }
    visit(this.root, 0)
    pages.sort((a, b) => b.distance - a.distance)
    for (const { branch, page, distance } of pages) {
      if (kept <= itemsMax || distance <= pageSize) return
      if (this.#o.keeps && page.items.some(this.#o.keeps)) continue
      kept -= page.items.length
      branch.drop(page)
    }
  }

  /** Opens a prefix, and loads its first page. */
  async expand(row: Row): Promise<void> {
    if (row.kind !== 'item' || row.item.kind === 'key' || !row.page || row.open) return
    if (!row.branch.segments.includes(row.page)) return // it was dropped meanwhile
    const child = new Branch(row.item.key, { branch: row.branch, page: row.page })
    row.page.open.push({ index: row.index, child })
    row.page.open.sort((a, b) => a.index - b.index)
    child.replace(0, 0, [wholeGap()])
    this.#o.changed()
    await this.#load(child, child.segments[0] as Gap, {}, 0)
  }

  collapse(row: Row): void {
    if (row.kind !== 'item' || !row.page) return
    const at = row.page.open.findIndex((o) => o.index === row.index)
    if (at < 0) return
    const [{ child }] = row.page.open.splice(at, 1)
    child.parent = null
    row.page.rows -= child.rows
    row.branch.grow(-child.rows)
    this.#o.changed()
  }

  /** Loads the first page of the root. */
  async start(): Promise<void> {
    if (this.root.started) return
    await this.loadRows(0, 0)
  }
}

/** The row at a position of a branch, which has as many rows. */
function rowOf(branch: Branch, position: number): Row | undefined {
  for (const s of branch.segments) {
    if (position >= s.rows) {
      position -= s.rows
      continue
    }
    if (s.kind === 'gap') return { kind: 'more', branch, gap: s, offset: position, depth: branch.depth }
    for (const { index, child } of s.open) {
      if (position <= index) break
      position -= index + 1 // now a position below the open prefix
      if (position < child.rows) return rowOf(child, position)
      position += index + 1 - child.rows
    }
    return { kind: 'item', item: s.items[position], branch, page: s, index: position, depth: branch.depth, open: s.open.some((o) => o.index === position) }
  }
  return undefined
}
