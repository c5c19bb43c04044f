// The user of the console, and the member that serves it.

import { computed, effect, signal } from '@preact/signals'
import { type Bytes, fromBase64 } from '../lib/bytes.ts'
import { discard } from '../lib/unsaved.ts'
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

/** Whether the session has ended without a log-out. Its user's data stays in the page, so that the
 * same user goes on from there; session has what was known last. */
export const expired = signal(false)

/** Whose data the page shows: a user's name, '' while authentication is off, null before a log-in. */
const ownerOf = (s: Session | null): string | null => (!s ? null : s.auth_enabled ? s.user || null : '')

/** Takes the session that the server reports. Nothing of another user's data stays in the page. */
function adopt(s: Session): void {
  const [before, now] = [ownerOf(session.value), ownerOf(s)]
  expired.value = before !== null && now === null
  if (expired.value) return
  if (before !== null && before !== now) return restart()
  session.value = s
}

/** Loads the page again, which drops all data; changes that were not saved, too. */
function restart(): void {
  discard()
  location.reload()
}

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
    adopt(await api<Session>('session'))
    sessionError.value = null
  } catch (e) {
    sessionError.value = e
  }
}

export async function login(user: string, password: string): Promise<void> {
  adopt(await api<Session>('login', { user, password }))
}

export async function logout(): Promise<void> {
  await api<Session>('logout')
  restart()
}

let seen = 0
effect(() => {
  if (loggedOut.value === seen) return
  seen = loggedOut.value
  void refreshSession()
})
