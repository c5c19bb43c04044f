// A list of rows of one height, of which only those in sight are in the document.

import type { ComponentChildren } from 'preact'
import { useLayoutEffect, useRef, useState } from 'preact/hooks'

interface VirtualProps {
  length: number
  rowHeight: number
  row: (index: number) => ComponentChildren
  /** Scrolled into sight when it changes; -1 for none. */
  cursor?: number
  /** Called with the last row in sight. */
  onReach?: (last: number) => void
  class?: string
  /** Attributes of the element that scrolls: role, label, handlers. */
  attrs?: Record<string, unknown>
  /** A row above the others that stays in sight. */
  head?: ComponentChildren
  /** Keeps the end in sight while rows are added. */
  follow?: boolean
}

const overscan = 8

export function Virtual({ length, rowHeight, row, cursor = -1, onReach, class: name, attrs, head, follow }: VirtualProps) {
  const outer = useRef<HTMLDivElement>(null)
  const [view, setView] = useState({ first: 0, count: 40 })

  const measure = () => {
    const el = outer.current
    if (!el) return
    const first = Math.max(0, Math.floor(el.scrollTop / rowHeight) - overscan)
    const shown = Math.ceil(el.clientHeight / rowHeight) + 2 * overscan
    if (first !== view.first || shown !== view.count) setView({ first, count: shown })
  }

  useLayoutEffect(() => {
    const el = outer.current!
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(el)
    return () => observer.disconnect()
  })

  useLayoutEffect(() => {
    const el = outer.current!
    if (cursor < 0) return
    const top = cursor * rowHeight
    const head = el.querySelector<HTMLElement>('.list-head')?.offsetHeight ?? 0
    if (top < el.scrollTop) el.scrollTop = top
    else if (top + rowHeight + head > el.scrollTop + el.clientHeight) el.scrollTop = top + rowHeight + head - el.clientHeight
  }, [cursor, rowHeight])

  useLayoutEffect(() => {
    const el = outer.current!
    if (follow) el.scrollTop = el.scrollHeight
  }, [length, follow])

  const first = Math.min(view.first, Math.max(0, length - 1))
  const last = Math.min(length, first + view.count)
  useLayoutEffect(() => {
    if (length > 0) onReach?.(last - 1)
  }, [last, length])

  const rows: ComponentChildren[] = []
  for (let i = first; i < last; i++) rows.push(row(i))
  return (
    <div ref={outer} class={'virtual ' + (name ?? '')} onScroll={measure} {...attrs}>
      {head}
      <div class="virtual-space" role="presentation" style={{ height: `${length * rowHeight}px` }}>
        <div class="virtual-rows" role="presentation" style={{ transform: `translateY(${first * rowHeight}px)` }}>
          {rows}
        </div>
      </div>
    </div>
  )
}
