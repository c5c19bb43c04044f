// The user of the console, and the member that serves it.

import { computed, effect, signal } from '@preact/signals'
import { type Bytes, fromBase64 } from '../lib/bytes.ts'
import { api, loggedOut } from './call.ts'

export interface Range {
  key: string
  range_end: string
}

export interface Session {
  auth_enabled: boolean
  user: string
  login: 'none' | 'password' | 'certificate'
  root: boolean
  read_only: boolean
  /** The connection is encrypted, or does not leave this machine. */
  secure?: boolean
  certificate_user?: string
  may_read: Range[]
  may_write: Range[]
  member_id: string
  member_name: string
  cluster_id: string
  version: string
  cairn: string
  revision: number
  compact_revision: number
  /** In the whole store; 0 for a user without the role root. */
  keys: number
  v2: boolean
  leader: boolean
}

/** null until the first response. */
export const session = signal<Session | null>(null)
/** Why there is no session: the error of the first request. */
export const sessionError = signal<unknown>(null)

export const needsLogin = computed(() => !!session.value?.auth_enabled && session.value.user === '')

/** Whether anything may be changed at all. */
export const readOnly = computed(() => session.value?.read_only ?? true)

const within = (key: Bytes, ranges: Range[]): boolean =>
  ranges.some((r) => {
    const start = fromBase64(r.key)
    const end = fromBase64(r.range_end)
    if (end === '') return key === start
    return key >= start && (end === '\0' || key < end)
  })

/** Whether the user has permission to write a key, as the session says. The server decides. */
export function mayWrite(key: Bytes): boolean {
  const s = session.value
  return !!s && !s.read_only && (s.root || within(key, s.may_write ?? []))
}

/** Whether the user has all permissions, and may use them. */
export const mayAdminister = computed(() => !!session.value?.root && !readOnly.value)

export async function refreshSession(): Promise<void> {
  try {
    session.value = await api<Session>('session')
    sessionError.value = null
  } catch (e) {
    sessionError.value = e
  }
}

export async function login(user: string, password: string): Promise<void> {
  session.value = await api<Session>('login', { user, password })
}

export async function logout(): Promise<void> {
  session.value = await api<Session>('logout')
}

let seen = 0
effect(() => {
  if (loggedOut.value === seen) return
  seen = loggedOut.value
  void refreshSession()
})
