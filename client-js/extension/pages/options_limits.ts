import type { Overview } from '../src/messages.js'
import { onAction, statusArea } from './action.js'
import { budgetBar } from './bar.js'
import { byId, element } from './element.js'
import { text } from './language.js'
import { makeLimitFields } from './limits.js'
import { wirePause } from './pause.js'
import { ask } from './worker.js'

/** The limits of all sites together: as bars, to be changed, and the pause of everything. */
export function makeLimitsPart(overview: Overview, currency: string, refresh: () => Promise<void>): (overview: Overview) => void {
  const fields = makeLimitFields(overview.limits, currency, text('limits_all'))
  const area = statusArea()
  const form = element('form', { novalidate: true }, fields.root, element('div', { class: 'answers' }, element('button', { type: 'submit' }, text('limits_save'))), area)
  onAction(form, area, async () => {
    const limits = fields.read()
    if (!limits) return undefined
    await ask('setLimits', { limits })
    await refresh()
    return text('limits_saved')
  })
  byId('limits-form').replaceChildren(form)
  const showPause = wirePause(byId<HTMLButtonElement>('pause'), byId('pause-status'), refresh)
  return now => {
    byId('bars').replaceChildren(
      budgetBar(text('popup_all_today'), now.today, now.limits.perDay, currency),
      budgetBar(text('all_in_all'), now.inAll, now.limits.total, currency))
    showPause(now.isPaused)
  }
}
