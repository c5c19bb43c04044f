// Work that is done again and again while the page is visible.

/** Runs work every so many ms while the page is visible, and at once when it becomes visible again.
 * The next run is timed when one has ended. Call the result to end it. */
export function repeat(work: () => Promise<void>, every: () => number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined
  let working = false
  let over = false
  const run = async () => {
    clearTimeout(timer)
    if (over || working || document.hidden) return
    working = true
    await work()
    working = false
    if (!over) timer = setTimeout(() => void run(), every())
  }
  const onChange = () => void run()
  document.addEventListener('visibilitychange', onChange)
  timer = setTimeout(() => void run(), every())
  return () => {
    over = true
    clearTimeout(timer)
    document.removeEventListener('visibilitychange', onChange)
  }
}
