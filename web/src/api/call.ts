// Requests to the server: the console's own API and the JSON gateway. All are POSTs, so that no key
// and no value is in a URL. The session's cookie is HttpOnly: no script sees the token.

import { signal } from '@preact/signals'

/** An error as the server reports it. code is gRPC's number. */
export class ApiError extends Error {
  readonly code: number
  readonly status: number
  constructor(message: string, code: number, status: number) {
    super(message.replace(/^etcdserver: /, ''))
    this.code = code
    this.status = status
  }
}

export const Code = {
  invalid: 3,
  notFound: 5,
  denied: 7,
  busy: 8,
  precondition: 9,
  outOfRange: 11,
  unavailable: 14,
  unauthenticated: 16,
} as const

/** Counts the responses that say that the client is not logged in. The session is requested then. */
export const loggedOut = signal(0)

/** Whether the last request reached the server. */
export const online = signal(true)

const headers = { 'Content-Type': 'application/json', 'X-Cairn-Console': '1' }

/** Sends a request and returns the response, whose status is 200. */
export async function send(path: string, body: unknown, stop?: AbortSignal): Promise<Response> {
  let response: Response
  try {
    response = await fetch(path, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
      signal: stop,
      credentials: 'same-origin',
      cache: 'no-store',
    })
  } catch (e) {
    if (stop?.aborted) throw e
    online.value = false
    throw new ApiError('the server cannot be reached', Code.unavailable, 0)
  }
  online.value = true
  if (response.ok) return response
  const text = await response.text()
  let message = text.trim() || response.statusText
  let code = -1
  try {
    const parsed = JSON.parse(text)
    message = parsed.message ?? parsed.error ?? message
    code = parsed.code ?? code
  } catch {
    // not JSON: the text is the message
  }
  if (code === Code.unauthenticated || response.status === 401) loggedOut.value++
  throw new ApiError(message, code, response.status)
}

const parsed = async <T>(response: Promise<Response>): Promise<T> => (await response).json()

/** A request of the console's own API. */
export const api = <T>(name: string, body: unknown = {}, stop?: AbortSignal): Promise<T> =>
  parsed(send('/console/api/' + name, body, stop))

/** A request of the JSON gateway. */
export const v3 = <T>(path: string, body: unknown = {}, stop?: AbortSignal): Promise<T> =>
  parsed(send('/v3/' + path, body, stop))

/** Whether an error is only that the caller has stopped waiting. */
export const stopped = (e: unknown): boolean => e instanceof DOMException && e.name === 'AbortError'
