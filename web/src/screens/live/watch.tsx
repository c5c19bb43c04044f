// The list of a watch's events.

import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { parse, preview, show } from '../../lib/bytes.ts'
import { clock, count, rate } from '../../lib/format.ts'
import { register } from '../../lib/keyboard.ts'
import { go } from '../../lib/route.ts'
import { t } from '../../text/index.ts'
import { CommitInput } from '../../ui/commit-input.tsx'
import { Icon } from '../../ui/icons.tsx'
import { Empty, ErrorText } from '../../ui/parts.tsx'
import { Virtual } from '../../ui/virtual.tsx'
import { browser } from '../keys/browser.ts'
import * as stream from './stream.ts'

export function Watch({ tabs }: { tabs: ComponentChildren }) {
  const l = t().live
  const running = stream.state.value === 'open' || stream.state.value === 'reconnecting'
  useEffect(
    () =>
      register(
        () => t().live.watch,
        [{ keys: ['p', ' '], help: () => t().commands.pause, run: () => running && stream.togglePause() }],
      ),
    [running],
  )
  return (
    <>
      <div class="toolbar">
        {tabs}
        <form
          class="row"
          onSubmit={(e) => {
            e.preventDefault()
            if (running) stream.stop()
            else stream.start()
          }}
        >
          <CommitInput
            class="input prefix"
            name="watch-prefix"
            aria-label={l.prefixHint}
            placeholder={l.prefix}
            disabled={running}
            text={show(stream.prefix.value)}
            onCommit={(text) => (stream.prefix.value = parse(text))}
          />
          <button class={running ? 'button' : 'button primary'}>{running ? l.stop : l.start}</button>
        </form>
        <button class="button" aria-pressed={stream.paused.value} disabled={!running} onClick={stream.togglePause}>
          <Icon name={stream.paused.value ? 'play' : 'pause'} />
          {stream.paused.value ? l.resume : l.pause}
        </button>
        <input
          class="input"
          name="filter"
          type="search"
          autocomplete="off"
          aria-label={l.filterHint}
          placeholder={l.filter}
          value={stream.filter.value}
          onInput={(e) => (stream.filter.value = e.currentTarget.value)}
        />
        <button class="button plain" onClick={stream.clear}>
          {l.clear}
        </button>
        <span class="grow" />
        <span class="soft num" role="status">
          {running && `${l.rate(rate(stream.perSecond.value))} · `}
          {l.total(count(stream.total.value), stream.total.value)}
          {stream.dropped.value > 0 && `, ${l.dropped(count(stream.dropped.value), stream.dropped.value)}`}
        </span>
      </div>
      {stream.state.value === 'reconnecting' && <div class="banner">{l.reconnecting}</div>}
      {stream.state.value === 'ended' && (
        <div class="banner" role="alert">
          {l.lost} {stream.reason.value !== '' && <ErrorText e={stream.reason.value} />}
        </div>
      )}
      {stream.compacted.value > 0 && <div class="banner">{l.compacted(count(stream.compacted.value))}</div>}
      {stream.paused.value && <div class="banner">{l.paused(count(stream.waitingCount.value), stream.waitingCount.value)}</div>}
      <Events />
    </>
  )
}

function Events() {
  const events = stream.shown.value
  if (events.length === 0) return <Empty>{stream.state.value === 'idle' ? t().live.idle : t().live.waiting}</Empty>
  return (
    <Virtual
      class="events"
      length={events.length}
      rowHeight={26}
      follow={!stream.paused.value}
      attrs={{ tabIndex: 0, role: 'log', 'aria-label': t().live.watch, 'aria-live': 'off' }}
      row={(i) => {
        const e = events[i]
        return (
          <div key={`${e.mod} ${e.key}`} class="list-row event-row">
            <span class="faint">{clock(e.at)}</span>
            <span class="num faint">{count(e.mod)}</span>
            <span class={e.type === 'put' ? 'tag good' : 'tag bad'}>{e.type === 'put' ? t().live.put : t().live.delete}</span>
            <button
              class="link"
              tabIndex={-1}
              onClick={() => {
                browser.show(e.key)
                go('keys')
              }}
            >
              <bdi class="key">{show(e.key)}</bdi>
            </button>
            <bdi class="key soft">{preview(e.value)}</bdi>
          </div>
        )
      }}
    />
  )
}
