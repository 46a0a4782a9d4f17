import type { Overview, SiteView } from '../src/messages.js'
import { button, onAction, say, statusArea } from './action.js'
import { budgetBar } from './bar.js'
import { byId, element } from './element.js'
import { moment, money, text, type Key } from './language.js'
import { makeLimitFields } from './limits.js'
import { siteName, siteWarnings } from './site_name.js'
import { ask } from './worker.js'

/** One site: its bars, and what the owner can change about it. */
interface SiteCard {
  root: HTMLElement
  show(site: SiteView): void
}

function limitsForm(site: SiteView, currency: string, refresh: () => Promise<void>): HTMLElement {
  const fields = makeLimitFields(site.limits, currency, text('site_limits'))
  const area = statusArea()
  const form = element('form', { novalidate: true }, fields.root, element('div', { class: 'answers' }, element('button', { type: 'submit' }, text('limits_save'))), area)
  onAction(form, area, async () => {
    const limits = fields.read()
    if (!limits) return undefined
    await ask('changeSite', { origin: site.origin, limits })
    await refresh()
    return text('limits_saved')
  })
  return element('details', {}, element('summary', {}, text('site_change_limits')), form)
}

/** Two steps, since it cannot be undone by the same button: the second stands where the first stood. */
function revokeButton(origin: string, area: HTMLElement, refresh: () => Promise<void>): HTMLElement {
  const first = button(text('site_revoke'))
  const sure = button(text('site_revoke_sure'), { class: 'danger' })
  const no = button(text('cancel'))
  const row = element('span', { class: 'answers' }, first)
  first.addEventListener('click', () => {
    row.replaceChildren(sure, no)
    say(area, text('site_revoke_means'))
    sure.focus()
  })
  const back = (): void => {
    row.replaceChildren(first)
    say(area, '')
    first.focus()
  }
  no.addEventListener('click', back)
  row.addEventListener('keydown', event => { if (event.key === 'Escape' && row.contains(no)) back() })
  onAction(sure, area, async () => {
    await ask('revoke', { origin })
    await refresh()
    const heading = byId('sites')
    heading.focus()
    say(byId('sites-status'), text('site_revoked'))
    return undefined
  })
  return row
}

function makeCard(first: SiteView, currency: string, refresh: () => Promise<void>): SiteCard {
  let site = first
  const area = statusArea()
  const facts = element('div')
  const toggle = button('')
  onAction(toggle, area, async () => {
    const isPaused = !(site.isPaused || site.stopped)
    // A site that was stopped is allowed anew, with the key that it has now.
    if (site.stopped) await ask('allow', { origin: site.origin, limits: site.limits })
    else await ask('changeSite', { origin: site.origin, isPaused })
    await refresh()
    return text(isPaused ? 'site_paused_now' : 'site_resumed_now')
  })
  const show = (now: SiteView): void => {
    site = now
    toggle.textContent = text(now.isPaused || now.stopped ? 'site_resume' : 'site_pause')
    const state = now.stopped ? [element('p', { class: 'warning' }, text(`stopped_${now.stopped.replace('-', '_')}` as Key))]
      : now.isPaused ? [element('p', { class: 'hint' }, text('site_paused'))] : []
    facts.replaceChildren(...siteWarnings(now.origin), ...state,
      budgetBar(text('popup_site_today'), now.today, now.limits.perDay, currency),
      budgetBar(text('site_in_all'), now.inAll, now.limits.total, currency),
      element('p', { class: 'hint' }, now.lastPaid === 0 ? text('site_never_paid')
        : text('site_spent', { spent: money(now.spent, currency), time: moment(now.lastPaid) })))
  }
  const root = element('article', { class: 'site-card' }, element('h3', {}, siteName(site.origin)), facts,
    element('div', { class: 'answers' }, toggle, revokeButton(site.origin, area, refresh)), area, limitsForm(site, currency, refresh))
  show(site)
  return { root, show }
}

/** The sites that the owner allowed. A card that stays keeps what is being typed into it. */
export function makeSitesPart(currency: string, refresh: () => Promise<void>): (overview: Overview) => void {
  const cards = new Map<string, SiteCard>()
  const list = byId('site-list')
  return overview => {
    const origins = new Set(overview.sites.map(site => site.origin))
    for (const [origin, card] of cards) {
      if (origins.has(origin)) continue
      card.root.remove()
      cards.delete(origin)
    }
    for (const site of overview.sites) {
      const known = cards.get(site.origin)
      if (known) {
        known.show(site)
        continue
      }
      const card = makeCard(site, currency, refresh)
      cards.set(site.origin, card)
      list.append(card.root)
    }
    list.querySelector('.nothing')?.remove()
    if (cards.size === 0) list.append(element('p', { class: 'hint nothing' }, text('sites_none')))
  }
}
