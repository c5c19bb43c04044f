// Charts of the last hour, from the member's own counters.

import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import { stats, type Stats } from '../../api/stats.ts'
import { count, duration, rate, size } from '../../lib/format.ts'
import { lang } from '../../lib/lang.ts'
import { isDark } from '../../lib/theme.ts'
import { t } from '../../text/index.ts'
import { useLoad } from '../../ui/load.ts'
import { Empty, Failure } from '../../ui/parts.tsx'

const pollEvery = 10_000 // ms, as often as the member samples

type Title = 'requests' | 'latency' | 'fsync' | 'sizes' | 'watchers' | 'leases' | 'traffic' | 'process'

interface Panel {
  title: Title
  series: string[]
  format: (n: number) => string
  /** The distances that the lines of the grid may have. */
  steps?: number[]
}

const powersOfTwo = Array.from({ length: 50 }, (_, i) => 2 ** i)
const whole = Array.from({ length: 30 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3))

const milliseconds = (n: number): string => duration(n / 1000)

const panels: Panel[] = [
  {
    title: 'requests',
    series: ['requests_range', 'requests_put', 'requests_txn', 'requests_delete', 'requests_lease', 'requests_v2', 'requests_failed'],
    format: rate,
  },
  { title: 'latency', series: ['latency_p50', 'latency_p90', 'latency_p99'], format: milliseconds },
  { title: 'fsync', series: ['fsync_p50', 'fsync_p99', 'commit_p99'], format: milliseconds },
  { title: 'sizes', series: ['db_bytes', 'db_in_use_bytes'], format: size, steps: powersOfTwo },
  { title: 'watchers', series: ['watchers', 'watchers_slow'], format: count, steps: whole },
  { title: 'leases', series: ['leases'], format: count, steps: whole },
  { title: 'traffic', series: ['received_bytes', 'sent_bytes'], format: size, steps: powersOfTwo },
  { title: 'process', series: ['memory_bytes'], format: size, steps: powersOfTwo },
]

export function Charts({ tabs }: { tabs: ComponentChildren }) {
  const loaded = useLoad(stats, [], pollEvery)
  const data = loaded.data
  return (
    <>
      <div class="toolbar">
        {tabs}
        <span class="faint">{t().live.lastHour}</span>
      </div>
      <div class="page" tabIndex={0} role="region" aria-label={t().live.charts}>
        {loaded.error ? <Failure e={loaded.error} retry={loaded.reload} /> : null}
        {data && data.times.length === 0 && <Empty>{t().live.noSamples}</Empty>}
        {data && data.times.length > 0 && (
          <div class="charts">
            {panels
              .filter((p) => p.series.some((s) => data.series.has(s)))
              .map((p) => (
                <Chart key={`${p.title} ${isDark.value} ${lang.value}`} panel={p} data={data} />
              ))}
          </div>
        )}
      </div>
    </>
  )
}

const css = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

function options(panel: Panel, names: string[], width: number, onPoint: (index: number | null) => void): uPlot.Options {
  const axis = {
    stroke: css('--ink-3'),
    grid: { stroke: css('--line-soft'), width: 1 },
    ticks: { show: false },
    font: `11px ${css('--sans')}`,
  }
  return {
    width,
    height: chartHeight,
    legend: { show: false },
    cursor: { y: false, points: { size: 6 }, sync: { key: 'live' }, drag: { x: false, y: false } },
    hooks: { setCursor: [(u) => onPoint(u.cursor.idx ?? null)] },
    padding: [8, 18, 0, 0], // the last label of the time axis is centered at its end
    // The time axis is the last hour, also while there are few samples.
    scales: { x: { range: (u) => [(u.data[0].at(-1) ?? 0) - hour, u.data[0].at(-1) ?? 0] }, y: { range: (_, __, max) => [0, max > 0 ? max * 1.1 : 1] } },
    axes: [
      { ...axis, size: 26, space: 80, values: (_, ticks) => ticks.map(timeOfDay) },
      { ...axis, size: 62, space: 28, ...(panel.steps ? { incrs: panel.steps } : {}), values: (_, ticks) => ticks.map((n) => panel.format(n)) },
    ],
    series: [{}, ...names.map((_, i) => ({ stroke: css(`--chart-${i + 1}`), width: 1.5, points: { size: 4, filter: alone }, spanGaps: false }))],
  }
}

/** The samples that no line leads to: those have a point. */
function alone(u: uPlot, series: number): number[] {
  const values = u.data[series]
  return Array.from(values.keys()).filter((i) => values[i] != null && values[i - 1] == null && values[i + 1] == null)
}

const chartHeight = 148
const hour = 3600 // s

const timeOfDay = (s: number): string => new Date(s * 1000).toLocaleTimeString(lang.value, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })

function Chart({ panel, data }: { panel: Panel; data: Stats }) {
  const host = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  /** The sample below the pointer; null for the latest. */
  const [point, setPoint] = useState<number | null>(null)
  const names = panel.series.filter((s) => data.series.has(s))
  const table: uPlot.AlignedData = [data.times, ...names.map((s) => data.series.get(s)!)]
  useEffect(() => {
    const el = host.current!
    plot.current = new uPlot(options(panel, names, el.clientWidth, setPoint), table, el)
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: el.clientWidth, height: chartHeight }))
    observer.observe(el)
    return () => {
      observer.disconnect()
      plot.current?.destroy()
      plot.current = null
    }
  }, [])
  useEffect(() => plot.current?.setData(table), [data])
  const value = (s: string): string => {
    const n = data.series.get(s)!.at(point ?? -1)
    return n === null || n === undefined ? '–' : panel.format(n)
  }
  return (
    <figure class="chart" aria-label={t().live[panel.title]}>
      <figcaption>
        <b>{t().live[panel.title]}</b>
        <ul class="legend">
          {names.map((s, i) => (
            <li key={s}>
              <i class={`swatch chart-${i + 1}`} />
              {t().live.series[s] ?? s} <b>{value(s)}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={host} aria-hidden="true" />
    </figure>
  )
}
