// A screen whose code is loaded when it is first shown.

import type { ComponentType } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { t } from '../text/index.ts'
import { Empty, Failure } from './parts.tsx'

export function Later({ load }: { load: () => Promise<ComponentType> }) {
  const [Loaded, setLoaded] = useState<ComponentType | null>(null)
  const [error, setError] = useState<unknown>(null)
  const start = () => {
    setError(null)
    load().then((c) => setLoaded(() => c), setError)
  }
  useEffect(start, [])
  if (error) return <Failure e={error} retry={start} />
  return Loaded ? <Loaded /> : <Empty>{t().loading}</Empty>
}
