// What a list of keys shows: the tree below a prefix, or what a search has found, now or as of a
// past revision. The screens Keys and History have one each.

import { computed, signal } from '@preact/signals'
import { type KeyInfo, search, tree } from '../../api/keys.ts'
import { type Bytes, parse } from '../../lib/bytes.ts'
import { remember, remembered } from '../../lib/lang.ts'
import { type Branch, type Row, Tree } from '../../lib/tree.ts'

const pageSize = 1000 // the most that the server sends at a time
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
  readonly revision = signal(0)
  readonly prefix = signal<Bytes>('')
  readonly query = signal('')
  readonly where = signal<'key' | 'value'>('key')
  /** The row with the cursor. */
  readonly cursor = signal(0)
  readonly selected = signal<ReadonlySet<Bytes>>(new Set())
  /** The key whose value is shown. */
  readonly open = signal<Bytes | null>(null)
  readonly found = signal<Found | null>(null)
  tree!: Tree
  /** Changes with each change of the tree. */
  readonly changes = signal(0)
  #stop: AbortController | null = null

  readonly length = computed(() => {
    void this.changes.value
    const found = this.found.value
    return found ? found.items.length : this.tree.length
  })

  constructor() {
    this.reset()
  }

  /** Starts again with an empty tree of the prefix and separator chosen now. */
  reset(): void {
    const [split, revision] = [separator.peek(), this.revision.peek()]
    const mine: Tree = new Tree(
      this.prefix.peek(),
      (prefix, from) => tree({ prefix, separator: split, from, limit: pageSize, revision }),
      () => {
        if (this.tree === mine) this.changes.value++
      },
      (item) => this.selected.peek().has(item.key),
    )
    this.tree = mine
    this.changes.value++
  }

  async start(): Promise<void> {
    this.reset()
    this.cursor.value = 0
    const { tree } = this
    await tree.start()
    // The few prefixes that are usual at the top are opened at once.
    const { root } = tree
    if (root.complete && root.items.length <= openAtOnce) {
      for (let i = root.items.length - 1; i >= 0; i--) await tree.expand(root, i)
    }
    this.changes.value++
  }

  /** Loads again, with the same prefixes open and as many rows of each. */
  async refresh(): Promise<void> {
    if (this.found.peek()) return this.search(this.query.peek())
    const before = this.tree.root
    this.reset()
    const { tree } = this
    await tree.start()
    await reopen(tree, tree.root, before)
    this.changes.value++
  }

  /** The row at a position, of the search or of the tree. */
  at(position: number): Row | undefined {
    const found = this.found.peek()
    if (!found) return this.tree.at(position)
    const item = found.items[position]
    return item && { kind: 'item', item, branch: this.tree.root, index: position, depth: 0, open: false }
  }

  /** Searches for a text; an empty one shows the tree again. */
  async search(text: string): Promise<void> {
    this.#stop?.abort()
    this.query.value = text
    this.cursor.value = 0
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

/** Opens what was open in another tree, and loads as much. */
async function reopen(tree: Tree, branch: Branch, before: Branch): Promise<void> {
  if (tree.adopt(branch, before)) return
  while (branch.items.length < before.items.length && !branch.complete && !branch.error) await tree.more(branch)
  for (const [, child] of before.open) {
    const index = branch.items.findIndex((item) => item !== null && item.kind !== 'key' && item.key === child.prefix)
    if (index < 0) continue
    await tree.expand(branch, index)
    const opened = branch.open.get(index)
    if (opened) await reopen(tree, opened, child)
  }
}

/** The list of the screen Keys. */
export const browser = new Browser()
