// JSON is laid out by its tokens and never by its values: JSON.parse and JSON.stringify would change
// large numbers, repeated names and the writing of strings, which the user did not request.

const token = /\s+|"(?:[^"\\]|\\[^])*"|[[\]{}:,]|[^\s[\]{}:,"]+/g

/** Whether a text is JSON. */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Whether a text is a JSON object or array: what is worth showing as JSON. */
export const isJsonDocument = (text: string): boolean => /^\s*[[{]/.test(text) && isJson(text)

/** JSON with a line for each element, indented by two spaces. */
export function layOut(text: string): string {
  const out: string[] = []
  let depth = 0
  let last = ''
  const line = () => out.push('\n', '  '.repeat(depth))
  for (const [t] of text.matchAll(token)) {
    if (/^\s/.test(t)) continue
    if (t === '}' || t === ']') {
      depth--
      if (last !== '{' && last !== '[') line()
    } else if (last === '{' || last === '[' || last === ',') {
      line()
    }
    out.push(t === ':' ? ': ' : t)
    if (t === '{' || t === '[') depth++
    last = t
  }
  return out.join('')
}

/** JSON without spaces and line breaks. */
export const compact = (text: string): string => [...text.matchAll(token)].map(([t]) => (/^\s/.test(t) ? '' : t)).join('')

/** Whether a JSON text was written without any space between its tokens. */
export const isCompact = (text: string): boolean => compact(text) === text
