// Data that a screen loads from the server.

import { useEffect, useState } from 'preact/hooks'
import { stopped } from '../api/call.ts'

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
    let timer: ReturnType<typeof setTimeout> | undefined
    const run = async () => {
      if (!document.hidden) {
        try {
          const data = await request(stop.signal)
          if (!stop.signal.aborted) setState({ data, error: null })
        } catch (error) {
          if (!stop.signal.aborted && !stopped(error)) setState((s) => ({ data: s.data, error }))
        }
      }
      if (every && !stop.signal.aborted) timer = setTimeout(() => void run(), every)
    }
    void run()
    return () => {
      stop.abort()
      clearTimeout(timer)
    }
  }, [...deps, turn])
  return { ...state, reload: () => setTurn((n) => n + 1) }
}
