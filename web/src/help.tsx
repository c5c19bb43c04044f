// The list of keys: those of the screen that is shown, and those of all screens.

import { signal } from '@preact/signals'
import { registered } from './lib/keyboard.ts'
import { t } from './text/index.ts'
import { Dialog } from './ui/dialog.tsx'

export const helpShown = signal(false)

const names: Record<string, string> = {
  ArrowDown: '↓',
  ArrowUp: '↑',
  ArrowLeft: '←',
  ArrowRight: '→',
  Escape: 'Esc',
  ' ': 'Space',
  PageDown: 'PgDn',
  PageUp: 'PgUp',
}

export function Help({ onClose }: { onClose: () => void }) {
  return (
    <Dialog wide title={t().help} onClose={onClose}>
      <div class="keys-help">
        {registered().map((group) => (
          <section key={group.title()}>
            <h3>{group.title()}</h3>
            <dl>
              {group.commands.map((c) => (
                <>
                  <dt>
                    {c.keys.map((k) => (
                      <>
                        <kbd>{k.split(' ').length > 1 ? k : (names[k] ?? k)}</kbd>{' '}
                      </>
                    ))}
                  </dt>
                  <dd>{c.help()}</dd>
                </>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  )
}
