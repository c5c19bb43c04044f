// The position of a list that may be higher than an element can be. The element has a part of the
// list's height then: small movements scroll by as many pixels of the list, and a large one, as of
// the scroll bar, goes to the part of the list that it points to.

/** The height that an element may have: Firefox has no higher ones than 17.8 million pixels. */
export const heightMax = 8_000_000

/** A movement by more than so many heights of the window is a jump. */
const jump = 4

/** How far small movements may take the list away from the place that the scroll bar shows. */
const driftMax = 50_000

/** What is needed of an element that scrolls. */
export interface Scroller {
  scrollTop: number
  readonly clientHeight: number
  readonly scrollHeight: number
}

export class Scroll {
  /** Pixels of the list above the window. */
  top = 0
  /** By how many pixels the list is above the element that has its rows. */
  offset = 0
  #height = 0
  /** The height of what the element has besides the list. */
  #more = 0
  #at = 0

  /** Sets the height of the list, of which by pixels were added above the window. */
  resize(el: Scroller, height: number, by: number): void {
    if (height === this.#height && by === 0) return
    this.#height = height
    this.#more = el.scrollHeight - Math.min(height, heightMax)
    this.to(el, this.top + by)
  }

  /** Reads where the element was scrolled to, and returns the pixels of the list above the window. */
  moved(el: Scroller): number {
    const by = el.scrollTop - this.#at
    if (by === 0) return this.top
    this.#at = el.scrollTop
    if (this.#height <= heightMax) {
      this.offset = 0
      return (this.top = this.#at)
    }
    const small = Math.abs(by) <= jump * el.clientHeight
    this.top = this.#clamp(el, small ? this.top + by : (this.#at / this.#spare(el, heightMax)) * this.#spare(el, this.#height))
    this.offset = this.top - this.#at
    const place = this.#placeOf(el, this.top)
    const atEdge = this.#at <= 0 || this.#at >= this.#spare(el, heightMax) - 1
    if (Math.abs(place - this.#at) > driftMax || (atEdge && Math.abs(place - this.#at) > 1)) this.to(el, this.top)
    return this.top
  }

  /** Scrolls to a number of pixels above the window. */
  to(el: Scroller, top: number): void {
    this.top = this.#clamp(el, top)
    const place = this.#placeOf(el, this.top)
    if (Math.abs(el.scrollTop - place) >= 1) el.scrollTop = place
    this.#at = el.scrollTop
    if (this.#height <= heightMax) {
      this.offset = 0
      this.top = this.#at
    } else this.offset = this.top - this.#at
  }

  /** What of a height is outside of the window. */
  #spare = (el: Scroller, height: number): number => Math.max(0, height + this.#more - el.clientHeight)

  #clamp = (el: Scroller, top: number): number => Math.max(0, Math.min(top, this.#spare(el, this.#height)))

  /** Where the scroll bar shows a position of the list. */
  #placeOf(el: Scroller, top: number): number {
    const all = this.#spare(el, this.#height)
    return this.#height <= heightMax || all === 0 ? top : (top / all) * this.#spare(el, heightMax)
  }
}
