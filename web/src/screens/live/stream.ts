// The events of a watch, as many as are kept. The watch goes on while other screens are shown.

import { batch, computed, signal } from '@preact/signals'
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
/** Events that came since the list was last drawn. */
let arrived: Event[] = []
const drawEvery = 100 // ms; a list that is drawn for each of a thousand events a second stops the page
export const waitingCount = computed(() => waiting.value.length)
export const dropped = computed(() => total.value - events.value.length - waiting.value.length)

const searchedMax = 4096 // bytes of a value that the filter looks at

/** Whether the filter lets an event through; each event is looked at once. */
const matches = computed(() => {
  const text = filter.value.toLowerCase()
  const has = (b: Bytes) => show(b).toLowerCase().includes(text)
  const known = new WeakMap<Event, boolean>()
  return (e: Event): boolean => {
    const found = known.get(e) ?? (has(e.key) || has(e.value.slice(0, searchedMax)))
    known.set(e, found)
    return found
  }
})

/** What the list shows, the newest last. */
export const shown = computed(() => (filter.value === '' ? events.value : events.value.filter(matches.value)))

const rateSeconds = 5
let counts: number[] = []
let timer: ReturnType<typeof setInterval> | undefined
let drawing: ReturnType<typeof setTimeout> | undefined
let stopWatch: (() => void) | null = null

function add(more: Event[]): void {
  counts[counts.length - 1] += more.length
  arrived = arrived.concat(more)
  drawing ??= setTimeout(draw, drawEvery)
}

function draw(): void {
  clearTimeout(drawing)
  drawing = undefined
  const list = paused.peek() ? waiting : events
  batch(() => {
    total.value += arrived.length
    list.value = [...list.peek(), ...arrived].slice(-kept)
  })
  arrived = []
}

export function start(): void {
  stop()
  clear()
  compacted.value = 0
  reason.value = ''
  counts = [0]
  timer = setInterval(() => {
    perSecond.value = counts.reduce((a, b) => a + b, 0) / counts.length
    counts = [...counts.slice(1 - rateSeconds), 0]
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
  draw()
  clearInterval(timer)
  perSecond.value = 0
  state.value = 'idle'
}

export function togglePause(): void {
  draw()
  paused.value = !paused.value
  if (paused.value) return
  events.value = [...events.peek(), ...waiting.peek()].slice(-kept)
  waiting.value = []
}

export function clear(): void {
  arrived = []
  events.value = []
  waiting.value = []
  total.value = 0
}
