// Numbers as people read them, in the language of the console.

import { lang } from './lang.ts'

const formats = new Map<string, Intl.NumberFormat>()

/** A whole number with its thousands grouped. */
export function count(n: number): string {
  let format = formats.get(lang.value)
  if (!format) formats.set(lang.value, (format = new Intl.NumberFormat(lang.value)))
  return format.format(n)
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/** A number of bytes with three digits at most. */
export function size(n: number): string {
  let unit = 0
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024
    unit++
  }
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`
}

/** Days, hours, minutes, seconds. */
const timeUnits = { en: ['d', 'h', 'min', 's'], 'zh-CN': ['天', '小时', '分', '秒'] }

/** Seconds as the two largest units: 1 h 5 min, 42 s, 3.2 ms. */
export function duration(s: number): string {
  if (s > 0 && s < 0.001) return `${Math.round(s * 1e6)} µs`
  if (s > 0 && s < 1) return `${(s * 1000).toFixed(s < 0.1 ? 1 : 0)} ms`
  const [d, h, min, sec] = timeUnits[lang.value]
  if (s < 60) return `${Math.round(s)} ${sec}`
  const parts: [number, string][] = [[86400, d], [3600, h], [60, min], [1, sec]]
  const first = parts.findIndex(([n]) => s >= n)
  const [n, unit] = parts[first]
  const rest = first + 1 < parts.length ? Math.floor((s % n) / parts[first + 1][0]) : 0
  return `${Math.floor(s / n)} ${unit}${rest > 0 ? ` ${rest} ${parts[first + 1][1]}` : ''}`
}

/** A rate with few digits: 0, 0.3, 12, 1.2k. */
export function rate(n: number): string {
  if (n >= 10000) return `${(n / 1000).toFixed(0)}k`
  if (n >= 1000) return `${(n / 1000).toFixed(1)}k`
  return n >= 10 || n === 0 ? String(Math.round(n)) : n.toFixed(1)
}

/** A time of day with seconds. */
export const clock = (d: Date): string => d.toLocaleTimeString(lang.value, { hour12: false })

/** A day and a time of day with seconds. */
export const moment = (d: Date): string =>
  d.toLocaleString(lang.value, { year: 'numeric', month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })

/** A day. */
export const day = (d: Date): string => d.toLocaleDateString(lang.value, { year: 'numeric', month: 'short', day: 'numeric' })
