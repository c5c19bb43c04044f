// The icons, drawn on a grid of 16.

const paths = {
  keys: 'M2.5 3.5h4l1.5 2h5.5v7h-11z M5 8.5h6',
  history: 'M2.7 6A5.6 5.6 0 1 1 2.4 9 M2.5 2.8v3.4h3.4 M8 5v3.2l2.2 1.4',
  live: 'M1.5 8.5h3l2-5 3 9 2-4h3',
  cluster: 'M8 2.2l2 1.2v2.4L8 7 6 5.8V3.4z M4 9l2 1.2v2.4L4 13.8l-2-1.2v-2.4z M12 9l2 1.2v2.4l-2 1.2-2-1.2v-2.4z',
  access: 'M5.5 9.5a3 3 0 1 1 2.6-1.5l5.4 5.5h-2.5v-1.5h-1.5v-1.5L8 9',
  right: 'M6 3.5L10.5 8 6 12.5',
  down: 'M3.5 6L8 10.5 12.5 6',
  left: 'M10 3.5L5.5 8l4.5 4.5',
  close: 'M4 4l8 8 M12 4l-8 8',
  plus: 'M8 3v10 M3 8h10',
  search: 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9z M10.3 10.3L14 14',
  refresh: 'M13.4 8a5.4 5.4 0 1 1-1.6-3.8 M13.5 1.8v3h-3',
  sun: 'M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6z M8 1v1.5 M8 13.5V15 M1 8h1.5 M13.5 8H15 M3 3l1.1 1.1 M11.9 11.9L13 13 M13 3l-1.1 1.1 M4.1 11.9L3 13',
  moon: 'M13.5 9.6A5.8 5.8 0 1 1 6.4 2.5a4.6 4.6 0 0 0 7.1 7.1z',
  help: 'M5.8 6a2.2 2.2 0 1 1 3.2 2c-.7.4-1 .8-1 1.6 M8 12v.2',
  user: 'M8 2.5a2.6 2.6 0 1 1 0 5.2 2.6 2.6 0 0 1 0-5.2z M3 13.5c.4-2.6 2.4-4 5-4s4.6 1.4 5 4',
  lock: 'M4 7.5h8v6H4z M5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5',
  trash: 'M3 4.5h10 M6 4.5V3h4v1.5 M4.5 4.5l.5 9h6l.5-9',
  copy: 'M5.5 5.5h8v8h-8z M3 10.5V3h7.5',
  edit: 'M3 13l.7-3L10.5 3.2l2.3 2.3L6 12.3z',
  pause: 'M5.5 3.5v9 M10.5 3.5v9',
  play: 'M5 3.5l7 4.5-7 4.5z',
  download: 'M8 2.5v8 M4.5 7.5L8 11l3.5-3.5 M3 13.5h10',
  folder: 'M2 4h4.2l1.3 1.7H14v7H2z',
  warn: 'M8 2.5l6 10.5H2z M8 6.5v3 M8 11.2v.2',
} as const

export type IconName = keyof typeof paths

export const Icon = ({ name }: { name: IconName }) => (
  <svg class="icon-svg" viewBox="0 0 16 16" aria-hidden="true">
    <path d={paths[name]} />
  </svg>
)

/** The mark of cairn: a pile of stones. */
export const Mark = () => (
  <svg viewBox="0 0 24 24" aria-hidden="true">
    <ellipse cx="12" cy="19" rx="10" ry="3.6" />
    <ellipse cx="12.6" cy="12.2" rx="7" ry="2.9" />
    <ellipse cx="11.6" cy="6.4" rx="4.2" ry="2.4" />
  </svg>
)
