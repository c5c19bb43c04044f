// The events of a watch, as many as are kept. The watch goes on while other screens are shown.

import { computed, signal } from '@preact/signals'
import { type Event, watch } from '../../api/watch.ts'
import { type Bytes, show } from '../../lib/bytes.ts'

const kept = 10_000

export const prefix = signal<Bytes>('')
export const state = signal<'idle' | 'open' | 'reconnecting' | 'ended'>('idle')
export const reason = signal('')
export const compacted = signal(0)
export const paused = signal(false)
export const filter = signal('')
/** All events since the start, those that are not kept included. */
export const total = signal(0)
/** Events per second, over the last five seconds. */
export const perSecond = signal(0)

const events = signal<Event[]>([])
/** Events that came while the list was paused. */
const waiting = signal<Event[]>([])
export const waitingCount = computed(() => waiting.value.length)
export const dropped = computed(() => total.value - events.value.length - waiting.value.length)

/** What the list shows, the newest last. */
export const shown = computed(() => {
  const text = filter.value.toLowerCase()
  if (text === '') return events.value
  return events.value.filter((e) => show(e.key).toLowerCase().includes(text) || show(e.value.slice(0, 4096)).toLowerCase().includes(text))
})

const window = 5 // seconds of the rate
let counts: number[] = []
let timer: ReturnType<typeof setInterval> | undefined
let stopWatch: (() => void) | null = null

function add(more: Event[]): void {
  total.value += more.length
  counts[counts.length - 1] += more.length
  const list = paused.peek() ? waiting : events
  list.value = [...list.peek(), ...more].slice(-kept)
}

export function start(): void {
  stop()
  events.value = []
  waiting.value = []
  total.value = 0
  compacted.value = 0
  reason.value = ''
  counts = [0]
  timer = setInterval(() => {
    perSecond.value = counts.reduce((a, b) => a + b, 0) / counts.length
    counts = [...counts.slice(1 - window), 0]
  }, 1000)
  stopWatch = watch(prefix.peek(), {
    events: add,
    state: (s) => (state.value = s),
    compacted: (revision) => (compacted.value = revision),
    ended: (why) => {
      state.value = 'ended'
      reason.value = why
    },
  })
}

export function stop(): void {
  stopWatch?.()
  stopWatch = null
  clearInterval(timer)
  perSecond.value = 0
  state.value = 'idle'
}

export function togglePause(): void {
  paused.value = !paused.value
  if (paused.value) return
  events.value = [...events.peek(), ...waiting.peek()].slice(-kept)
  waiting.value = []
}

export function clear(): void {
  events.value = []
  waiting.value = []
  total.value = 0
}
