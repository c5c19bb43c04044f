// The differences of two texts, line by line (Myers, "An O(ND) Difference Algorithm", 1986).

export interface DiffRow {
  kind: 'same' | 'changed' | 'left' | 'right'
  left?: string
  right?: string
  leftLine?: number
  rightLine?: number
}

/** Lines that differ beyond this are shown as replaced as a whole; it bounds time and memory. */
const differencesMax = 2000

/** Rows for a view side by side; lines that replace each other share a row. */
export function diff(a: string, b: string): DiffRow[] {
  return pair(script(a.split('\n'), b.split('\n')))
}

type Step = { op: 'same' | 'left' | 'right'; text: string; left: number; right: number }

function script(a: string[], b: string[]): Step[] {
  let start = 0
  while (start < a.length && start < b.length && a[start] === b[start]) start++
  let endA = a.length
  let endB = b.length
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
    endA--
    endB--
  }
  const steps: Step[] = []
  for (let i = 0; i < start; i++) steps.push({ op: 'same', text: a[i], left: i + 1, right: i + 1 })
  steps.push(...middle(a, b, start, endA, endB))
  for (let i = 0; endA + i < a.length; i++) {
    steps.push({ op: 'same', text: a[endA + i], left: endA + i + 1, right: endB + i + 1 })
  }
  return steps
}

function middle(a: string[], b: string[], start: number, endA: number, endB: number): Step[] {
  const n = endA - start
  const m = endB - start
  const max = Math.min(n + m, differencesMax)
  const v = new Int32Array(2 * max + 3)
  const trail: Int32Array[] = []
  for (let d = 0; d <= max; d++) {
    for (let k = -d; k <= d; k += 2) {
      let x = k === -d || (k !== d && v[max + k] < v[max + k + 2]) ? v[max + k + 2] : v[max + k] + 1
      while (x < n && x - k < m && a[start + x] === b[start + x - k]) x++
      v[max + k + 1] = x
      if (x >= n && x - k >= m) {
        trail.push(v.slice(max - d, max + d + 3))
        return back(a, b, start, n, m, trail)
      }
    }
    trail.push(v.slice(max - d, max + d + 3))
  }
  return [
    ...a.slice(start, endA).map((text, i): Step => ({ op: 'left', text, left: start + i + 1, right: 0 })),
    ...b.slice(start, endB).map((text, i): Step => ({ op: 'right', text, left: 0, right: start + i + 1 })),
  ]
}

/** Walks the trail from the end; trail[d][i] is the furthest x on diagonal i - d - 1... of d steps. */
function back(a: string[], b: string[], start: number, n: number, m: number, trail: Int32Array[]): Step[] {
  const steps: Step[] = []
  let x = n
  let y = m
  for (let d = trail.length - 1; d > 0; d--) {
    const before = trail[d - 1]
    const at = (k: number): number => before[k + (d - 1) + 1] ?? -1
    const k = x - y
    const down = k === -d || (k !== d && at(k - 1) < at(k + 1))
    const fromK = down ? k + 1 : k - 1
    const fromX = at(fromK)
    const fromY = fromX - fromK
    while (x > (down ? fromX : fromX + 1) && y > (down ? fromY + 1 : fromY)) {
      x--
      y--
      steps.push({ op: 'same', text: a[start + x], left: start + x + 1, right: start + y + 1 })
    }
    if (down) steps.push({ op: 'right', text: b[start + --y], left: 0, right: start + y + 1 })
    else steps.push({ op: 'left', text: a[start + --x], left: start + x + 1, right: 0 })
  }
  while (x > 0) {
    x--
    steps.push({ op: 'same', text: a[start + x], left: start + x + 1, right: start + x + 1 })
  }
  return steps.reverse()
}

/** Puts runs of removed and added lines beside each other. */
function pair(steps: Step[]): DiffRow[] {
  const rows: DiffRow[] = []
  for (let i = 0; i < steps.length; ) {
    if (steps[i].op === 'same') {
      const s = steps[i++]
      rows.push({ kind: 'same', left: s.text, right: s.text, leftLine: s.left, rightLine: s.right })
      continue
    }
    const left: Step[] = []
    const right: Step[] = []
    for (; i < steps.length && steps[i].op !== 'same'; i++) (steps[i].op === 'left' ? left : right).push(steps[i])
    for (let j = 0; j < Math.max(left.length, right.length); j++) {
      const l = left[j]
      const r = right[j]
      if (l && r) rows.push({ kind: 'changed', left: l.text, right: r.text, leftLine: l.left, rightLine: r.right })
      else if (l) rows.push({ kind: 'left', left: l.text, leftLine: l.left })
      else rows.push({ kind: 'right', right: r.text, rightLine: r.right })
    }
  }
  return rows
}
