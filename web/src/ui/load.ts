// Data that a screen loads from the server.

import { useEffect, useState } from 'preact/hooks'
import { stopped } from '../api/call.ts'
import { expired } from '../api/session.ts'
import { repeat } from '../lib/visible.ts'

export interface Loaded<T> {
  data: T | null
  error: unknown
  reload: () => void
}

/** Requests data when a component is first shown, when one of deps changes, at reload, and every so
 * many ms while the page is visible. The data of the last response stays until the next one. */
export function useLoad<T>(request: (stop: AbortSignal) => Promise<T>, deps: unknown[], every = 0): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; error: unknown }>({ data: null, error: null })
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    const stop = new AbortController()
    const run = async () => {
      try {
        const data = await request(stop.signal)
        if (!stop.signal.aborted) setState({ data, error: null })
      } catch (error) {
        if (!stop.signal.aborted && !stopped(error)) setState((s) => ({ data: s.data, error }))
      }
    }
    const first = run()
    const end = every > 0 ? repeat(async () => void (await first, expired.peek() || (await run())), () => every) : undefined
    return () => {
      stop.abort()
      end?.()
    }
  }, [...deps, turn])
  return { ...state, reload: () => setTurn((n) => n + 1) }
}
