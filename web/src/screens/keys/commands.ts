// The keyboard in a list of keys.

import type { RefObject } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { readOnly } from '../../api/session.ts'
import { type Command, register } from '../../lib/keyboard.ts'
import { go } from '../../lib/route.ts'
import type { Row } from '../../lib/tree.ts'
import { t } from '../../text/index.ts'
import type { Browser } from './browser.ts'

interface Actions {
  search?: RefObject<HTMLInputElement | null>
  onOpen: (row: Row) => void
  onCreate?: () => void
  onDelete?: () => void
  onRefresh: () => void
}

export function useKeyCommands(b: Browser, actions: Actions): void {
  const latest = useRef(actions)
  latest.current = actions
  useEffect(() => register(() => t().keys.title, commands(b, () => latest.current)), [b])
}

function commands(b: Browser, actions: () => Actions): Command[] {
  const c = () => t().commands
  const to = (position: number) => b.moveTo(position)
  const row = () => b.at(b.cursor.peek())
  const all: Command[] = [
    { keys: ['j', 'ArrowDown'], help: () => c().down, run: () => to(b.cursor.peek() + 1) },
    { keys: ['k', 'ArrowUp'], help: () => c().up, run: () => to(b.cursor.peek() - 1) },
    { keys: ['PageDown'], help: () => c().down + ' ×20', run: () => to(b.cursor.peek() + 20) },
    { keys: ['PageUp'], help: () => c().up + ' ×20', run: () => to(b.cursor.peek() - 20) },
    { keys: ['g g', 'Home'], help: () => c().first, run: () => to(0) },
    { keys: ['G', 'End'], help: () => c().last, run: () => to(b.length.peek() - 1) },
    { keys: ['Enter', 'o'], help: () => c().open, run: () => open(row(), actions().onOpen) },
    { keys: ['l', 'ArrowRight'], help: () => c().expand, run: () => expand(b, row(), to) },
    { keys: ['ArrowLeft', '-'], help: () => c().collapse, run: () => collapse(b, row(), to) },
    { keys: ['r'], help: () => c().refresh, run: () => actions().onRefresh() },
    {
      keys: ['Escape'],
      help: () => c().close,
      run: () => {
        if (b.open.peek() !== null) b.show(null)
        else if (b.selected.peek().size > 0) b.clear()
        else void b.search('')
      },
    },
  ]
  const { search, onCreate, onDelete } = actions()
  if (search) all.unshift({ keys: ['/'], help: () => c().search, run: () => actions().search?.current?.select() })
  if (onCreate) all.push({ keys: ['n'], help: () => c().create, run: () => actions().onCreate?.() })
  if (onDelete) {
    all.push(
      { keys: ['x'], help: () => c().select, run: () => select(b, row()) },
      { keys: ['d'], help: () => c().delete, run: () => actions().onDelete?.() },
    )
    all.push({ keys: ['h'], help: () => c().history, run: () => history(b, row()) })
  }
  return all
}

function open(row: Row | undefined, onOpen: (row: Row) => void): void {
  if (row) onOpen(row)
}

function expand(b: Browser, row: Row | undefined, to: (position: number) => void): void {
  if (row?.kind !== 'item') return
  if (row.item.kind === 'key') b.show(row.item.key)
  else if (row.open) to(b.cursor.peek() + 1)
  else b.toggle(row)
}

function collapse(b: Browser, row: Row | undefined, to: (position: number) => void): void {
  if (!row || b.found.peek()) return
  if (row.kind === 'item' && row.open) return b.toggle(row)
  const parent = b.tree.parentPosition(row.branch)
  if (parent >= 0) to(parent)
}

function select(b: Browser, row: Row | undefined): void {
  if (readOnly.peek()) return
  if (row?.kind === 'item') b.select(row.item.key)
}

function history(b: Browser, row: Row | undefined): void {
  if (row?.kind !== 'item' || row.item.kind !== 'key') return
  b.show(row.item.key)
  go('history')
}
