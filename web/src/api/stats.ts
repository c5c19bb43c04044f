// The figures that the member has sampled, kept here for an hour.

import { api } from './call.ts'

interface Wire {
  now: number
  interval: number
  series: string[]
  samples: (number | null)[][] | null
}

/** Times in seconds, and the values of each series at these times. */
export interface Stats {
  times: number[]
  series: Map<string, (number | null)[]>
}

const hour = 3600_000 // ms

let rows: (number | null)[][] = []
let names: string[] = []

/** Requests the samples since the last call and returns those of the last hour. */
export async function stats(stop?: AbortSignal): Promise<Stats> {
  const since = rows.at(-1)?.[0] ?? 0
  const wire = await api<Wire>('stats', { since }, stop)
  if (wire.series.join() !== names.join()) {
    rows = []
    names = wire.series
  }
  const last = rows.at(-1)?.[0] ?? 0
  for (const sample of wire.samples ?? []) if (sample[0]! > last) rows.push(sample)
  rows = rows.filter((r) => r[0]! > wire.now - hour)
  return {
    times: rows.map((r) => r[0]! / 1000),
    series: new Map(names.map((name, i) => [name, rows.map((r) => r[i + 1] ?? null)])),
  }
}
