import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as bytes from '../src/lib/bytes.ts'
import { diff } from '../src/lib/diff.ts'
import { compact, isCompact, layOut } from '../src/lib/json.ts'

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
