// What a list of keys shows: the tree below a prefix, or what a search has found, now or as of a
// past revision. The screens Keys and History have one each.

import { computed, signal, type Signal } from '@preact/signals'
import { type KeyInfo, search, tree } from '../../api/keys.ts'
import { type Bytes, parse } from '../../lib/bytes.ts'
import type { Branch } from '../../lib/branch.ts'
import { remember, remembered } from '../../lib/lang.ts'
import { pageSize, type Row, Tree } from '../../lib/tree.ts'
import { leave } from '../../lib/unsaved.ts'

const searchSize = 200
const openAtOnce = 3

export const separator = signal<Bytes>(parse(remembered('separator') ?? '/'))

export function chooseSeparator(text: string): void {
  remember('separator', text)
  separator.value = parse(text)
}

export interface Found {
  items: KeyInfo[]
  scanned: number
  next: Bytes
  revision: number
  loading: boolean
  error: unknown
}

export class Browser {
  /** As of which revision; 0 is now. */
  readonly revision: Signal<number>
  readonly prefix = signal<Bytes>('')
  readonly query = signal('')
  readonly where = signal<'key' | 'value'>('key')
  /** The row with the cursor. */
  readonly cursor = signal(0)
  /** Changes when the row with the cursor must be scrolled into sight. */
  readonly reveals = signal(0)
  /** Rows that were added above those in sight since the page was opened, less those removed. */
  readonly shift = signal(0)
  readonly selected = signal<ReadonlySet<Bytes>>(new Set())
  /** The key whose value is shown; show changes it. */
  readonly open = signal<Bytes | null>(null)
  readonly found = signal<Found | null>(null)
  tree: Tree
  /** Changes with each change of the tree. */
  readonly changes = signal(0)
  #stop: AbortController | null = null
  /** Counts the loads of the tree: an older one that ends late does not replace a newer one. */
  #turn = 0
  /** Counts the prefixes that were opened and closed: a load that does not have them is repeated. */
  #toggles = 0
  /** The first load of the tree; null before. */
  #started: Promise<void> | null = null

  readonly length = computed(() => {
    void this.changes.value
    const found = this.found.value
    return found ? found.items.length : this.tree.length
  })

  constructor(revision = 0) {
    this.revision = signal(revision)
    this.tree = this.#newTree()
  }

  /** Starts again with an empty tree of the prefix and separator chosen now. */
  reset(): void {
    this.#turn++
    this.tree = this.#newTree()
    this.changes.value++
  }

  #newTree(): Tree {
    const [split, revision] = [separator.peek(), this.revision.peek()]
    const mine: Tree = new Tree(this.prefix.peek(), {
      load: (prefix, start) => tree({ prefix, separator: split, ...start, limit: pageSize, revision }),
      changed: () => {
        if (this.tree === mine) this.changes.value++
      },
      moved: (start, end, by) => {
        if (this.tree === mine) this.#moved(start, end, by)
      },
      keeps: (item) => this.selected.peek().has(item.key),
    })
    return mine
  }

  /** The rows from end on have moved: those in sight stay where they are seen, and the cursor stays
   * at its item. */
  #moved(start: number, end: number, by: number): void {
    const { first, last } = this.tree.view
    if (start < first && end <= last) this.shift.value += by
    if (end <= this.cursor.peek()) this.cursor.value += by
  }

  /** Moves the cursor to a row, and scrolls that into sight. */
  moveTo(position: number): void {
    this.cursor.value = Math.max(0, Math.min(this.length.peek() - 1, position))
    this.reveals.value++
  }

  /** Shows the value of a key, or of none; asks first when an edit was not saved. */
  show(key: Bytes | null): void {
    if (key !== this.open.peek()) leave(() => (this.open.value = key))
  }

  /** Opens or closes the prefix of a row. */
  toggle(row: Row & { kind: 'item' }): void {
    this.#toggles++
    if (row.open) this.tree.collapse(row)
    else void this.tree.expand(row)
  }

  /** Loads the tree if it has never been loaded, or could not be. */
  begin(): void {
    const { started, segments } = this.tree.root
    const failed = !started && segments.some((s) => s.kind === 'gap' && s.error)
    if (this.#started === null || failed) void this.start()
  }

  start(): Promise<void> {
    this.reset()
    this.moveTo(0)
    return (this.#started = this.#open(this.tree))
  }

  async #open(tree: Tree): Promise<void> {
    await tree.start()
    // The few prefixes that are usual at the top are opened at once.
    if (tree.root.complete && tree.length <= openAtOnce) {
      for (const row of [...tree.items()].reverse()) await tree.expand(row)
    }
  }

  /** Loads again what is shown: with the same prefixes open and the same rows in sight. The rows
   * stay until the new ones are there. */
  async refresh(): Promise<void> {
    if (this.found.peek()) return this.search(this.query.peek())
    const turn = ++this.#turn
    await this.#started
    const [before, next, toggles] = [this.tree, this.#newTree(), this.#toggles]
    await next.start()
    await reopen(next, next.root, before.root)
    for (;;) {
      const [{ first, last }, at, selected] = [before.view, this.cursor.peek(), this.selected.peek()]
      for (const row of before.items()) if (selected.has(row.item.key)) await same(next, row)
      const top = await same(next, before.at(first))
      const by = top === null ? 0 : top - first
      const cursor = await same(next, before.at(at))
      await next.loadRows(first + by, last + by)
      if (turn !== this.#turn) return
      if (toggles !== this.#toggles) return this.refresh()
      // The user may have scrolled, moved the cursor or selected rows while these were loaded.
      const { view } = before
      if (view.first !== first || view.last !== last || this.cursor.peek() !== at || this.selected.peek() !== selected) continue
      next.view = { first: first + by, last: last + by }
      this.tree = next
      if (selected.size > 0) this.selected.value = new Set([...next.items()].map((row) => row.item.key).filter((key) => selected.has(key)))
      if (!this.found.peek()) {
        this.shift.value += by
        this.cursor.value = Math.max(0, Math.min(next.length - 1, cursor ?? at))
      }
      this.changes.value++
      return
    }
  }

  /** Loads the rows in sight, and those near them. */
  see(first: number, last: number): void {
    if (this.found.peek() || this.#started === null) return
    this.tree.view = { first, last }
    const near = Math.ceil((last - first) / 2)
    for (const row of this.tree.missing(first - near, last + near)) {
      if (row.kind === 'more' && !row.gap.error) void this.tree.loadRow(row)
    }
  }

  /** The row at a position, of the search or of the tree. */
  at(position: number): Row | undefined {
    const found = this.found.peek()
    if (!found) return this.tree.at(position)
    const item = found.items[position]
    return item && { kind: 'item', item, branch: this.tree.root, page: null, index: position, depth: 0, open: false }
  }

  /** Searches for a text; an empty one shows the tree again. */
  async search(text: string): Promise<void> {
    this.#stop?.abort()
    this.query.value = text
    this.moveTo(0)
    this.found.value = text === '' ? null : { items: [], scanned: 0, next: '', revision: 0, loading: false, error: null }
    if (text !== '') await this.further()
  }

  /** Looks at more keys for the search, until enough more have been found. */
  async further(): Promise<void> {
    let so = this.found.peek()
    if (!so || so.loading) return
    const stop = new AbortController()
    this.#stop = stop
    const enough = so.items.length + searchSize
    try {
      // The server bounds the work of a page: one may have few keys, or none, and more to look at.
      do {
        this.found.value = { ...so, loading: true, error: null }
        so = await this.#searchPage(so, stop.signal)
        if (stop.signal.aborted) return
      } while (so.next !== '' && so.items.length < enough)
      this.found.value = so
    } catch (error) {
      if (!stop.signal.aborted) this.found.value = { ...so, loading: false, error }
    }
  }

  async #searchPage(before: Found, stop: AbortSignal): Promise<Found> {
    const page = await search(
      {
        prefix: this.prefix.peek(),
        text: parse(this.query.peek()),
        in: this.where.peek(),
        ignoreCase: true,
        from: before.next,
        limit: searchSize,
        revision: before.revision || this.revision.peek(),
      },
      stop,
    )
    return {
      items: [...before.items, ...page.items],
      scanned: before.scanned + page.scanned,
      next: page.next,
      revision: page.revision,
      loading: false,
      error: null,
    }
  }

  select(key: Bytes): void {
    const next = new Set(this.selected.peek())
    if (!next.delete(key)) next.add(key)
    this.selected.value = next
  }

  clear(): void {
    this.selected.value = new Set()
  }
}

/** Opens in a branch what was open in one of another tree. */
async function reopen(tree: Tree, branch: Branch, before: Branch): Promise<void> {
  for (const page of before.segments) {
    if (page.kind === 'gap') continue
    for (const { child } of page.open) {
      const row = await tree.reveal(branch, child.prefix)
      if (row?.item.kind === 'key' || row?.item.key !== child.prefix) continue
      await tree.expand(row)
      const opened = row.page?.open.find((o) => o.index === row.index)?.child
      if (opened) await reopen(tree, opened, child)
    }
  }
}

/** The position of a row of another tree in a tree: that of its key, or of the next key; null for none. */
async function same(tree: Tree, row: Row | undefined): Promise<number | null> {
  if (row?.kind !== 'item') return null
  const branch = row.branch.prefix === tree.root.prefix ? tree.root : openBranch(tree.root, row.branch.prefix)
  const found = branch && (await tree.reveal(branch, row.item.key))
  return found?.page ? tree.positionOf(found.branch, found.page, found.index) : null
}

/** The open branch of a prefix. */
function openBranch(branch: Branch, prefix: Bytes): Branch | null {
  for (const page of branch.segments) {
    if (page.kind === 'gap') continue
    for (const { child } of page.open) {
      if (child.prefix === prefix) return child
      const below = prefix.startsWith(child.prefix) ? openBranch(child, prefix) : null
      if (below) return below
    }
  }
  return null
}

/** The list of the screen Keys. */
export const browser = new Browser()
