// A watch over a websocket: each message is a response of etcd's Watch as JSON.

import { type Bytes, fromBase64, prefixEnd, toBase64 } from '../lib/bytes.ts'

export interface Event {
  type: 'put' | 'delete'
  key: Bytes
  value: Bytes
  mod: number
  version: number
  at: Date
}

export interface Handlers {
  events: (events: Event[]) => void
  state: (state: 'open' | 'reconnecting') => void
  compacted: (revision: number) => void
  /** The watch has ended for good. */
  ended: (reason: string) => void
}

interface WireEvent {
  type?: 'PUT' | 'DELETE'
  kv: { key: string; value?: string; mod_revision?: string; version?: string }
}

interface Wire {
  result?: {
    created?: boolean
    canceled?: boolean
    cancel_reason?: string
    compact_revision?: string
    header?: { revision?: string }
    events?: WireEvent[]
  }
  error?: { message?: string } | string
}

const retryFirst = 500 // ms
const retryMax = 10_000 // ms

/** Watches all keys with a prefix from now on. When the connection is lost it is made again, and the
 * watch goes on behind the last event. Call the result to end it. */
export function watch(prefix: Bytes, on: Handlers): () => void {
  let socket: WebSocket | null = null
  let next = 0 // the revision to go on from; 0 is now
  let over = false
  let wait = retryFirst
  let timer: ReturnType<typeof setTimeout> | undefined

  const end = (reason: string) => {
    over = true
    socket?.close()
    on.ended(reason)
  }
  const receive = (text: string) => {
    const message = JSON.parse(text) as Wire
    if (message.error) return end(typeof message.error === 'string' ? message.error : (message.error.message ?? ''))
    const r = message.result
    if (!r) return
    if (r.created) {
      wait = retryFirst
      if (!next) next = Number(r.header?.revision ?? 0) + 1
      on.state('open')
    }
    if (r.canceled) {
      const compacted = Number(r.compact_revision ?? 0)
      if (!compacted) return end(r.cancel_reason ?? '')
      next = compacted
      on.compacted(compacted)
      socket?.close() // and again from there
      return
    }
    if (!r.events?.length) return
    const at = new Date()
    const events = r.events.map((e): Event => ({
      type: e.type === 'DELETE' ? 'delete' : 'put',
      key: fromBase64(e.kv.key),
      value: fromBase64(e.kv.value),
      mod: Number(e.kv.mod_revision ?? 0),
      version: Number(e.kv.version ?? 0),
      at,
    }))
    next = events[events.length - 1].mod + 1
    on.events(events)
  }
  const connect = () => {
    const address = new URL('/v3/watch', location.href)
    address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:'
    socket = new WebSocket(address)
    socket.onopen = () => {
      const range = { key: toBase64(prefix || '\0'), range_end: toBase64(prefixEnd(prefix)) }
      socket?.send(JSON.stringify({ create_request: { ...range, start_revision: String(next) } }))
    }
    socket.onmessage = (m) => {
      if (!over) receive(String(m.data))
    }
    socket.onclose = () => {
      if (over) return
      on.state('reconnecting')
      timer = setTimeout(connect, wait)
      wait = Math.min(2 * wait, retryMax)
    }
  }
  connect()
  return () => {
    over = true
    clearTimeout(timer)
    socket?.close()
  }
}
