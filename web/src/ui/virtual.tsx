// A list of rows of one height, of which only those in sight are in the document. Browsers limit
// the height of an element: a longer list is scrolled by steps of its own height, and jumps where
// the scroll bar is dragged.

import type { ComponentChildren } from 'preact'
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { heightMax, Scroll } from '../lib/scroll.ts'

interface VirtualProps {
  length: number
  rowHeight: number
  row: (index: number) => ComponentChildren
  /** Scrolled into sight when reveal changes. */
  cursor?: number
  reveal?: number
  /** Rows that were added above those in sight, less those removed: those in sight stay. */
  shift?: number
  /** Called with the first and the last row in sight, when they or the rows have changed. */
  onSee?: (first: number, last: number) => void
  class?: string
  /** Attributes of the element that scrolls: role, label, handlers. */
  attrs?: Record<string, unknown>
  /** A row above the others that stays in sight. */
  head?: ComponentChildren
  /** Keeps the end in sight while rows are added, unless the user has scrolled away from it. */
  follow?: boolean
}

const overscan = 8

export function Virtual({ length, rowHeight, row, cursor = 0, reveal, shift = 0, onSee, class: name, attrs, head, follow }: VirtualProps) {
  const outer = useRef<HTMLDivElement>(null)
  const scroll = useRef(new Scroll()).current
  const shifted = useRef(shift)
  const atEnd = useRef(true)
  const [view, setView] = useState({ first: 0, count: 40, offset: 0 })

  const measure = () => {
    const el = outer.current
    if (!el) return
    const top = scroll.moved(el)
    atEnd.current = top + el.clientHeight >= (length - 1) * rowHeight
    const first = Math.max(0, Math.floor(top / rowHeight) - overscan)
    const count = Math.ceil(el.clientHeight / rowHeight) + 2 * overscan
    if (first !== view.first || count !== view.count || scroll.offset !== view.offset) setView({ first, count, offset: scroll.offset })
  }

  useLayoutEffect(() => {
    const el = outer.current!
    scroll.resize(el, length * rowHeight, (shift - shifted.current) * rowHeight)
    shifted.current = shift
    if (follow && atEnd.current) scroll.to(el, length * rowHeight)
    measure()
    const observer = new ResizeObserver(measure)
    observer.observe(el)
    return () => observer.disconnect()
  })

  useLayoutEffect(() => {
    if (reveal === undefined) return
    const el = outer.current!
    const top = cursor * rowHeight
    const height = el.clientHeight - (el.querySelector<HTMLElement>('.list-head')?.offsetHeight ?? 0)
    if (top < scroll.top) scroll.to(el, top)
    else if (top + rowHeight > scroll.top + height) scroll.to(el, top + rowHeight - height)
    measure()
  }, [reveal])

  useLayoutEffect(() => {
    if (follow) scroll.to(outer.current!, length * rowHeight)
  }, [follow])

  const first = Math.min(view.first, Math.max(0, length - 1))
  const last = Math.min(length, first + view.count)
  useLayoutEffect(() => {
    if (length > 0) onSee?.(first, last - 1)
  })

  const rows: ComponentChildren[] = []
  for (let i = first; i < last; i++) rows.push(row(i))
  return (
    <div ref={outer} class={'virtual ' + (name ?? '')} onScroll={measure} {...attrs}>
      {head}
      <div class="virtual-space" role="presentation" style={{ height: `${Math.min(length * rowHeight, heightMax)}px` }}>
        <div class="virtual-rows" role="presentation" style={{ transform: `translateY(${first * rowHeight - view.offset}px)` }}>
          {rows}
        </div>
      </div>
    </div>
  )
}
