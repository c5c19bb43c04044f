import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Item } from '../src/api/keys.ts'
import { itemsMax, pageSize, type Start, Tree } from '../src/lib/tree.ts'
import { heightMax, Scroll, type Scroller } from '../src/lib/scroll.ts'

/** A store whose pages are those of the server: the children of a prefix, with counts. */
class Store {
  keys: string[]
  loads = 0
  constructor(keys: string[]) {
    this.keys = [...keys].sort()
  }

  load = (limit: number, counted = true) => async (prefix: string, { from, skip = 0, at = '' }: Start) => {
    this.loads++
    const below = this.keys.filter((k) => k.startsWith(prefix))
    const behind = below.filter((k) => k >= from)
    const childOf = (key: string) => {
      const end = key.indexOf('/', prefix.length)
      return end < 0 ? key : key.slice(0, end + 1)
    }
    const start = skip > 0 ? (behind[skip] === undefined ? '\xff' : childOf(behind[skip])) : at ? childOf(at) : from
    const children = [...new Set(behind.filter((k) => k >= start).map(childOf))]
    const items = children.slice(0, limit).map((key): Item => {
      const name = key.slice(prefix.length)
      const count = below.filter((k) => k.startsWith(key)).length
      return key.endsWith('/')
        ? { kind: 'prefix', key, name, count, ends: 0 }
        : { kind: 'key', key, name, size: 0, version: 1, create: 1, mod: 1, lease: '0', ends: 0, ttlOf: '' }
    })
    const skipped = behind.filter((k) => k < start).length
    return { revision: 1, items, next: children[limit] ?? '', count: counted && from === '' ? below.length : -1, skipped: counted ? skipped : start > from ? -1 : 0 }
  }
}

const flat = (n: number) => Array.from({ length: n }, (_, i) => 'k' + String(i).padStart(7, '0'))

const keyAt = (tree: Tree, i: number) => {
  const row = tree.at(i)
  if (row?.kind === 'item' && row.page) assert.equal(tree.positionOf(row.branch, row.page, row.index), i)
  return row?.kind === 'item' ? row.item.key : row && '…'
}

const held = (tree: Tree) => [...tree.items()].length

test('the tree finds its rows', async () => {
  const store = new Store(['a', 'b/1', 'b/2/x', 'b/3', 'c', 'd/1', 'e'])
  const tree = new Tree('', { load: store.load(2), changed: () => {} })
  const shown = () => Array.from({ length: tree.length }, (_, i) => '  '.repeat(tree.at(i)!.depth) + keyAt(tree, i))
  await tree.start()
  assert.deepEqual(shown(), ['a', 'b/', '…', '…']) // the other 3 keys probably need 2 rows
  await tree.expand(tree.at(1)!)
  assert.deepEqual(shown(), ['a', 'b/', '  b/1', '  b/2/', '  …', '…', '…'])
  await tree.loadRows(0, 20)
  assert.deepEqual(shown(), ['a', 'b/', '  b/1', '  b/2/', '  b/3', 'c', 'd/', 'e'])
  await tree.expand(tree.at(3)!)
  await tree.expand(tree.at(7)!)
  assert.deepEqual(shown(), ['a', 'b/', '  b/1', '  b/2/', '    b/2/x', '  b/3', 'c', 'd/', '  d/1', 'e'])
  assert.equal(tree.parentPosition((tree.at(4) as { branch: never }).branch), 3)
  tree.collapse(tree.at(1)!)
  assert.deepEqual(shown(), ['a', 'b/', 'c', 'd/', '  d/1', 'e'])
  assert.equal(tree.at(6), undefined)
})

test('a prefix that is closed while it is loaded adds no rows', async () => {
  const tree = new Tree('', { load: new Store(['a/1', 'a/2', 'b']).load(10), changed: () => {} })
  await tree.start()
  const opened = tree.expand(tree.at(0)!)
  tree.collapse(tree.at(0)!)
  await opened
  assert.equal(tree.length, 2)
})

/** Pages of a store that arrive later. */
function later(store: Store, limit: number) {
  const load = store.load(limit)
  return async (prefix: string, start: Start) => {
    await new Promise((resolve) => setTimeout(resolve))
    return load(prefix, start)
  }
}

test('a key is found while another page of its gap is loaded', async () => {
  const store = new Store(flat(2000))
  const tree = new Tree('', { load: later(store, pageSize), changed: () => {} })
  const first = tree.loadRow(tree.at(0)!)
  const found = await tree.reveal(tree.root, flat(2000)[1500])
  assert.equal(found?.item.key, flat(2000)[1500])
  await first
  assert.equal(store.loads, 2)
})

test('who needs a page that is being loaded waits for it', async () => {
  const store = new Store(['a/1', 'b'])
  const tree = new Tree('', { load: later(store, 10), changed: () => {} })
  const seen = tree.loadRow(tree.at(0)!) // as the list does for rows in sight
  await tree.start()
  assert.ok(tree.root.complete)
  await seen
  const opened = tree.expand(tree.at(0)!)
  const found = await tree.reveal(tree.root, 'b')
  assert.equal(found?.item.key, 'b')
  await tree.loadRows(0, 5)
  assert.equal(tree.length, 3)
  assert.equal(keyAt(tree, 1), 'a/1')
  await opened
  assert.equal(store.loads, 2)
})

test('any place of many keys is loaded with one request, and few rows are kept', async () => {
  const keys = flat(200_000)
  let loads = 0
  const load = async (_: string, { from, skip = 0 }: Start) => {
    loads++
    const start = (from === '' ? 0 : Number(from.slice(1))) + skip
    const items = keys.slice(start, start + pageSize).map((key): Item => ({ kind: 'key', key, name: key, size: 0, version: 1, create: 1, mod: 1, lease: '0', ends: 0, ttlOf: '' }))
    return { revision: 1, items, next: keys[start + pageSize] ?? '', count: from === '' ? keys.length : -1, skipped: skip }
  }
  const moves: number[] = []
  const tree = new Tree('', { load, changed: () => {}, moved: (_start, _end, by) => moves.push(by), keeps: (item) => item.key === keys[505] })
  await tree.start()
  assert.equal(tree.length, keys.length)
  let seed = 7
  for (let i = 0; i < 300; i++) {
    seed = (seed * 48271) % 2147483647
    const place = seed % keys.length
    tree.view = { first: place, last: place + 30 }
    await tree.loadRows(place, place + 30)
    for (const p of [place, place + 30]) assert.equal(keyAt(tree, p), keys[p])
    assert.equal(tree.length, keys.length)
    assert.ok(held(tree) <= itemsMax + 2 * pageSize, `${held(tree)} items are kept`)
    assert.ok(tree.root.segments.length < 100, `${tree.root.segments.length} segments`)
  }
  assert.ok(loads <= 601, `${loads} requests`)
  assert.deepEqual(moves.slice(1), [], 'rows move')
  // The page with a selected item is kept.
  await tree.loadRows(505, 505)
  for (let i = 20_000; i < 120_000; i += pageSize) {
    tree.view = { first: i, last: i }
    await tree.loadRows(i, i)
  }
  assert.equal(keyAt(tree, 505), keys[505])
  assert.equal(keyAt(tree, 999), keys[999])
  assert.equal(keyAt(tree, 2005), '…')
})

test('keys that other clients add and delete move the rows behind', async () => {
  const store = new Store(flat(3000))
  const moves: [number, number][] = []
  const tree = new Tree('', { load: store.load(pageSize), changed: () => {}, moved: (_, end, by) => moves.push([end, by]) })
  await tree.start()
  await tree.loadRows(2000, 2010)
  moves.length = 0
  store.keys = store.keys.filter((k) => k !== 'k0001100').concat('k0001600x', 'k0001600y', 'z').sort()
  await tree.loadRows(1500, 1510) // one key fewer is in front of these
  assert.equal(keyAt(tree, 2000 + moves.reduce((sum, [, by]) => sum + by, 0)), 'k0002000')
  for (const [at] of moves) assert.ok(at <= 2000)
  await tree.loadRows(0, 5000)
  assert.equal(tree.length, store.keys.length)
  store.keys.forEach((k, i) => assert.equal(keyAt(tree, i), k))
})

test('a prefix of keys and prefixes shows all of them once, from any place', async () => {
  const keys: string[] = []
  for (let i = 0; i < 900; i++) {
    const name = 'n' + String(i).padStart(4, '0')
    if (i % 3 === 0) for (let j = 0; j < i % 40; j++) keys.push(`${name}/${j}`)
    keys.push(name)
  }
  for (const counted of [true, false]) {
    const store = new Store(keys)
    const tree = new Tree('', { load: store.load(50, counted), changed: () => {} })
    await tree.start()
    for (const place of [0.9, 0.2, 0.5, 0.99, 0.01]) {
      const at = Math.floor(place * tree.length)
      await tree.loadRows(at, at + 20)
    }
    await tree.loadRows(0, 100_000)
    const shown = [...tree.items()].map((row) => row.item.key)
    const children = [...new Set(store.keys.map((k) => k.replace(/\/.*/, '/')))]
    assert.deepEqual(shown, children, `counted: ${counted}`)
    assert.equal(tree.length, children.length)
  }
})

test('a key is found, wherever it is', async () => {
  const store = new Store(flat(5000))
  const tree = new Tree('', { load: store.load(pageSize), changed: () => {} })
  await tree.start()
  const row = await tree.reveal(tree.root, 'k0003210')
  assert.equal(row?.item.key, 'k0003210')
  assert.equal(keyAt(tree, 3210), 'k0003210')
  assert.equal((await tree.reveal(tree.root, 'k0003210x'))?.item.key, 'k0003211')
  assert.equal(await tree.reveal(tree.root, 'z'), undefined)
})

test('a page that cannot be loaded has the error, and is loaded when it is asked for again', async () => {
  const store = new Store(['a', 'b'])
  let fails = true
  const load = store.load(10)
  const tree = new Tree('', { load: (p, s) => (fails ? Promise.reject(new Error('no')) : load(p, s)), changed: () => {} })
  await tree.start()
  const row = tree.at(0)!
  assert.ok(row.kind === 'more' && row.gap.error instanceof Error)
  fails = false
  await tree.loadRow(row)
  assert.deepEqual([0, 1, 2].map((i) => keyAt(tree, i)), ['a', 'b', undefined])
})

test('a list higher than an element can be is scrolled by steps and by jumps', () => {
  const height = 28_000_000
  const el: Scroller = {
    scrollTop: 0,
    clientHeight: 600,
    scrollHeight: heightMax + 28,
  }
  const scroll = new Scroll()
  scroll.resize(el, height, 0)
  const max = heightMax + 28 - 600
  const by = (pixels: number) => {
    el.scrollTop = Math.max(0, Math.min(max, el.scrollTop + pixels))
    return scroll.moved(el)
  }
  assert.equal(by(100), 100)
  for (let i = 1; i < 1000; i++) by(500)
  assert.equal(scroll.top, 100 + 999 * 500)
  assert.ok(Math.abs(el.scrollTop - scroll.top * (heightMax / height)) < 60_000, 'the scroll bar shows the place')
  el.scrollTop = max / 2
  assert.ok(Math.abs(scroll.moved(el) - height / 2) < 600)
  const here = scroll.top
  by(-100)
  by(100)
  assert.equal(scroll.top, here)
  scroll.to(el, 1_000_000.5)
  assert.equal(scroll.top, 1_000_000.5)
  scroll.resize(el, height - 2_800_000, -560_000)
  assert.equal(scroll.top, 440_000.5)
  el.scrollTop = max
  assert.equal(scroll.moved(el), height - 2_800_000 + 28 - 600)
  for (let i = 0; i < 10; i++) by(-500)
  for (let i = 0; i < 10; i++) by(500)
  assert.equal(scroll.top, height - 2_800_000 + 28 - 600)
  el.scrollTop = 0
  assert.equal(scroll.moved(el), 0)
})
