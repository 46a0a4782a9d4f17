import type { Overview } from '../src/messages.js'
import { say } from './action.js'
import { byId } from './element.js'
import { text, translatePage } from './language.js'
import { makeAccountPart } from './options_account.js'
import { makeBackupPart } from './options_backup.js'
import { makeHistory } from './options_history.js'
import { makeLimitsPart } from './options_limits.js'
import { makeSitesPart } from './options_sites.js'
import { describe, showProblem } from './problem.js'
import { ask } from './worker.js'

/** Shows what the worker says now, in every part. Parts keep what is being typed into them. */
async function start(): Promise<void> {
  translatePage()
  const overview = await ask('overview', {})
  byId('no-account').hidden = overview.account !== undefined
  byId('parts').hidden = overview.account === undefined
  document.querySelector('nav')?.toggleAttribute('hidden', overview.account === undefined)
  if (!overview.account) return
  const shown: ((overview: Overview) => void | Promise<void>)[] = []
  const refresh = async (): Promise<void> => {
    const now = await ask('overview', {})
    say(byId('alarm'), now.isPaused ? text('paused_all') : '')
    await Promise.all(shown.map(show => show(now)))
  }
  const { currency } = overview.account
  shown.push(makeLimitsPart(overview, currency, refresh), makeSitesPart(currency, refresh), makeHistory(currency), makeAccountPart(overview, overview.account, refresh))
  makeBackupPart(overview.account)
  await refresh()
  // A link from the popup names a part, which was not there yet when the browser looked.
  if (location.hash !== '') document.getElementById(location.hash.slice(1))?.scrollIntoView()
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') void refresh().catch((error: unknown) => { showProblem(byId('alarm'), describe(error)) })
  })
}

start().catch((error: unknown) => { showProblem(byId('alarm'), describe(error)) })
