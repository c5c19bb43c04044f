import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as bytes from '../src/lib/bytes.ts'
import { diff } from '../src/lib/diff.ts'
import { compact, isCompact, layOut } from '../src/lib/json.ts'
import { Tree, type Branch } from '../src/lib/tree.ts'
import type { Item } from '../src/api/keys.ts'

test('bytes are shown so that they can be typed again', () => {
  for (const b of ['/a/b', 'a\\b', '\x00\x01', '\xff\xfe/x', bytes.fromText('键/значение'), bytes.fromText('a\u202eb\u200f'), '\xe9\x94', '\xed\xa0\x80', 'k8s\0\n']) {
    const shown = bytes.show(b)
    assert.equal(bytes.parse(shown), b, shown)
    assert.match(shown, /^[^\p{Cc}\p{Cf}]*$/u)
  }
  assert.equal(bytes.show(bytes.fromText('a\u202eb')), 'a\\u{202e}b')
  assert.equal(bytes.show('a\xffb'), 'a\\xffb')
  assert.equal(bytes.parse('C:\\dir'), 'C:\\dir')
})

test('the end of a prefix', () => {
  assert.equal(bytes.prefixEnd('/a/'), '/a0')
  assert.equal(bytes.prefixEnd('a\xff'), 'b')
  assert.equal(bytes.prefixEnd('\xff\xff'), '\0')
  assert.equal(bytes.prefixEnd(''), '\0')
})

test('JSON keeps its numbers, names and strings when it is laid out', () => {
  const text = '{"a":12345678901234567890.10,"a":[],"b":{},"c":["\\u0041 {,}",1,{"d":null}]}'
  const wide = layOut(text)
  assert.equal(compact(wide), text)
  assert.ok(isCompact(text) && !isCompact(wide))
  assert.equal(layOut('[1,{"a":2}]'), '[\n  1,\n  {\n    "a": 2\n  }\n]')
})

test('differences give both texts again', () => {
  const random = (seed: number) => () => (seed = (seed * 48271) % 2147483647) / 2147483647
  for (let seed = 1; seed < 300; seed++) {
    const r = random(seed)
    const lines = () => Array.from({ length: Math.floor(r() * 12) }, () => 'abc'[Math.floor(r() * 3)]).join('\n')
    const [a, b] = [lines(), lines()]
    const rows = diff(a, b)
    assert.equal(rows.flatMap((x) => (x.left === undefined ? [] : [x.left])).join('\n'), a)
    assert.equal(rows.flatMap((x) => (x.right === undefined ? [] : [x.right])).join('\n'), b)
    for (const x of rows) if (x.kind === 'same') assert.equal(x.left, x.right)
    const numbers = rows.flatMap((x) => (x.leftLine ? [x.leftLine] : []))
    assert.deepEqual(numbers, numbers.map((_, i) => i + 1))
  }
  assert.deepEqual(diff('a\nb\nc', 'a\nx\nc').map((x) => x.kind), ['same', 'changed', 'same'])
})

const item = (key: string): Item =>
  key.endsWith('/')
    ? { kind: 'prefix', key, name: key, count: 1, ends: 0 }
    : { kind: 'key', key, name: key, size: 0, version: 1, create: 1, mod: 1, lease: '0', ends: 0, ttlOf: '' }

test('the tree finds its rows', async () => {
  const below: Record<string, string[]> = { '': ['a', 'b/', 'c', 'd/', 'e'], 'b/': ['b/1', 'b/2/', 'b/3'], 'b/2/': ['b/2/x'], 'd/': ['d/1'] }
  const load = async (prefix: string, from: string) => {
    const all = below[prefix]
    const start = from ? all.indexOf(from) : 0
    return { revision: 1, items: all.slice(start, start + 2).map(item), next: all[start + 2] ?? '', count: all.length }
  }
  const tree = new Tree('', load, () => {})
  const shown = () => Array.from({ length: tree.length }, (_, i) => {
    const row = tree.at(i)
    assert.ok(row, `row ${i} of ${tree.length}`)
    if (row.kind === 'item') assert.equal(tree.positionOf(row.branch, row.index), i)
    return row.kind === 'item' ? '  '.repeat(row.depth) + row.item.key : '  '.repeat(row.depth) + '…'
  })
  const all = async (branch: Branch) => { while (!branch.complete) await tree.more(branch) }
  await tree.start()
  assert.deepEqual(shown(), ['a', 'b/', '…'])
  await tree.expand(tree.root, 1)
  assert.deepEqual(shown(), ['a', 'b/', '  b/1', '  b/2/', '  …', '…'])
  await all(tree.root)
  const b = tree.root.open.get(1)!
  await tree.expand(b, 1)
  await all(b)
  await tree.expand(tree.root, 3)
  assert.deepEqual(shown(), ['a', 'b/', '  b/1', '  b/2/', '    b/2/x', '  b/3', 'c', 'd/', '  d/1', 'e'])
  tree.collapse(tree.root, 1)
  assert.deepEqual(shown(), ['a', 'b/', 'c', 'd/', '  d/1', 'e'])
  assert.equal(tree.at(6), undefined)
})

test('pages far from sight are dropped, and loaded again as they are then', async () => {
  const size = 10
  let keys = Array.from({ length: 3000 }, (_, i) => 'k' + String(i).padStart(5, '0'))
  const load = async (_: string, from: string) => {
    const start = from ? keys.findIndex((k) => k >= from) : 0
    const items = start < 0 ? [] : keys.slice(start, start + size).map(item)
    return { revision: 1, items, next: start < 0 ? '' : (keys[start + size] ?? ''), count: keys.length }
  }
  const tree = new Tree('', load, () => {}, (i) => i.key === 'k00505')
  await tree.start()
  while (!tree.root.complete) await tree.more(tree.root)
  assert.equal(tree.length, 3000)
  const held = () => tree.root.items.filter((i) => i !== null).length
  assert.ok(held() <= 61 * size, `${held()} items are kept`)
  const keyAt = (i: number) => {
    const row = tree.at(i)!
    return row.kind === 'item' ? row.item.key : null
  }
  assert.equal(keyAt(505), 'k00505') // its page is kept
  assert.equal(keyAt(100), null)
  await Promise.all([tree.loadRow(tree.at(100)!), tree.loadRow(tree.at(101)!)])
  assert.equal(keyAt(100), 'k00100')
  assert.equal(keyAt(109), 'k00109')
  assert.equal(keyAt(2995), null) // dropped in turn
  assert.ok(held() <= 61 * size, `${held()} items are kept`)

  // Two keys more and one fewer: the rows behind move.
  keys = ['a', ...keys.filter((k) => k !== 'k00201'), 'z'].concat('k00203x', 'k00203y').sort()
  await tree.loadRow(tree.at(205)!)
  assert.equal(tree.length, 3001)
  assert.deepEqual([200, 201, 203, 204, 209, 210].map(keyAt), ['k00200', 'k00202', 'k00203x', 'k00203y', 'k00208', 'k00209'])
  await tree.loadRow(tree.at(3000)!)
  assert.equal(keyAt(tree.length - 1), 'z')

  const again = new Tree('', load, () => {})
  await again.start()
  assert.ok(again.adopt(again.root, tree.root))
  assert.equal(again.length, tree.length)
  assert.equal(again.at(7)!.kind, 'more')
  await again.loadRow(again.at(7)!)
  assert.equal(again.length, tree.length + 1) // "a"
  const row = again.at(0)!
  assert.ok(row.kind === 'item' && row.item.key === 'a')
})
