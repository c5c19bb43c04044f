// The screen Keys.

import { effect, signal } from '@preact/signals'
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import type { Item, KeyInfo } from '../../api/keys.ts'
import { mayWrite, readOnly, session } from '../../api/session.ts'
import { type Bytes, parse, show } from '../../lib/bytes.ts'
import { count } from '../../lib/format.ts'
import { go, openKey } from '../../lib/route.ts'
import type { Row } from '../../lib/tree.ts'
import { t } from '../../text/index.ts'
import { CommitInput } from '../../ui/commit-input.tsx'
import { Icon } from '../../ui/icons.tsx'
import { browser, type Browser, chooseSeparator, separator } from './browser.ts'
import { useKeyCommands } from './commands.ts'
import { Create } from './create.tsx'
import { Detail } from './detail.tsx'
import { KeyList } from './list.tsx'
import { Remove, type Target } from './remove.tsx'
import { SearchFoot, SearchTools } from './search.tsx'

// The screen History shows the key that was opened last.
effect(() => {
  if (browser.open.value !== null) openKey.value = browser.open.value
})

/** Changes when the value that is shown must be read again. */
const again = signal(0)

export function Keys() {
  useNews()
  const search = useRef<HTMLInputElement>(null)
  const [creating, setCreating] = useState(false)
  const [removing, setRemoving] = useState<Target[] | null>(null)
  const open = browser.open.value
  const selected = browser.selected.value

  const openRow = useCallback((row: Row) => openOrToggle(browser, row), [])
  const remove = () => {
    const targets = targetsOf(browser)
    if (!readOnly.value && targets.length > 0 && targets.every((x) => mayWrite(x.key))) setRemoving(targets)
  }
  const create = () => {
    if (!readOnly.value) setCreating(true)
  }
  useKeyCommands(browser, { search, onOpen: openRow, onCreate: create, onDelete: remove, onRefresh: refresh })

  const item = open === null ? undefined : itemOf(browser, open)
  return (
    <>
      <div class="toolbar">
        <SearchTools browser={browser} field={search} />
        <label class="inline-field" title={t().keys.prefixHint}>
          {t().keys.prefix}
          <CommitInput
            class="input prefix"
            name="prefix"
            text={show(browser.prefix.value)}
            onCommit={(text) => {
              browser.prefix.value = parse(text)
              void browser.search(browser.query.value)
              void browser.start()
            }}
          />
        </label>
        <label class="inline-field" title={t().keys.separatorHint}>
          {t().keys.separator}
          <CommitInput
            class="input separator"
            name="separator"
            maxLength={8}
            text={show(separator.value)}
            onCommit={(text) => {
              chooseSeparator(text)
              void browser.start()
            }}
          />
        </label>
        <button class="button plain icon" aria-label={t().refresh} title={t().refresh + ' (r)'} onClick={refresh}>
          <Icon name="refresh" />
        </button>
        {!readOnly.value && (
          <button class="button primary" onClick={create}>
            <Icon name="plus" />
            {t().keys.create}
          </button>
        )}
      </div>
      <div class={open === null ? 'split' : 'split open'}>
        <div class={selected.size > 0 ? 'side selecting' : 'side'}>
          <KeyList browser={browser} id="keys" onOpen={openRow} selectable={!readOnly.value} />
          <Foot browser={browser} onDelete={remove} />
        </div>
        {open !== null && (
          <Detail
            k={open}
            revision={0}
            ends={item?.ends ?? 0}
            again={again.value}
            onClose={() => browser.show(null)}
            onChanged={() => void browser.refresh()}
            onDelete={(v) => setRemoving([{ kind: 'key', key: v.key, mod: v.mod }])}
            onHistory={() => go('history')}
          />
        )}
      </div>
      {creating && (
        <Create
          prefix={prefixAt(browser)}
          onClose={(key) => {
            setCreating(false)
            if (key === null) return
            if (!key.endsWith('/')) browser.show(key)
            refresh()
          }}
        />
      )}
      {removing && (
        <Remove
          targets={removing}
          onClose={(changed) => {
            setRemoving(null)
            if (!changed) return
            browser.clear()
            browser.show(null)
            void browser.refresh()
          }}
        />
      )}
    </>
  )
}

function refresh(): void {
  again.value++
  void browser.refresh()
}

/** The session's revision when the list was last loaded, also while other screens are shown; 0 before. */
let listed = 0

/** Shows what other clients have written: the session's revision has changed then. */
function useNews(): void {
  const revision = session.value!.revision
  useEffect(() => {
    const stale = listed !== 0 && listed !== revision
    listed = revision
    if (!stale) return
    again.value++
    if (!browser.found.peek()) void browser.refresh() // a search would be long
  }, [revision])
}

/** Opens the value of a key, and opens or closes a prefix. */
export function openOrToggle(b: Browser, row: Row): void {
  if (row.kind === 'more') return void b.tree.loadRow(row)
  if (row.item.kind === 'key') b.show(row.item.key)
  else b.toggle(row)
}

/** The items that are loaded, in the order of their rows. */
function* itemsOf(b: Browser): Generator<Item> {
  const found = b.found.peek()
  if (found) yield* found.items
  else for (const row of b.tree.items()) yield row.item
}

/** What is known of a key from the list. */
export function itemOf(b: Browser, key: Bytes): KeyInfo | undefined {
  void b.changes.value
  for (const item of itemsOf(b)) if (item.kind === 'key' && item.key === key) return item
  return undefined
}

/** The rows that are selected, or the one with the cursor. */
function targetsOf(b: Browser): Target[] {
  const selected = b.selected.peek()
  const here = b.at(b.cursor.peek())
  const chosen = selected.size > 0 ? [...itemsOf(b)].filter((item) => selected.has(item.key)) : here?.kind === 'item' ? [here.item] : []
  const targets = chosen.map((item): Target => (item.kind === 'key' ? { kind: 'key', key: item.key, mod: item.mod } : { kind: item.kind, key: item.key }))
  // Keys below a prefix that is deleted are not deleted, or counted, twice.
  const prefixes = targets.filter((x) => x.kind !== 'key').map((x) => x.key)
  return targets.filter((x) => !prefixes.some((p) => p !== x.key && x.key.startsWith(p)))
}

/** The prefix that the row with the cursor is in. */
function prefixAt(b: Browser): Bytes {
  const row = b.at(b.cursor.peek())
  if (row?.kind !== 'item') return b.prefix.peek()
  return row.item.kind !== 'key' && row.open ? row.item.key : row.branch.prefix
}

function Foot({ browser: b, onDelete }: { browser: Browser; onDelete: () => void }) {
  const n = b.selected.value.size
  useEffect(() => () => b.clear(), [])
  if (n === 0) return <SearchFoot browser={b} />
  return (
    <div class="actionbar">
      <span class="grow">{t().keys.selected(count(n), n)}</span>
      <button class="button" onClick={() => b.clear()}>
        {t().keys.clear}
      </button>
      {!readOnly.value && (
        <button class="button danger" onClick={onDelete}>
          <Icon name="trash" />
          {t().delete}
        </button>
      )}
    </div>
  )
}
