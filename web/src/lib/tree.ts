// The tree of keys as it has been loaded so far: what is below a prefix comes page by page, and
// only the rows that are seen are ever asked for.

import type { Bytes } from './bytes.ts'
import type { Item, Page } from '../api/keys.ts'

export type Load = (prefix: Bytes, from: Bytes) => Promise<Page<Item>>

/** A prefix whose items have been loaded, in part or completely. */
export class Branch {
  readonly prefix: Bytes
  readonly depth: number
  readonly items: Item[] = []
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
  | { kind: 'more'; branch: Branch; depth: number }

export class Tree {
  root: Branch
  readonly #load: Load
  readonly #changed: () => void

  constructor(prefix: Bytes, load: Load, changed: () => void) {
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
        return { kind: 'item', item: branch.items[index], branch, index, depth: branch.depth, open: branch.open.has(index) }
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
        const page = await this.#load(branch.prefix, branch.next)
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
    this.#changed()
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
    if (item.kind === 'key' || branch.open.has(index)) return
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
