// The search field, and the result of the search.

import type { RefObject } from 'preact'
import { count } from '../../lib/format.ts'
import { t } from '../../text/index.ts'
import { Icon } from '../../ui/icons.tsx'
import { Failure } from '../../ui/parts.tsx'
import type { Browser } from './browser.ts'

export function SearchTools({ browser, field }: { browser: Browser; field: RefObject<HTMLInputElement | null> }) {
  return (
    <>
      <div class="search" role="search">
        <Icon name="search" />
        <input
          ref={field}
          class="input"
          type="search"
          name="search"
          autocomplete="off"
          spellcheck={false}
          placeholder={t().keys.searchHint}
          aria-label={t().keys.search}
          value={browser.query.value}
          onInput={(e) => void browser.search(e.currentTarget.value)}
          onKeyDown={(e) => {
            if (e.key !== 'Enter' && e.key !== 'Escape') return
            e.stopPropagation()
            e.preventDefault()
            if (e.key === 'Escape') void browser.search('')
            document.querySelector<HTMLElement>('.key-list')?.focus()
          }}
        />
      </div>
      <select
        class="input"
        aria-label={t().keys.where}
        value={browser.where.value}
        onChange={(e) => {
          browser.where.value = e.currentTarget.value as 'key' | 'value'
          void browser.search(browser.query.value)
        }}
      >
        <option value="key">{t().keys.inKeys}</option>
        <option value="value">{t().keys.inValues}</option>
      </select>
    </>
  )
}

export function SearchFoot({ browser }: { browser: Browser }) {
  const found = browser.found.value
  if (!found) {
    void browser.changes.value
    if (!browser.tree.root.started || browser.length.value > 0) return null
    return (
      <div class="actionbar" role="status">
        {browser.prefix.value === '' ? t().keys.noKeys : t().keys.noKeysPrefix}
      </div>
    )
  }
  return (
    <div class="actionbar" role="status">
      {found.error ? (
        <Failure e={found.error} retry={() => void browser.further()} />
      ) : (
        <>
          <span class="grow">
            {found.loading && found.scanned === 0
              ? t().loading
              : found.items.length === 0 && found.next === '' && !found.loading
                ? t().keys.nothing
                : t().keys.found(count(found.items.length), count(found.scanned), found.scanned)}
          </span>
          {found.next !== '' && !found.loading && (
            <button class="button" onClick={() => void browser.further()}>
              {t().keys.foundMore}
            </button>
          )}
        </>
      )}
    </div>
  )
}
