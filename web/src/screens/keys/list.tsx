// The list of keys: a tree whose prefixes open, or what a search has found.

import { useEffect } from 'preact/hooks'
import type { DirInfo, KeyInfo } from '../../api/keys.ts'
import { explain } from '../../api/errors.ts'
import { show } from '../../lib/bytes.ts'
import { count, size } from '../../lib/format.ts'
import type { Row } from '../../lib/tree.ts'
import { t } from '../../text/index.ts'
import { Icon } from '../../ui/icons.tsx'
import { Left } from '../../ui/parts.tsx'
import { Virtual } from '../../ui/virtual.tsx'
import type { Browser } from './browser.ts'

const rowHeight = 28

interface ListProps {
  browser: Browser
  id: string
  onOpen: (row: Row) => void
  /** Rows can be selected. */
  selectable: boolean
}

export function KeyList({ browser, id, onOpen, selectable }: ListProps) {
  const { length, cursor } = browser
  void browser.changes.value
  useEffect(() => browser.begin(), [browser])
  const head = (
    <div class="list-head key-row" role="row">
      <span role="columnheader" class="unseen">
        {t().keys.select}
      </span>
      <span role="columnheader" class="key-name">
        {t().keys.name}
      </span>
      <span role="columnheader" class="num c-size">
        {t().keys.size}
      </span>
      <span role="columnheader" class="num c-version">
        {t().keys.version}
      </span>
      <span role="columnheader" class="num c-created">
        {t().keys.created}
      </span>
      <span role="columnheader" class="num c-mod">
        {t().keys.mod}
      </span>
      <span role="columnheader" class="c-lease">
        {t().keys.lease}
      </span>
      <span role="columnheader" class="num c-ttl">
        {t().keys.ttl}
      </span>
    </div>
  )
  return (
    <Virtual
      class="key-list"
      length={length.value}
      rowHeight={rowHeight}
      cursor={cursor.value}
      reveal={browser.reveals.value}
      shift={browser.shift.value}
      onSee={(first, last) => browser.see(first, last)}
      head={head}
      attrs={{
        role: 'treegrid',
        'aria-label': t().keys.title,
        'aria-rowcount': length.value + 1,
        'aria-multiselectable': selectable,
        'aria-activedescendant': length.value > 0 ? `${id}-${cursor.value}` : undefined,
        tabIndex: 0,
        id,
      }}
      row={(i) => <ListRow key={i} browser={browser} id={id} position={i} onOpen={onOpen} selectable={selectable} />}
    />
  )
}

interface RowProps extends ListProps {
  position: number
}

function ListRow({ browser, id, position, onOpen, selectable }: RowProps) {
  void browser.changes.value // the row at a position changes with the tree
  const row = browser.at(position)
  if (!row) return null
  const here = browser.cursor.value === position
  const common = { id: `${id}-${position}`, role: 'row' as const, 'aria-rowindex': position + 2, 'aria-level': row.depth + 1 }
  if (row.kind === 'more') {
    return (
      <div {...common} class={'list-row' + (here ? ' cursor' : '')} onClick={() => void browser.tree.loadRow(row)}>
        <span role="gridcell" class={row.gap.error ? 'soon' : 'faint'} style={indent(row.depth)} title={row.gap.error ? explain(row.gap.error).original : undefined}>
          {row.gap.error ? explain(row.gap.error).text : t().keys.more}
        </span>
      </div>
    )
  }
  const { item } = row
  const selected = browser.selected.value.has(item.key)
  return (
    <div
      {...common}
      class={'list-row key-row' + (here ? ' cursor' : '')}
      aria-selected={selected || browser.open.value === item.key}
      aria-expanded={item.kind === 'key' ? undefined : row.open}
      onClick={(e) => {
        browser.cursor.value = position
        if (selectable && (e.ctrlKey || e.metaKey)) browser.select(item.key)
        else onOpen(row)
      }}
    >
      <span role="gridcell" class="c-select">
        {selectable && (
          <input
            type="checkbox"
            tabIndex={-1}
            checked={selected}
            aria-label={`${t().keys.select} ${show(item.key)}`}
            onClick={(e) => {
              e.stopPropagation()
              browser.select(item.key)
            }}
          />
        )}
      </span>
      {item.kind === 'key' ? <KeyCells item={item} depth={row.depth} whole={!!browser.found.value} /> : <DirCells item={item} row={row} />}
    </div>
  )
}

const indent = (depth: number) => ({ paddingLeft: `${Math.min(depth, 20) * 16}px` })

function KeyCells({ item, depth, whole }: { item: KeyInfo; depth: number; whole: boolean }) {
  const name = whole ? item.key : item.name
  return (
    <>
      <span role="gridcell" class="key-name" style={indent(depth)}>
        <span class="twist" />
        <bdi class="key" title={show(item.key)}>
          {name === '' ? t().keys.emptyKey : show(name)}
        </bdi>
      </span>
      <span role="gridcell" class="num c-size">
        {size(item.size)}
      </span>
      <span role="gridcell" class="num c-version faint">
        {count(item.version)}
      </span>
      <span role="gridcell" class="num c-created faint">
        {count(item.create)}
      </span>
      <span role="gridcell" class="num c-mod">
        {count(item.mod)}
      </span>
      <span role="gridcell" class="c-lease faint mono">
        {item.lease === '0' ? '' : leaseName(item.lease)}
      </span>
      <span role="gridcell" class="num c-ttl">
        <Left ends={item.ends} />
      </span>
    </>
  )
}

function DirCells({ item, row }: { item: DirInfo; row: Row & { kind: 'item' } }) {
  return (
    <>
      <span role="gridcell" class="key-name" style={indent(row.depth)}>
        <span class="twist">
          <Icon name={row.open ? 'down' : 'right'} />
        </span>
        <bdi class="key" title={show(item.key)}>
          {show(item.name)}
        </bdi>
        {item.kind === 'dir' && <span class="tag">{t().keys.directory}</span>}
      </span>
      <span role="gridcell" class="num faint">
        {item.count < 0 ? '' : t().keys.count(count(item.count), item.count)}
      </span>
      <span role="gridcell" class="num c-ttl">
        <Left ends={item.ends} />
      </span>
    </>
  )
}

/** A lease's ID as etcdctl writes it. */
export const leaseName = (id: string): string => BigInt.asUintN(64, BigInt(id)).toString(16).padStart(16, '0')
