// Users, roles and permissions; leases; locks and elections.

import { type Bytes, fromBase64, toBase64 } from '../lib/bytes.ts'
import { api, v3 } from './call.ts'

export type Kind = 'READ' | 'WRITE' | 'READWRITE'

/** A permission; end is "" for the one key, and "\0" for all keys from key on. */
export interface Permission {
  kind: Kind
  key: Bytes
  end: Bytes
}

export interface User {
  name: string
  roles: string[]
}

export interface Role {
  name: string
  permissions: Permission[]
}

interface WirePermission {
  permType?: Kind
  type?: Kind
  key?: string
  range_end?: string
}

const permission = (w: WirePermission): Permission => ({
  kind: w.permType ?? w.type ?? 'READ',
  key: fromBase64(w.key),
  end: fromBase64(w.range_end),
})

export async function users(stop?: AbortSignal): Promise<User[]> {
  const { users: names } = await v3<{ users?: string[] }>('auth/user/list', {}, stop)
  return Promise.all(
    (names ?? []).map(async (name) => {
      const { roles } = await v3<{ roles?: string[] }>('auth/user/get', { name }, stop)
      return { name, roles: roles ?? [] }
    }),
  )
}

export async function roles(stop?: AbortSignal): Promise<Role[]> {
  const { roles: names } = await v3<{ roles?: string[] }>('auth/role/list', {}, stop)
  return Promise.all(
    (names ?? []).map(async (name) => {
      const { perm } = await v3<{ perm?: WirePermission[] }>('auth/role/get', { role: name }, stop)
      return { name, permissions: (perm ?? []).map(permission) }
    }),
  )
}

export const addUser = (name: string, password: string) =>
  v3('auth/user/add', password === '' ? { name, options: { no_password: true } } : { name, password })
export const deleteUser = (name: string) => v3('auth/user/delete', { name })
export const setPassword = (name: string, password: string) => v3('auth/user/changepw', { name, password })
export const grantRole = (user: string, role: string) => v3('auth/user/grant', { user, role })
export const revokeRole = (name: string, role: string) => v3('auth/user/revoke', { name, role })
export const addRole = (name: string) => v3('auth/role/add', { name })
export const deleteRole = (role: string) => v3('auth/role/delete', { role })
export const grant = (name: string, p: Permission) =>
  v3('auth/role/grant', { name, perm: { permType: p.kind, key: toBase64(p.key), range_end: toBase64(p.end) } })
export const revoke = (role: string, p: Permission) =>
  v3('auth/role/revoke', { role, key: toBase64(p.key), range_end: toBase64(p.end) })
export const enableAuth = () => v3('auth/enable')
export const disableAuth = () => v3('auth/disable')

export interface Verdict {
  allowed: boolean
  root: boolean
  by: { role: string; permission: Permission }[]
  reason: string
}

interface WireVerdict {
  allowed?: boolean
  root?: boolean
  by?: { role: string; permission: WirePermission }[] | null
  reason?: string
}

const verdict = (w: WireVerdict, root: boolean | undefined): Verdict => ({
  allowed: w.allowed ?? false,
  root: w.root ?? root ?? false,
  by: (w.by ?? []).map((b) => ({ role: b.role, permission: permission(b.permission) })),
  reason: w.reason ?? '',
})

/** Whether a user may read and write a range, and which permissions decide. */
export async function may(user: string, key: Bytes, end: Bytes): Promise<{ read: Verdict; write: Verdict }> {
  const r = await api<{ root?: boolean; read: WireVerdict; write: WireVerdict }>('permission', {
    user,
    key: toBase64(key),
    range_end: toBase64(end),
  })
  return { read: verdict(r.read, r.root), write: verdict(r.write, r.root) }
}

export interface Lease {
  id: string
  ttl: number
  /** When it ends, in ms of this browser's clock. */
  ends: number
  keys: Bytes[]
  keyCount: number
}

export async function leases(from: string, stop?: AbortSignal): Promise<{ leases: Lease[]; next: string; hidden: number }> {
  const r = await api<{
    leases: { id: string; ttl?: number; left?: number; keys?: string[] | null; key_count?: number }[] | null
    next?: string
    hidden_keys?: number
  }>('leases', { from, limit: 200, keys: 20 }, stop)
  return {
    leases: (r.leases ?? []).map((l) => ({
      id: l.id,
      ttl: l.ttl ?? 0,
      ends: Date.now() + (l.left ?? 0) * 1000,
      keys: (l.keys ?? []).map(fromBase64),
      keyCount: l.key_count ?? l.keys?.length ?? 0,
    })),
    next: r.next ?? '',
    hidden: r.hidden_keys ?? 0,
  }
}

export async function grantLease(seconds: number): Promise<string> {
  const r = await v3<{ ID: string }>('lease/grant', { TTL: String(seconds), ID: '0' })
  return r.ID
}

export const revokeLease = (id: string) => v3('lease/revoke', { ID: id })

export interface Claim {
  key: Bytes
  lease: string
  revision: number
  ends: number
  value: Bytes
}

export interface Lock {
  name: Bytes
  kind: 'lock' | 'election'
  holder: Claim | null
  waiters: Claim[]
  waiterCount: number
}

interface WireClaim {
  key: string
  lease: string
  create_revision?: number
  left?: number
  value?: string
}

const claim = (w: WireClaim): Claim => ({
  key: fromBase64(w.key),
  lease: w.lease,
  revision: w.create_revision ?? 0,
  ends: w.left === undefined || w.left < 0 ? 0 : Date.now() + w.left * 1000,
  value: fromBase64(w.value),
})

export async function locks(stop?: AbortSignal): Promise<{ locks: Lock[]; complete: boolean }> {
  const r = await api<{
    locks: { name: string; kind: 'lock' | 'election'; holder?: WireClaim; waiters?: WireClaim[] | null; waiter_count?: number }[] | null
    complete?: boolean
  }>('locks', { prefix: '' }, stop)
  return {
    locks: (r.locks ?? []).map((l) => ({
      name: fromBase64(l.name),
      kind: l.kind,
      holder: l.holder ? claim(l.holder) : null,
      waiters: (l.waiters ?? []).map(claim),
      waiterCount: l.waiter_count ?? l.waiters?.length ?? 0,
    })),
    complete: r.complete ?? true,
  }
}
