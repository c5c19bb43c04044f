// The keyboard: screens register commands while they are shown, and one listener runs them.

import { signal, type Signal } from '@preact/signals'

export interface Command {
  /** A key as in KeyboardEvent.key, or two after each other: "g k". */
  keys: string[]
  /** What it does, for the list of keys. */
  help: () => string
  run: (e: KeyboardEvent) => void
  /** Runs also while the user types in a field. */
  typing?: boolean
}

/** All registered groups, newest last; the newest that has a key runs. */
const groups: Signal<{ title: () => string; commands: Command[] }[]> = signal([])

export const registered = (): { title: () => string; commands: Command[] }[] => groups.value

/** Registers commands; call the result to remove them. */
export function register(title: () => string, commands: Command[]): () => void {
  const group = { title, commands }
  groups.value = [...groups.peek(), group]
  return () => {
    groups.value = groups.peek().filter((g) => g !== group)
  }
}

let first = '' // the first key of a sequence, until the next key or click

function typing(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  // The editor is in a shadow tree: its host is the target.
  if (target.isContentEditable || target.hasAttribute('data-typing')) return true
  if (target instanceof HTMLInputElement) return !['checkbox', 'radio', 'range', 'button'].includes(target.type)
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement
}

function find(keys: string, isTyping: boolean): Command | undefined {
  for (const group of groups.peek().toReversed()) {
    const found = group.commands.find((c) => c.keys.includes(keys) && (!isTyping || c.typing))
    if (found) return found
  }
  return undefined
}

const starts = (key: string): boolean =>
  groups.peek().some((g) => g.commands.some((c) => c.keys.some((k) => k.startsWith(key + ' '))))

function onKey(e: KeyboardEvent): void {
  if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing || e.defaultPrevented) return
  // A dialog has the keyboard for itself: the browser closes it at Escape.
  if (document.querySelector('dialog[open]')) return
  const isTyping = typing(e.target)
  const sequence = first ? `${first} ${e.key}` : ''
  first = ''
  const command = (sequence && find(sequence, isTyping)) || find(e.key, isTyping)
  if (command) {
    // Enter and Space belong to the button, link or field that has the focus.
    if ((e.key === 'Enter' || e.key === ' ') && e.target instanceof HTMLElement && e.target.closest('button, a, summary, input')) return
    e.preventDefault()
    command.run(e)
    return
  }
  if (!isTyping && starts(e.key)) first = e.key
}

export function startKeyboard(): void {
  document.addEventListener('keydown', onKey)
  document.addEventListener('pointerdown', () => (first = ''))
}
