// The tree of keys as it has been loaded so far: what is below a prefix comes page by page, and
// only the rows that are seen are ever asked for. Pages far from the rows in sight are dropped, and
// loaded again when they are seen, so that the memory does not grow with the number of keys.

import type { Bytes } from './bytes.ts'
import type { Item, Page } from '../api/keys.ts'

export type Load = (prefix: Bytes, from: Bytes) => Promise<Page<Item>>

/** Pages of a branch that are kept; others are dropped. */
const pagesMax = 60

/** The items of a branch that came in one response. */
interface Piece {
  /** The cursor with which it was loaded. */
  from: Bytes
  first: number
  count: number
  dropped: boolean
  loading: boolean
}

/** A prefix whose items have been loaded, in part or completely. */
export class Branch {
  readonly prefix: Bytes
  readonly depth: number
  /** null for an item that was dropped. */
  items: (Item | null)[] = []
  pieces: Piece[] = []
  /** Open prefixes below, by the index of their item; sorted when read. */
  readonly open = new Map<number, Branch>()
  next: Bytes = ''
  started = false
  loading = false
  complete = false
  error: unknown = null
  /** Rows of this branch and of all open ones below. */
  rows = 0
  readonly parent: Branch | null

  constructor(prefix: Bytes, parent: Branch | null) {
    this.prefix = prefix
    this.parent = parent
    this.depth = parent ? parent.depth + 1 : 0
  }
}

/** A row of the list: an item, or the end of what has been loaded of a branch. */
export type Row =
  | { kind: 'item'; item: Item; branch: Branch; index: number; depth: number; open: boolean }
  | { kind: 'more'; branch: Branch; depth: number; index?: number } // with an index: an item that was dropped

export class Tree {
  root: Branch
  readonly #load: Load
  readonly #changed: () => void
  /** Whether the page with an item must not be dropped. */
  readonly #keeps: (item: Item) => boolean

  constructor(prefix: Bytes, load: Load, changed: () => void, keeps: (item: Item) => boolean = () => false) {
    this.#keeps = keeps
    this.root = new Branch(prefix, null)
    this.#load = load
    this.#changed = changed
  }

  get length(): number {
    return this.root.rows
  }

  /** The row at a position of the list. */
  at(position: number): Row | undefined {
    let branch = this.root
    let rest = position
    search: for (;;) {
      let before = 0 // items of this branch that have been passed
      for (const [index, child] of sorted(branch.open)) {
        if (rest <= index - before) break
        rest -= index - before + 1
        if (rest < child.rows) {
          branch = child
          continue search
        }
        rest -= child.rows
        before = index + 1
      }
      const index = before + rest
      if (index < branch.items.length) {
        const item = branch.items[index]
        if (!item) return { kind: 'more', branch, depth: branch.depth, index }
        return { kind: 'item', item, branch, index, depth: branch.depth, open: branch.open.has(index) }
      }
      return index === branch.items.length && !branch.complete ? { kind: 'more', branch, depth: branch.depth } : undefined
    }
  }

  /** The position of an item of a branch in the list. */
  positionOf(branch: Branch, index: number): number {
    let position = index
    for (const [i, child] of branch.open) if (i < index) position += child.rows
    if (!branch.parent) return position
    const [at] = [...branch.parent.open].find(([, b]) => b === branch) ?? [0]
    return this.positionOf(branch.parent, at) + 1 + position
  }

  /** Loads the next page of a branch. */
  async more(branch: Branch): Promise<void> {
    if (branch.loading || branch.complete) return
    branch.loading = true
    branch.error = null
    const before = this.#rowsOf(branch)
    try {
      // The server bounds the work of a page: one without items says only where to go on.
      for (let found = 0; found === 0 && !branch.complete; ) {
        const from = branch.next
        const page = await this.#load(branch.prefix, from)
        if (page.items.length > 0) {
          branch.pieces.push({ from, first: branch.items.length, count: page.items.length, dropped: false, loading: false })
        }
        for (const item of page.items) branch.items.push(item)
        found = page.items.length
        branch.next = page.next
        branch.complete = page.next === ''
      }
    } catch (e) {
      branch.error = e
    }
    branch.started = true
    branch.loading = false
    this.#grow(branch, this.#rowsOf(branch) - before)
    this.#drop(branch, branch.items.length - 1)
    this.#changed()
  }

  /** Loads what a row without an item stands for. */
  loadRow(row: Row): Promise<void> {
    if (row.kind === 'item') return Promise.resolve()
    return row.index === undefined ? this.more(row.branch) : this.#restore(row.branch, row.index)
  }

  /** Loads a dropped page again. It may have other items than before. */
  async #restore(branch: Branch, index: number): Promise<void> {
    const at = branch.pieces.findIndex((p) => index < p.first + p.count)
    const piece = branch.pieces[at]
    if (!piece?.dropped || piece.loading) return
    piece.loading = true
    branch.error = null
    const end = branch.pieces[at + 1]?.from ?? branch.next // '' for none
    const items: Item[] = []
    try {
      let from = piece.from
      do {
        const page = await this.#load(branch.prefix, from)
        for (const item of page.items) if (end === '' || item.key < end) items.push(item)
        from = page.next
      } while (from !== '' && (end === '' || from < end))
      piece.dropped = false
      this.#put(branch, piece, items)
      this.#drop(branch, piece.first)
    } catch (e) {
      branch.error = e
    }
    piece.loading = false
    this.#changed()
  }

  /** Puts items in the place of a piece's, and moves what is behind. */
  #put(branch: Branch, piece: Piece, items: Item[]): void {
    const [first, by] = [piece.first, items.length - piece.count]
    if (by === 0) {
      items.forEach((item, i) => (branch.items[first + i] = item))
      return
    }
    branch.items = [...branch.items.slice(0, first), ...items, ...branch.items.slice(first + piece.count)]
    piece.count = items.length
    for (const p of branch.pieces) if (p !== piece && p.first > first) p.first += by
    const open = [...branch.open]
    branch.open.clear()
    for (const [index, child] of open) branch.open.set(index < first ? index : index + by, child)
    this.#grow(branch, by)
  }

  /** Drops the pages of a branch that are far from an index, if there are many. */
  #drop(branch: Branch, index: number): void {
    const here = branch.pieces.findIndex((p) => index < p.first + p.count)
    if (branch.pieces.length <= pagesMax) return
    branch.pieces.forEach((p, i) => {
      if (p.dropped || Math.abs(i - here) < pagesMax / 2) return
      for (let j = p.first; j < p.first + p.count; j++) if (branch.open.has(j) || this.#keeps(branch.items[j]!)) return
      branch.items.fill(null, p.first, p.first + p.count)
      p.dropped = true
    })
  }

  /** Takes the pages of a branch without open prefixes over from an older tree, to load again those
   * that are seen. Returns whether there are so many that this is worth it. */
  adopt(branch: Branch, before: Branch): boolean {
    if (before.open.size > 0 || before.pieces.length < 3) return false
    const rows = this.#rowsOf(branch)
    branch.items = new Array<null>(before.items.length).fill(null)
    branch.pieces = before.pieces.map((p) => ({ ...p, dropped: true, loading: false }))
    branch.next = before.next
    branch.complete = before.complete
    this.#grow(branch, this.#rowsOf(branch) - rows)
    this.#changed()
    return true
  }

  #rowsOf(branch: Branch): number {
    return branch.items.length + (branch.complete ? 0 : 1)
  }

  /** Changes the number of rows of a branch and of those above it. */
  #grow(branch: Branch | null, by: number): void {
    for (; branch; branch = branch.parent) branch.rows += by
  }

  /** Opens the prefix at an index of a branch, and loads its first page. */
  async expand(branch: Branch, index: number): Promise<void> {
    const item = branch.items[index]
    if (!item || item.kind === 'key' || branch.open.has(index)) return
    const child = new Branch(item.key, branch)
    child.rows = 0
    branch.open.set(index, child)
    this.#grow(child, 1)
    this.#changed()
    await this.more(child)
  }

  collapse(branch: Branch, index: number): void {
    const child = branch.open.get(index)
    if (!child) return
    branch.open.delete(index)
    this.#grow(branch, -child.rows)
    this.#changed()
  }

  /** Loads the first page of the root. */
  async start(): Promise<void> {
    if (this.root.started || this.root.loading) return
    this.root.rows = 1
    await this.more(this.root)
  }
}

const sorted = (open: Map<number, Branch>): [number, Branch][] =>
  open.size < 2 ? [...open] : [...open].sort((a, b) => a[0] - b[0])
