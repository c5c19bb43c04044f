// A screen whose code is loaded when it is first shown.

import type { ComponentType } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { online } from '../api/call.ts'
import { t } from '../text/index.ts'
import { Empty, Failure } from './parts.tsx'

export function Later({ load }: { load: () => Promise<ComponentType> }) {
  const [Loaded, setLoaded] = useState<ComponentType | null>(null)
  const [failed, setFailed] = useState(false)
  const start = () => {
    setFailed(false)
    load().then((c) => setLoaded(() => c), () => setFailed(true))
  }
  // A server of another version has other files than those that this page names.
  const retry = () => (online.value ? location.reload() : start())
  useEffect(start, [])
  if (failed) return <Failure e={t().partMissing} retry={retry} />
  return Loaded ? <Loaded /> : <Empty>{t().loading}</Empty>
}
