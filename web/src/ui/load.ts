// What a screen has asked the server for.

import { useEffect, useState } from 'preact/hooks'
import { stopped } from '../api/call.ts'

export interface Loaded<T> {
  data: T | null
  error: unknown
  reload: () => void
}

/** Asks when a part is first shown, when one of deps changes, at reload, and every so many ms while
 * the page is seen. What was there stays until the next answer is. */
export function useLoad<T>(ask: (stop: AbortSignal) => Promise<T>, deps: unknown[], every = 0): Loaded<T> {
  const [state, setState] = useState<{ data: T | null; error: unknown }>({ data: null, error: null })
  const [turn, setTurn] = useState(0)
  useEffect(() => {
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const run = async () => {
      if (!document.hidden) {
        try {
          const data = await ask(stop.signal)
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
